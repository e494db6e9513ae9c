"""N-gram counts, the document frequencies of a set of images, and the memory that spares a step what is known.

An n-gram is a 64-bit fingerprint: a sum of its words' BLAKE2 hashes, each times an odd constant of its position. So
counts are numpy arrays, files need no vocabulary and unseen words need no care. Among the 3 million n-grams of COCO
two share a fingerprint with a chance of 3e-7, and an unseen n-gram is taken for a seen one with a chance of 2e-13.
"""

import hashlib
import json
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import uuid4

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from rewards import tokenize
from rewards.base import RewardError

ORDERS = 4  # unigrams to 4-grams
END = "\n"  # the end of a caption as a word; no token holds white space
COCO_NAMES = ("coco-train2014", "coco-val2014")
IMAGES_AT_ONCE = 4096  # bounds the memory of counting a whole data set

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


@dataclass(frozen=True)
class DocumentFrequencies:
    """In how many images' references each n-gram occurs, however often it does in one of them.

    Attributes:
        ngrams: fingerprints, sorted.
        counts: number of images of each.
        images: number of all images.
        eos: whether the end of a caption was counted as a word.
        name: what the counts were taken from, for signatures.
    """

    ngrams: UInt64[np.ndarray, " ngrams"]
    counts: Int64[np.ndarray, " ngrams"]
    images: int
    eos: bool
    name: str

    @classmethod
    def from_references(
        cls, references: Sequence[Sequence[str]], eos: bool, name: str, tokenized: bool = False
    ) -> "DocumentFrequencies":
        """Document frequencies of reference captions, one sequence per image; tokenised here unless they are."""
        parts = [np.zeros(0, np.uint64)]
        for start in range(0, len(references), IMAGES_AT_ONCE):
            images = references[start : start + IMAGES_AT_ONCE]
            texts = list(chain.from_iterable(images))
            counts = count_ngrams(texts if tokenized else tokenize.ptb_tokenize(texts), [eos] * len(texts))
            image = np.repeat(np.arange(len(images)), [len(captions) for captions in images])[counts.text]
            _, once = np.unique(owned(image, counts.ngram, len(images)), return_index=True)
            parts.append(counts.ngram[once])
        ngrams, occurrences = np.unique(np.concatenate(parts), return_counts=True)
        return cls(ngrams, occurrences, len(references), eos, name)

    def of(self, ngrams: UInt64[np.ndarray, " queries"]) -> Int64[np.ndarray, " queries"]:
        """Number of images of each n-gram; 0 for one never seen."""
        last = len(self.ngrams) - 1
        if last < 0:
            return np.zeros(len(ngrams), np.int64)
        bits, starts = self._directory
        place = np.minimum(starts[ngrams >> np.uint64(64 - bits)], last)
        behind = np.arange(len(ngrams))
        while len(behind):
            at = place[behind]
            behind = behind[(self.ngrams[at] < ngrams[behind]) & (at < last)]
            place[behind] += 1
        return np.where(self.ngrams[place] == ngrams, self.counts[place], 0)

    @cached_property
    def _directory(self) -> tuple[int, Int64[np.ndarray, " prefixes"]]:
        """Where the n-grams of each prefix of some bits start: fingerprints are uniform, so a step or two remain.

        Twelve times faster than a binary search among millions, whose every probe is a miss of the processor's cache.
        """
        bits = max(1, len(self.ngrams).bit_length())
        prefixes = np.arange(2**bits, dtype=np.uint64)
        return bits, np.searchsorted(self.ngrams, prefixes << np.uint64(64 - bits))

    def inverse(self, ngrams: UInt64[np.ndarray, " queries"]) -> Float64[np.ndarray, " queries"]:
        """Inverse document frequency, log(images) - log(max(1, df)), of each n-gram."""
        rarity: Float64[np.ndarray, " queries"] = np.log(np.maximum(1, self.of(ngrams)))
        return math.log(max(1, self.images)) - rarity

    def save(self, path: Path) -> None:
        """Write to ``path``, aside first and then renamed, so that the file is whole or absent."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{uuid4().hex}.part")
        about = {"images": self.images, "eos": self.eos, "name": self.name}
        try:
            with aside.open("xb") as file:
                np.savez_compressed(file, ngrams=self.ngrams, counts=self.counts, about=np.array(json.dumps(about)))
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> "DocumentFrequencies":
        """What ``save`` wrote to ``path``."""
        if not path.is_file():
            raise RewardError(
                f"no document frequencies at {path}: give the path of what DocumentFrequencies.save wrote"
            )
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                return cls(file["ngrams"], file["counts"], int(about["images"]), bool(about["eos"]), str(about["name"]))
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            message = f"{path} is no whole file of document frequencies ({error}): delete it and it is built again"
            raise RewardError(message) from error


def cache_folder() -> Path:
    """Where document frequencies are kept between runs: ``RLCAP_CACHE``, else ``~/.cache/rlcap``."""
    return Path(os.environ.get("RLCAP_CACHE") or Path.home() / ".cache" / "rlcap")


def training_document_frequencies(
    references: Sequence[Sequence[str]], eos: bool, cache: Path | None = None
) -> DocumentFrequencies:
    """Document frequencies of the training references, one sequence per image, from the cache when seen before."""
    captions = json.dumps([list(captions) for captions in references]).encode()
    name = f"train-{_fingerprint(captions, eos)[:12]}"
    return _cached(name, cache, lambda: DocumentFrequencies.from_references(references, eos, name))


def coco_document_frequencies(name: str, eos: bool, cache: Path | None = None) -> DocumentFrequencies:
    """Document frequencies of ``coco-train2014`` or ``coco-val2014``, offline: pycocoevalcap carries both annotations.

    The first call takes about 10 s and 0.7 GB of memory, later ones read the cache.
    """
    if name not in COCO_NAMES:
        raise RewardError(f"no document frequencies named {name!r}: take one of {', '.join(COCO_NAMES)}, or a path")

    def build() -> DocumentFrequencies:
        images: dict[int, list[str]] = {}
        for annotation in _coco_annotations(name.removeprefix("coco-")):
            images.setdefault(annotation["image_id"], []).append(annotation["caption"])
        return DocumentFrequencies.from_references(list(images.values()), eos, name)

    return _cached(f"{name}-{_fingerprint(name.encode(), eos)[:12]}", cache, build)


def _coco_annotations(split: str) -> list[dict[str, Any]]:
    found = find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        raise RewardError("document frequencies of COCO are read from pycocoevalcap: pip install pycocoevalcap")
    archive = Path(next(iter(found.submodule_search_locations))) / "spice" / "spice-1.0.jar"
    with zipfile.ZipFile(archive) as jar:
        content = json.loads(jar.read(f"coco/annotations/captions_{split}.json"))
    annotations: list[dict[str, Any]] = content["annotations"]
    return annotations


def _fingerprint(content: bytes, eos: bool) -> str:
    """Of the captions and of all that turns them into counts: a change of this file or of the tokeniser counts anew."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (content, bytes([eos]), Path(tokenize.__file__).read_bytes(), Path(__file__).read_bytes()):
        digest.update(hashlib.blake2b(part).digest())
    return digest.hexdigest()


def _cached(name: str, cache: Path | None, build: Callable[[], DocumentFrequencies]) -> DocumentFrequencies:
    path = (cache or cache_folder()) / "document_frequencies" / f"{name}.npz"
    if path.exists():
        return DocumentFrequencies.load(path)
    built = build()
    built.save(path)
    return built


def tokenize_groups(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """Each group's captions tokenised, in one call for all groups."""
    tokens = iter(tokenize.ptb_tokenize(list(chain.from_iterable(groups))))
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
