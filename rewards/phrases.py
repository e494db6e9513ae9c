"""Phrases found in captions: whole words, upper or lower case, the longest phrase first.

A hyphen separates words, so ``hot-dog`` is ``hot dog``; other punctuation is dropped as the PTB tokeniser does.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rewards.base import RewardError
from rewards.tokenize import ptb_tokenize

IRREGULAR_PLURALS = {
    "person": "people",
    "child": "children",
    "mouse": "mice",
    "goose": "geese",
    "ox": "oxen",
    "foot": "feet",
    "tooth": "teeth",
}


class Mention(NamedTuple):
    """A phrase in a caption: the word it starts at, the word after it, and what it names."""

    start: int
    stop: int
    name: str


def words_of(texts: Sequence[str]) -> list[list[str]]:
    """The words of each text, lower-cased, without punctuation."""
    return [tokens.split() for tokens in ptb_tokenize([text.replace("-", " ") for text in texts])]


def plurals(word: str) -> list[str]:
    """What the plural of an English word may be; of several guesses the wrong ones are no words and do no harm."""
    if word in IRREGULAR_PLURALS:
        return [IRREGULAR_PLURALS[word]]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return [word + "es"]
    if word.endswith("y") and word[-2:-1] not in ("", *"aeiou"):
        return [word[:-1] + "ies"]
    others = {"ife": word[:-2] + "ves", "man": word[:-2] + "en", "o": word + "es"}
    others |= dict.fromkeys(("lf", "eaf", "oaf"), word[:-1] + "ves")
    return [word + "s", *(other for ending, other in others.items() if word.endswith(ending))]


class Phrases:
    """What phrases name.

    Args:
        names: for each name the phrases that mean it; the name itself is one of them unless it is ignored.
        ignored: phrases that name nothing, though a part of them might: ``train station``.
        inflected: whether the plurals of phrases mean the same; a plural that is listed keeps its own meaning.

    Raises:
        RewardError: if a phrase has no words or two meanings.
    """

    def __init__(self, names: Mapping[str, Iterable[str]], ignored: Iterable[str] = (), inflected: bool = True) -> None:
        self.names = {_key(name): name for name in names}
        self.meanings: dict[tuple[str, ...], str | None] = {}
        for name, synonyms in names.items():
            for phrase in synonyms:
                self._add(phrase, name)
        for phrase in ignored:
            self._add(phrase, None)
        for name in names:
            if self.meanings.get(_key(name), name) is not None:
                self._add(name, name)
        if inflected:
            for key, meaning in list(self.meanings.items()):
                for plural in plurals(key[-1]):
                    self.meanings.setdefault((*key[:-1], plural), meaning)
        self._starting: dict[str, list[tuple[list[str], str | None]]] = {}
        for key in sorted(self.meanings, key=len, reverse=True):
            self._starting.setdefault(key[0], []).append((list(key), self.meanings[key]))

    def _add(self, phrase: str, name: str | None) -> None:
        known = self.meanings.setdefault(_key(phrase), name)
        if known != name:
            both = " and ".join(repr(own) if own else "nothing" for own in (known, name))
            raise RewardError(f"phrase {phrase!r} stands for both {both}: leave it with one of them")

    def find(self, words: Sequence[str]) -> list[Mention]:
        """What these words mention, from left to right; no word belongs to two mentions."""
        mentions, start = [], 0
        for place, word in enumerate(words):
            if place < start:
                continue
            for phrase, name in self._starting.get(word, ()):
                if words[place : place + len(phrase)] == phrase:
                    start = place + len(phrase)
                    if name is not None:
                        mentions.append(Mention(place, start, name))
                    break
        return mentions

    def resolve(self, label: str) -> str | None:
        """The name that a label of a data set stands for: itself, or what it means as a phrase, or None."""
        key = _key(label)
        return self.names[key] if key in self.names else self.meanings.get(key)


def _key(phrase: str) -> tuple[str, ...]:
    (words,) = words_of([phrase])
    if not words:
        raise RewardError(f"phrase {phrase!r} has no words: write it in letters or digits, or leave it out")
    return tuple(words)
