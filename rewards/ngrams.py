"""N-gram counts, and the memory that spares a step what is known already.

An n-gram is a 64-bit fingerprint: a sum of its words' BLAKE2 hashes, each times an odd constant of its position. So
counts are numpy arrays, files need no vocabulary and unseen words need no care. Among the 3 million n-grams of COCO
two share a fingerprint with a chance of 3e-7, and an unseen n-gram is taken for a seen one with a chance of 2e-13.
"""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from rewards.base import Candidates
from rewards.tokenize import ptb_tokenize

ORDERS = 4  # unigrams to 4-grams
END = "\n"  # the end of a caption as a word; no token holds white space
IMAGES_AT_ONCE = 4096  # bounds the memory of going through a whole data set

# Odd, and pairwise different by an odd multiple of 2, so that exchanging two words loses a single bit of the 64.
_POSITIONS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True)
class NgramCounts:
    """N-grams of several texts: text ``text[e]`` holds ``ngram[e]`` of order ``order[e]`` (0 to 3) ``count[e]`` times.

    Entries are sorted by text. ``words`` is the length of each text.
    """

    text: Int64[np.ndarray, " entries"]
    ngram: UInt64[np.ndarray, " entries"]
    order: Int64[np.ndarray, " entries"]
    count: Int64[np.ndarray, " entries"]
    words: Int64[np.ndarray, " texts"]


class _WordHashes(dict[str, int]):
    """The hash of each word met, the same in every process (Python's own is salted)."""

    def __missing__(self, word: str) -> int:
        if len(self) >= 1_000_000:  # a policy may spell new words for ever
            self.clear()
        self[word] = value = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        return value


_WORD_HASHES = _WordHashes()


def count_ngrams(texts: Sequence[str], ended: Sequence[bool] | None = None) -> NgramCounts:
    """N-grams of order 1 to 4 of tokenised texts; where ``ended`` is true the end counts as a last word."""
    split = [text.split() for text in texts]
    if ended is not None:
        for words, end in zip(split, ended, strict=True):
            if end:
                words.append(END)
    lengths = np.fromiter(map(len, split), np.int64, len(split))
    total = int(lengths.sum())
    hashes = np.fromiter(map(_WORD_HASHES.__getitem__, chain.from_iterable(split)), np.uint64, total)
    text = np.repeat(np.arange(len(split)), lengths)
    following = np.repeat(np.cumsum(lengths), lengths) - np.arange(1, total + 1)  # words after this one in its text

    start = np.arange(total)
    running = np.zeros(total, np.uint64)
    starts, ngrams = [], []
    for order in range(ORDERS):
        alive = following[start] >= order
        start, running = start[alive], running[alive]
        running = running + hashes[start + order] * np.uint64(_POSITIONS[order])
        starts.append(start)
        ngrams.append(running)
    orders = np.repeat(np.arange(ORDERS), [len(part) for part in ngrams])
    owner, ngram = text[np.concatenate(starts)], np.concatenate(ngrams)

    key = owned(owner, ngram, len(split))
    by_key, first = runs(key)
    count = np.diff(first, append=len(key))
    entry = by_key[first]
    return NgramCounts(owner[entry], ngram[entry], orders[entry], count, lengths)


def owned(
    owner: Int64[np.ndarray, " entries"], ngram: UInt64[np.ndarray, " entries"], owners: int
) -> UInt64[np.ndarray, " entries"]:
    """Key of each (owner, n-gram): the owner in as many high bits as it needs, the n-gram's own high bits below."""
    bits = owners.bit_length()
    return owner.astype(np.uint64) << np.uint64(64 - bits) | ngram >> np.uint64(bits)


def runs(
    keys: UInt64[np.ndarray, " entries"],
) -> tuple[Int64[np.ndarray, " entries"], Int64[np.ndarray, " runs"]]:
    """The order that sorts the keys, and where in that order each distinct key starts."""
    order = np.argsort(keys)
    return order, np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]))


