"""How well scores agree with what people said of captions: accuracy on pairs, Kendall's correlation with ratings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from rewards.scoring.agreement import kendall_taus
from rlcap.data.judged import Judged, comparisons_of

CORRELATIONS = ("tau_b", "tau_c")


@dataclass(frozen=True)
class Said:
    """What people said of captions that stand in a list, image by image.

    Attributes:
        rows: the rows of each pair: the better one, the other one.
        weights: of the pairs.
        rated: the row of each rating.
        ratings: their values.
    """

    rows: tuple[tuple[int, int], ...]
    weights: Float64[ndarray, " pairs"]
    rated: tuple[int, ...]
    ratings: Float64[ndarray, " ratings"]

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> "Said":
        """What is said of all captions of some images."""
        firsts = np.cumsum([0, *(len(own.captions) for own in judged)]).tolist()
        pairs = [(first, pair) for first, own in zip(firsts, judged, strict=False) for pair in comparisons_of(own, 0.0)]
        ratings = [(first, rating) for first, own in zip(firsts, judged, strict=False) for rating in own.ratings]
        return cls(
            tuple((first + pair.winner, first + pair.loser) for first, pair in pairs),
            np.array([pair.weight for _, pair in pairs], np.float64),
            tuple(first + rating.caption for first, rating in ratings),
            np.array([rating.value for _, rating in ratings], np.float64),
        )

    def differences(self, scores: Float64[ndarray, " captions"]) -> Float64[ndarray, " pairs"]:
        """How much higher the better caption of each pair scores."""
        rows = np.array(self.rows, np.int64).reshape(-1, 2)
        return np.asarray(scores[rows[:, 0]] - scores[rows[:, 1]])

    def agreement(self, scores: Float64[ndarray, " captions"]) -> dict[str, float]:
        """Accuracy on the pairs; Kendall's tau-b and tau-c with the ratings, 0 where all scores are equal."""
        found = {}
        if self.rows:
            found["accuracy"] = float(np.average(half_right(self.differences(scores)), weights=self.weights))
        if self.correlates:
            rated = scores[list(self.rated)]
            taus = kendall_taus(rated, self.ratings, np.ones((len(rated), 1)))
            found |= {name: float(np.nan_to_num(tau[0])) for name, tau in zip(CORRELATIONS, taus, strict=True)}
        return found

    @property
    def correlates(self) -> bool:
        """Whether there are ratings to correlate with: two that differ."""
        return len(np.unique(self.ratings)) > 1

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of what ``agreement`` gives."""
        return (*(("accuracy",) if self.rows else ()), *(CORRELATIONS if self.correlates else ()))


def half_right(differences: Float64[ndarray, " pairs"]) -> Float64[ndarray, " pairs"]:
    """1 where the better one scores higher, 0 where it scores lower, 1/2 where both score the same."""
    return np.asarray((np.sign(differences) + 1) / 2)


def probability(differences: Float64[ndarray, " pairs"]) -> Float64[ndarray, " pairs"]:
    """The probability that the first caption is preferred: the sigmoid, which never overflows so."""
    return np.asarray(0.5 + 0.5 * np.tanh(differences / 2))
