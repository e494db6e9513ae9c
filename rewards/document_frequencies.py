"""In how many images' references each n-gram occurs: of any references, of the training set, of COCO; kept on disk."""

import hashlib
import json
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from rewards import ngrams, tokenize
from rewards.base import RewardError
from rewards.ngrams import IMAGES_AT_ONCE, count_ngrams, owned

COCO_NAMES = ("coco-train2014", "coco-val2014")
_COUNTED_BY = (tokenize.__file__, ngrams.__file__, __file__)  # the source of all that turns captions into counts


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
    """Of the captions and of all that turns them into counts: a change of one of those files counts anew."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (content, bytes([eos]), *(Path(file).read_bytes() for file in _COUNTED_BY)):
        digest.update(hashlib.blake2b(part).digest())
    return digest.hexdigest()


def _cached(name: str, cache: Path | None, build: Callable[[], DocumentFrequencies]) -> DocumentFrequencies:
    path = (cache or cache_folder()) / "document_frequencies" / f"{name}.npz"
    if path.exists():
        return DocumentFrequencies.load(path)
    built = build()
    try:
        built.save(path)
    except OSError as error:
        raise RewardError(
            f"cannot write {path}: {error.strerror}; set RLCAP_CACHE to a folder that can be written"
        ) from error
    return built