def distinct(values: Sequence[Value]) -> tuple[list[Value], Int64[np.ndarray, " values"]]:
    """Each object once, and the place of every value among them."""
    objects = list({id(value): value for value in values}.values())
    places = {id(value): place for place, value in enumerate(objects)}
    return objects, np.array([places[id(value)] for value in values], np.int64)


def shared(
    counts: NgramCounts, image: Int64[np.ndarray, " texts"], images: Sequence[UInt64[np.ndarray, " _"]]
) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
    """Pairs of equal n-grams: an entry of ``counts``, and one of the concatenated n-grams of its text's image.

    ``image`` is the place of each text's image in ``images``, each of them sorted.
    """
    owner = np.repeat(np.arange(len(images)), [len(ngrams) for ngrams in images])
    right = owned(owner, np.concatenate(images), len(images))
    left = owned(image[counts.text], counts.ngram, len(images))
    first = np.searchsorted(right, left, side="left")
    found = np.flatnonzero(right[np.minimum(first, len(right) - 1)] == left) if len(right) else first[:0]
    first = first[found]
    pairs = np.searchsorted(right, left[found], side="right") - first
    within = np.arange(int(pairs.sum())) - np.repeat(np.cumsum(pairs) - pairs, pairs)
    return np.repeat(found, pairs), np.repeat(first, pairs) + within


def tokenize_groups(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """Each group's captions tokenised, in one call for all groups."""
    tokens = iter(ptb_tokenize(list(chain.from_iterable(groups))))
    return [list(islice(tokens, len(captions))) for captions in groups]


class Memory(Generic[Key, Value]):
    """The latest ``size`` results of ``build``, a function of many keys, so that a step builds only what is new.

    ``Memory(build, size)(keys)`` is ``build(keys)``.
    """

    def __init__(self, build: Callable[[list[Key]], Sequence[Value]], size: int) -> None:
        self.build = build
        self.size = size
        self.known: dict[Key, Value] = {}  # the oldest used comes first

    def __call__(self, keys: Sequence[Key]) -> list[Value]:
        missing = [key for key in dict.fromkeys(keys) if key not in self.known]
        new: dict[Key, Value] = {}
        for start in range(0, len(missing), IMAGES_AT_ONCE):
            keys_now = missing[start : start + IMAGES_AT_ONCE]
            new.update(zip(keys_now, self.build(keys_now), strict=True))
        results = {key: new[key] if key in new else self.known.pop(key) for key in dict.fromkeys(keys)}
        self.known.update(results)
        for key in list(islice(self.known, max(0, len(self.known) - self.size))):
            del self.known[key]
        return [results[key] for key in keys]


class KnownScores:
    """The latest ``size`` scores of captions against references, each made once.

    A policy says much of what it says again: after self-critical training on the synthetic scenes, 7 of 10 captions of
    a batch stand there twice, and 9 of 10 were said of their image before.
    """

    def __init__(self, size: int = 131_072) -> None:
        self.size = size
        self.known: dict[Hashable, float] = {}  # the oldest comes first

    def __call__(
        self, keys: Sequence[Hashable], score: Callable[[list[int]], Float64[np.ndarray, " rows"]]
    ) -> Float64[np.ndarray, " keys"]:
        """The score of each key, ``score`` being asked for the first row of each key that is not known."""
        known = self.known
        rows: dict[Hashable, int] = {}
        for row, key in enumerate(keys):
            if key not in known:
                rows.setdefault(key, row)
        if rows:
            known.update(zip(rows, score(list(rows.values())).tolist(), strict=True))
        scores = np.fromiter(map(known.__getitem__, keys), np.float64, len(keys))
        for key in list(islice(known, max(0, len(known) - self.size))):
            del known[key]
        return scores


def pairs(candidates: Candidates) -> list[Hashable]:
    """What tells captions apart for rewards that compare with references: text, references, and whether it is ended."""
    ended = candidates.ended if candidates.ended is not None else [True] * len(candidates)
    return list(zip(candidates.captions, candidates.reference_tuples(), ended, strict=True))
