"""Which words mean the same, and the dictionary form of an inflected one, by WordNet 3.0 (Miller 1995; Fellbaum 1998).

The data lie in the archive of METEOR that pycocoevalcap installs (``synonym/`` in it, under the WordNet licence beside
them): lemmas with the numbers of their synsets, which synsets are a kind of which, and irregular forms. They do not say
the part of speech, so two words are synonyms if they are so as any part of speech.
"""

import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from sys import intern
from zipfile import BadZipFile, ZipFile

from rewards.base import RewardError

ARCHIVE = "meteor/meteor-1.5.jar"
MOST_REMEMBERED = 1 << 17  # words; a policy may spell new ones for ever

# Regular plurals and third persons; regular -ing and -ed forms drop an e or double a consonant. The first known wins.
PLURAL_ENDINGS = (
    ("ies", "y"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("xes", "x"),
    ("sses", "ss"),
    ("zes", "z"),
    ("s", ""),
    ("oes", "o"),
    ("ses", "s"),
    ("ves", "f"),
    ("ves", "fe"),
)
NO_PLURAL = ("ss", "us", "is")


@cache
def synset_numbers() -> dict[str, str]:
    """The numbers of each lemma's synsets, as one text. Words of a compound are joined by ``_``."""
    lines = _read("synonym/english.synsets")
    return dict(zip(lines[::2], lines[1::2], strict=False))


@cache
def irregular_forms() -> dict[str, str]:
    """The lemma of each irregular form: men, man."""
    lines = _read("synonym/english.exceptions")
    forms: dict[str, str] = {}
    for lemma, inflected in zip(lines[::2], lines[1::2], strict=False):
        forms |= dict.fromkeys(inflected.split(), lemma)
    return forms


def known(lemma: str) -> bool:
    """Whether WordNet has this lemma."""
    return lemma in synset_numbers()


@cache
def neighbour_numbers() -> dict[str, str]:
    """The synsets one step above and below each synset, by their numbers, as one text."""
    lines = _read("synonym/english.relations")
    return dict(zip(lines[::2], lines[1::2], strict=False))


class _Synsets(dict[str, frozenset[str]]):
    """The synsets of each word met, and the word itself: two words are synonyms where these meet."""

    def __missing__(self, word: str) -> frozenset[str]:
        numbers = synset_numbers().get(word.replace(" ", "_"), "").split()
        if len(self) >= MOST_REMEMBERED:
            self.clear()
        self[word] = found = frozenset([word, *map(intern, numbers)])
        return found


_SYNSETS = _Synsets()


def first_synonym(word: str, among: Iterable[str]) -> str | None:
    """The first of these lemmas that is a synonym of the word; None if none is."""
    own = _SYNSETS[word]
    for other in among:
        if not own.isdisjoint(_SYNSETS[other]):
            return other
    return None


class _Kin(dict[str, frozenset[str]]):
    """The synsets one step above and below those of each word met, remembered up to a limit."""

    def __missing__(self, word: str) -> frozenset[str]:
        above_and_below = neighbour_numbers()
        if len(self) >= MOST_REMEMBERED:
            self.clear()
        near = (number for synset in _SYNSETS[word] for number in above_and_below.get(synset, "").split())
        self[word] = found = frozenset(map(intern, near))
        return found


_KIN = _Kin()


def first_kin(word: str, among: Iterable[str]) -> str | None:
    """The first of these lemmas that is the next wider or narrower term of the word (dog, puppy); None if none is."""
    own = _KIN[word]
    for other in among:
        if not own.isdisjoint(_SYNSETS[other]):
            return other
    return None


def singular(noun: str) -> str:
    """The lemma of a plural noun; the word itself where it is none."""
    if noun in irregular_forms():
        return irregular_forms()[noun]
    corgis = noun.endswith("is") and not known(noun) and known(noun[:-1])
    if len(noun) > 3 and (corgis or not noun.endswith(NO_PLURAL)):
        for ending, instead in PLURAL_ENDINGS:
            if noun.endswith(ending) and known(noun[: -len(ending)] + instead):
                return noun[: -len(ending)] + instead
        if noun.endswith("s") and not known(noun):
            return noun[:-1]
    return noun


def infinitive(verb: str) -> str:
    """The lemma of an inflected verb: sits, sitting, sat; the word itself where none is known."""
    if verb in irregular_forms():
        return irregular_forms()[verb]
    if verb.endswith("s"):
        return singular(verb)
    for ending in ("ing", "ed"):
        stem = verb.removesuffix(ending)
        if stem == verb or not re.search("[aeiouy]", stem):
            continue
        candidates = [stem, stem + "e"]
        if re.search(r"([^aeiouls])\1$|[^aeiou][aeiou]ll$", stem):
            candidates = [stem[:-1], *candidates]
        elif re.search(r"(?:[^aeiou]|^)[aeiou][^aeiouwxy]$|(?:[cuv]|[^n]g|[^s]s|[^z]z|[^aeiou]l)$", stem):
            candidates = [stem + "e", stem]
        if stem.endswith("i"):
            candidates = [stem[:-1] + "y"]
        return next(filter(known, candidates), stem)
    return verb


def _read(name: str) -> list[str]:
    """The lines of a file of the archive."""
    spec = find_spec("pycocoevalcap")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / ARCHIVE
        if path.is_file():
            try:
                with ZipFile(path) as archive:
                    return archive.read(name).decode("utf-8", "replace").splitlines()
            except (BadZipFile, KeyError) as error:
                raise RewardError(f"{path} is damaged ({error}): install pycocoevalcap again") from error
    raise RewardError(f"WordNet's synonyms were not found, {ARCHIVE} of pycocoevalcap: install pycocoevalcap")
