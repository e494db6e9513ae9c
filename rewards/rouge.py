"""ROUGE-L: the longest common subsequence of words of caption and reference. Lin 2004, as pycocoevalcap has it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Reward, Signature
from rewards.ngrams import KnownScores, Memory, pairs, tokenize_groups
from rewards.tokenize import ptb_tokenize


@dataclass(frozen=True)
class ReferenceBits:
    """One image's references as bits of one integer, a 0 between any two of them.

    Attributes:
        places: for each word, the bits where it stands.
        every: the bits of all words.
        spans: first bit and length of each reference.
    """

    places: dict[str, int]
    every: int
    spans: tuple[tuple[int, int], ...]


def reference_bits(references: Sequence[str]) -> ReferenceBits:
    """The tokenised references of one image as bits."""
    places: dict[str, int] = {}
    spans, every, bit = [], 0, 0
    for reference in references:
        words = reference.split(" ")  # as the original: no words are one empty word
        spans.append((bit, len(words)))
        for word in words:
            places[word] = places.get(word, 0) | 1 << bit
            every |= 1 << bit
            bit += 1
        bit += 1  # takes the carry of the sum below
    return ReferenceBits(places, every, tuple(spans))


def rouge_l(caption: str, references: ReferenceBits, beta: float = 1.2) -> float:
    """F-measure of the best precision and the best recall over references, which may be two different ones.

    The longest common subsequences with all references grow together, one word of the caption at a time, as the
    zeros of one integer (Hyyrö 2004): a sum carries past a run of ones as a row of the usual table would.
    """
    words = caption.split(" ")
    places, every = references.places, references.every
    open_ = every
    for word in words:
        if here := open_ & places.get(word, 0):
            open_ = ((open_ + here) | (open_ - here)) & every
    precision = recall = 0.0
    for first, length in references.spans:
        common = length - (open_ >> first & (1 << length) - 1).bit_count()
        precision = max(precision, common / len(words))
        recall = max(recall, common / length)
    if not precision:
        return 0.0
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


class RougeL(Reward):
    """ROUGE-L F-measure.

    Args:
        beta: weight of recall against precision.
        remembered_images: how many images' references are kept between calls, about 6 kB each.
    """

    needs_references = True

    def __init__(self, beta: float = 1.2, remembered_images: int = 32768) -> None:
        self.beta = beta
        self._memory: Memory[tuple[str, ...], ReferenceBits] = Memory(_tokenized_bits, remembered_images)
        self._known = KnownScores()

    @property
    def signature(self) -> Signature:
        """Weight of recall and tokenisation."""
        return Signature("ROUGE-L", {"beta": f"{self.beta:g}", "tok": "ptb"})

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """ROUGE-L of each caption."""
        return self._known(pairs(candidates), lambda rows: self._score(candidates.select(rows)))

    def _score(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        captions, references = ptb_tokenize(candidates.captions), self._memory(candidates.reference_tuples())
        both = zip(captions, references, strict=True)
        return np.array([rouge_l(caption, bits, self.beta) for caption, bits in both], np.float64)


def _tokenized_bits(references: Sequence[tuple[str, ...]]) -> list[ReferenceBits]:
    return [reference_bits(captions) for captions in tokenize_groups(references)]
