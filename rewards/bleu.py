"""BLEU-1 to BLEU-4: the share of a caption's n-grams that a reference has. Papineni et al. 2002, as in pycocoevalcap.

Statistics of each caption are kept apart from their aggregation, so that a bootstrap over captions never counts twice::

    statistics = bleu_statistics(captions, references)
    corpus_bleu(statistics), corpus_bleu(statistics.rows(sample)), sentence_bleu(statistics.summed(times))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from rewards.base import Candidates, Resampled, Reward, RewardError, Signature
from rewards.ngrams import (
    ORDERS,
    KnownScores,
    Memory,
    count_ngrams,
    distinct,
    owned,
    pairs,
    runs,
    shared,
    tokenize_groups,
)
from rewards.tokenize import ptb_tokenize

# The official constants: no division by zero, and no match gives nearly 0 rather than 0.
TINY = 1e-15
SMALL = 1e-9


@dataclass(frozen=True)
class ReferenceMaxima:
    """One image's references: n-gram ``ngram[e]``, sorted, occurs at most ``count[e]`` times in one of them."""

    ngram: UInt64[np.ndarray, " entries"]
    count: Int64[np.ndarray, " entries"]
    words: tuple[int, ...]


@dataclass(frozen=True)
class BleuStatistics:
    """What BLEU counts in each caption; sums over captions give the corpus score."""

    correct: Int64[np.ndarray, "captions orders"]
    guessed: Int64[np.ndarray, "captions orders"]
    words: Int64[np.ndarray, " captions"]
    reference_words: Int64[np.ndarray, " captions"]

    def rows(self, index: Int64[np.ndarray, " rows"]) -> "BleuStatistics":
        """The statistics of these captions."""
        return BleuStatistics(self.correct[index], self.guessed[index], self.words[index], self.reference_words[index])

    def summed(self, times: Float64[np.ndarray, "captions resamples"]) -> "BleuStatistics":
        """The statistics of each resample, which holds a caption so many times, as if it were one caption."""

        def total(column: Int64[np.ndarray, "captions ..."]) -> Int64[np.ndarray, "resamples ..."]:
            # Products of floats are fast, and exact below 2^53.
            sums: Int64[np.ndarray, "resamples ..."] = np.rint(times.T @ column).astype(np.int64)
            return sums

        return BleuStatistics(total(self.correct), total(self.guessed), total(self.words), total(self.reference_words))


def reference_maxima(references: Sequence[Sequence[str]]) -> list[ReferenceMaxima]:
    """Largest counts over tokenised references, one sequence per image."""
    counts = count_ngrams(list(chain.from_iterable(references)))
    sizes = np.array([len(captions) for captions in references], np.int64)
    image = np.repeat(np.arange(len(references)), sizes)[counts.text]
    key = owned(image, counts.ngram, len(references))
    by_key, first = runs(key)
    entry = by_key[first]
    largest = np.maximum.reduceat(counts.count[by_key], first) if len(first) else counts.count
    bounds = np.searchsorted(image[entry], np.arange(1, len(references)))
    columns = zip(np.split(counts.ngram[entry], bounds), np.split(largest, bounds), strict=True)
    words = np.split(counts.words, np.cumsum(sizes)[:-1])
    return [ReferenceMaxima(*own, tuple(own_words.tolist())) for own, own_words in zip(columns, words, strict=True)]


def bleu_statistics(captions: Sequence[str], references: Sequence[ReferenceMaxima]) -> BleuStatistics:
    """Statistics of each tokenised caption; captions of one image may share the same ``ReferenceMaxima`` object."""
    counts = count_ngrams(captions)
    guessed = np.maximum(counts.words[:, None] - np.arange(ORDERS), 0)
    correct = np.zeros((len(captions), ORDERS), np.int64)
    if captions:
        images, image = distinct(references)
        own, theirs = shared(counts, image, [maxima.ngram for maxima in images])
        clipped = np.minimum(counts.count[own], np.concatenate([maxima.count for maxima in images])[theirs])
        np.add.at(correct, (counts.text[own], counts.order[own]), clipped)
    lengths = zip(counts.words.tolist(), references, strict=True)
    closest = np.array([_closest(words, maxima.words) for words, maxima in lengths], np.int64)
    return BleuStatistics(correct, guessed, counts.words, closest)


@lru_cache(maxsize=65536)
def _closest(words: int, reference_words: tuple[int, ...]) -> int:
    """The reference length nearest to the caption's, the shorter of two equally near."""
    return min((abs(length - words), length) for length in reference_words)[1]


def sentence_bleu(statistics: BleuStatistics) -> Float64[np.ndarray, "captions orders"]:
    """BLEU-1 to BLEU-4 of each caption."""
    precision: Float64[np.ndarray, "captions orders"] = (statistics.correct + TINY) / (statistics.guessed + SMALL)
    geometric = np.cumprod(precision, axis=1) ** (1 / np.arange(1, ORDERS + 1))
    ratio = (statistics.words + TINY) / (statistics.reference_words + SMALL)
    brevity: Float64[np.ndarray, " captions"] = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    scores: Float64[np.ndarray, "captions orders"] = geometric * brevity[:, None]
    return scores


def corpus_bleu(statistics: BleuStatistics) -> Float64[np.ndarray, " orders"]:
    """BLEU-1 to BLEU-4 of all captions together."""
    together = statistics.summed(np.ones((len(statistics.words), 1)))
    scores: Float64[np.ndarray, " orders"] = sentence_bleu(together)[0]
    return scores


class Bleu(Reward):
    """BLEU of one order; its corpus score comes from summed statistics, not from the mean.

    Args:
        order: the longest n-gram counted, 1 to 4.
        remembered_images: how many images' references are kept counted between calls, about 3 kB each.
    """

    needs_references = True

    def __init__(self, order: int = 4, remembered_images: int = 32768) -> None:
        if order not in range(1, ORDERS + 1):
            raise RewardError(f"BLEU has orders 1 to {ORDERS}, got {order}")
        self.order = order
        self._memory: Memory[tuple[str, ...], ReferenceMaxima] = Memory(_tokenized_maxima, remembered_images)
        self._known = KnownScores()

    @property
    def signature(self) -> Signature:
        """Order, reference length and tokenisation."""
        return Signature(f"BLEU-{self.order}", {"length": "closest", "tok": "ptb"})

    def statistics(self, candidates: Candidates) -> BleuStatistics:
        """What BLEU of any order counts in each caption."""
        return bleu_statistics(ptb_tokenize(candidates.captions), self._memory(candidates.reference_tuples()))

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """BLEU of each caption."""
        return self._known(pairs(candidates), lambda rows: self._score(candidates.select(rows)))

    def _score(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        scores: Float64[np.ndarray, " captions"] = sentence_bleu(self.statistics(candidates))[:, self.order - 1]
        return scores

    def aggregate(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> float:
        """BLEU of all captions together."""
        return float(corpus_bleu(self.statistics(candidates))[self.order - 1])

    def resampled(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> Resampled:
        """BLEU of resamples, from the same statistics."""
        statistics = self.statistics(candidates)
        return lambda times: sentence_bleu(statistics.summed(times))[:, self.order - 1]


def _tokenized_maxima(references: Sequence[tuple[str, ...]]) -> list[ReferenceMaxima]:
    return reference_maxima(tokenize_groups(references))
