"""Simulated people who judge captions of the synthetic scenes, by tastes that are known.

People differ: each has tastes of their own around the mean (:mod:`rlcap.data.tastes`). They err: they choose between
two captions as Bradley and Terry (1952) or Thurstone (1927, case V) have it, with ties after Rao and Kupper (1967) and
Glenn and David (1960), and rate by thresholds with the same noise (McCullagh 1980). A reward that is learned from their
judgements can be compared with the utility it should have learned. What they are asked is in
:mod:`rlcap.data.simulated`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np

from rlcap.data.judged import Comparison, Judged, Rating, Tie
from rlcap.data.tastes import SCENE, Tastes, Told, Utility, told, utility
from rlcap.types import UserError

__all__ = [
    "SCENE",
    "BradleyTerry",
    "Crowd",
    "Noise",
    "Rater",
    "Tastes",
    "Thurstone",
    "Told",
    "Utility",
    "choice_probabilities",
    "rating_probabilities",
    "told",
    "utility",
]

# --- how people choose


class Noise(ABC):
    """How much more or less someone feels than there is."""

    @abstractmethod
    def below(self, difference: float) -> float:
        """The probability that this stays below a value."""


@dataclass(frozen=True)
class BradleyTerry(Noise):
    """Logistic noise: one caption is preferred with the sigmoid of the difference over the temperature.

    Attributes:
        temperature: large where people choose at random.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_above_zero("temperature", self.temperature)

    def below(self, difference: float) -> float:
        """The logistic distribution function."""
        return float(0.5 + 0.5 * math.tanh(difference / (2 * self.temperature)))


@dataclass(frozen=True)
class Thurstone(Noise):
    """Normal noise of each caption's utility alone, case V: that of a difference is the square root of 2 as wide.

    Attributes:
        temperature: standard deviation of the noise of one caption.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_above_zero("temperature", self.temperature)

    def below(self, difference: float) -> float:
        """The normal distribution function."""
        return NormalDist(0.0, math.sqrt(2) * self.temperature).cdf(difference)


def _check_above_zero(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{name} must be above 0, got {value}: a small one makes people sure of themselves")


def choice_probabilities(difference: float, tie: float, noise: Noise) -> tuple[float, float, float]:
    """The probabilities that the first of two captions wins, that they tie, and that the second wins.

    Args:
        difference: utility of the first less that of the second.
        tie: differences up to this, as they are felt, are none: Rao and Kupper 1967, Glenn and David 1960.
        noise: of the difference as it is felt.
    """
    wins, loses = noise.below(difference - tie), noise.below(-difference - tie)
    return wins, max(0.0, 1.0 - wins - loses), loses


def rating_probabilities(value: float, thresholds: Sequence[float], noise: Noise) -> tuple[float, ...]:
    """The probability of each rating from 1 to one above the number of thresholds, that of k being passed k - 1."""
    passed = [1.0, *(noise.below(value - threshold) for threshold in thresholds), 0.0]
    return tuple(before - after for before, after in pairwise(passed))


@dataclass(frozen=True)
class Rater:
    """One person.

    Attributes:
        name: of the person.
        tastes: what they like.
        noise: how they err.
        tie: differences up to this, as felt, are ties; 0: they always choose.
        thresholds: the utilities from which they rate 2, 3 and 4.
    """

    name: str
    tastes: Tastes
    noise: Noise
    tie: float
    thresholds: tuple[float, ...]

    def choose(self, captions: tuple[str, str], scene: Mapping[str, Any], rng: np.random.Generator) -> Judged:
        """The caption they find better, or a tie."""
        difference = utility(captions[0], scene, self.tastes) - utility(captions[1], scene, self.tastes)
        first, tied, _ = choice_probabilities(difference, self.tie, self.noise)
        felt = rng.random()
        if felt < first:
            return Judged(captions, comparisons=(Comparison(0, 1, rater=self.name),))
        if felt < first + tied:
            return Judged(captions, ties=(Tie(0, 1, rater=self.name),))
        return Judged(captions, comparisons=(Comparison(1, 0, rater=self.name),))

    def rate(self, caption: str, scene: Mapping[str, Any], rng: np.random.Generator) -> Judged:
        """Their rating of a caption, from 1."""
        shares = rating_probabilities(utility(caption, scene, self.tastes), self.thresholds, self.noise)
        value = 1 + int(np.searchsorted(np.cumsum(shares)[:-1], rng.random(), side="right"))
        return Judged((caption,), ratings=(Rating(0, float(value), rater=self.name),))


@dataclass(frozen=True)
class Crowd:
    """People who agree on the whole.

    Attributes:
        raters: how many.
        tastes: of the mean person.
        disagreement: standard deviation of the logarithm of each taste over people; 0: all have the same.
        noise: how they err.
        tie: differences of utility up to this, as felt, are ties.
        thresholds: the utilities from which they rate 2, 3 and so on, growing.
        seed: of the people's tastes.
    """

    raters: int = 5
    tastes: Tastes = field(default_factory=Tastes)
    disagreement: float = 0.3
    noise: Noise = field(default_factory=BradleyTerry)
    tie: float = 0.25
    thresholds: tuple[float, ...] = (0.0, 1.5, 3.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.raters < 1:
            raise UserError(f"a crowd has 1 rater or more, got {self.raters}")
        for name in ("disagreement", "tie", "seed"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if not self.thresholds or any(a >= b for a, b in pairwise(self.thresholds)):
            raise UserError(f"thresholds must grow, one or more, got {list(self.thresholds)}")

    @cached_property
    def people(self) -> tuple[Rater, ...]:
        """The people. A larger crowd of the same seed begins with those of a smaller."""
        return tuple(
            Rater(f"rater-{number}", self._own_tastes(number), self.noise, self.tie, self.thresholds)
            for number in range(self.raters)
        )

    def _own_tastes(self, number: int) -> Tastes:
        """A person's tastes: those of the mean person times log-normal factors of mean 1."""
        rng = np.random.default_rng([self.seed, number])
        mean = np.array(astuple(self.tastes))
        factors = np.exp(self.disagreement * rng.standard_normal(len(mean)) - self.disagreement**2 / 2)
        return Tastes(*(mean * factors).tolist())
