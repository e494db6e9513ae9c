"""The words of a caption in their places, with their part of speech, so that some can be exchanged."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rewards.scene_graph.lexicon import PHRASES
from rewards.scene_graph.tagger import ENDING, LONGEST_WORD, MOST_TOKENS, TOKEN, first_tag, settle


class Word(NamedTuple):
    """A word, or a phrase that stands for one, of a caption.

    Attributes:
        start: where it begins in the caption.
        end: where it ends.
        text: in small letters.
        tag: its part of speech, by :mod:`rewards.scene_graph.lexicon`.
    """

    start: int
    end: int
    text: str
    tag: str


class Phrase(NamedTuple):
    """A noun phrase, by the places of its words: the first, its adjectives, and its nouns, the last being the head."""

    first: int
    adjectives: tuple[int, ...]
    nouns: tuple[int, ...]

    @property
    def head(self) -> int:
        """The place of its head."""
        return self.nouns[-1]


def _phrases_by_first() -> dict[str, list[tuple[list[str], str]]]:
    """The phrases that are read as one word, by their first word, the longest first."""
    table: dict[str, list[tuple[list[str], str]]] = {}
    for tag, _, variants in PHRASES:
        for variant in map(str.split, variants.split("|")):
            table.setdefault(variant[0], []).append((variant, tag))
    for entries in table.values():
        entries.sort(key=lambda entry: -len(entry[0]))
    return table


_PHRASES = _phrases_by_first()


def tagged(caption: str) -> list[Word]:
    """The words of a caption as the tagger of scene graphs reads them, and where they stand."""
    found: list[tuple[int, int, str]] = []
    origin = [place for place, character in enumerate(caption) for _ in character.lower()]  # one may become two: İ
    for match in TOKEN.finditer(caption.lower().replace("’", "'")):
        text, start = match.group(), match.start()
        parts = ENDING.fullmatch(text) if "'" in text else None
        for part in parts.groups() if parts else (text,):
            found.append((origin[start], origin[start + len(part) - 1] + 1, part[:LONGEST_WORD]))
            start += len(part)
    del found[MOST_TOKENS:]
    texts = [text for _, _, text in found]
    read: list[Word] = []
    index = 0
    while index < len(found):
        start, end, text = found[index]
        size, tag = 1, ""
        for phrase, own in _PHRASES.get(text, ()):
            if texts[index : index + len(phrase)] == phrase:
                size, tag, text, end = len(phrase), own, " ".join(phrase), found[index + len(phrase) - 1][1]
                break
        read.append(Word(start, end, text, tag or first_tag(text)))
        index += size
    tags = [word.tag for word in read]
    settle(tags)
    return [word._replace(tag=tag) for word, tag in zip(read, tags, strict=True)]


def noun_phrases(read: Sequence[Word]) -> list[Phrase]:
    """The noun phrases among tagged words: determiners, adjectives, nouns."""
    found: list[Phrase] = []
    index = 0
    while index < len(read):
        first = index
        while index < len(read) and read[index].tag in "DPCR":
            index += 1
        start = index
        while index < len(read) and read[index].tag in "JaNS":
            index += 1
        inside = range(start, index)
        # "a" is an adjective or a noun: the last of a phrase is the noun unless one precedes it
        nouns: list[int] = []
        for place in reversed(inside):
            if read[place].tag not in ("NSa" if not nouns else "N"):
                break
            nouns.insert(0, place)
        if nouns:
            found.append(Phrase(first, tuple(place for place in inside if place not in nouns), tuple(nouns)))
        index = max(index, first + 1)
    return found


def plain(caption: str) -> str:
    """The caption in small letters, with single spaces."""
    return " ".join(caption.lower().split())


def edited(caption: str, edits: Mapping[tuple[int, int], str]) -> str:
    """The caption with other text from place to place; new articles and the first capital are put right."""
    text, last = "", 0
    for (start, end), instead in sorted(edits.items()):
        text += caption[last:start] + instead
        last = end
    text += caption[last:]
    before = caption.lower()
    text = _ARTICLE.sub(lambda match: match[0] if match[0].lower() in before else _right_article(match), text)
    if caption[:1].isupper():
        text = text[:1].upper() + text[1:]
    return text


_ARTICLE = re.compile(r"\b(a|an)(\s+)(\w+)", re.IGNORECASE)
_SOUNDS_LIKE_CONSONANT = re.compile(r"(one|once|uni(?!n|m)|use|euro|u\b)", re.IGNORECASE)


def _right_article(match: re.Match[str]) -> str:
    article, space, word = match.groups()
    vowel = (word[0].lower() in "aeiou" and not _SOUNDS_LIKE_CONSONANT.match(word)) or word.lower().startswith("hour")
    right = "an" if vowel else "a"
    return f"{article[0]}{right[1:]}{space}{word}"
