"""How sure a method's number is, and its difference from another's, over images and over seeds of training.

The score of method m, seed s, on image i is taken as ``mu_m + a_i + b_mi + c_ms + e_msi``: images are common to all
methods and seeds, seeds of different methods are independent. The variance of a method's mean over seeds, or of a
difference of two such means, is then the sum of

* the images' part: the variance over resamples of the images, which holds ``a`` (for a difference it cancels), ``b``
  and ``e``;
* the seeds' part: ``c``'s variance over the number of seeds. It is the sample variance of the seeds' values less what
  the images contribute to it, ``e``, which the images' part holds already; never below zero.

Intervals and p-values are those of Student's t. Its degrees of freedom are the harmonic mean of those of the two
parts, weighted by their shares of the variance: images less one, and Welch's (1947) of the seeds. Satterthwaite (1946)
weighs by squared shares, which gives too many where few seeds vary more than images: his 95% intervals of a method's
mean over three seeds cover 92%, these 94%; of two seeds, 87% and 90% (``benchmarks/coverage.py``). Two limits are
exact: between one seed each, the mean over images gives the paired t-test; numbers whose images are not resampled give
Welch's t-test.

With a single seed nothing is known of the seeds: the statement is about that seed alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from jaxtyping import Float, Float64
from scipy.special import stdtr, stdtrit

from rlcap.reporting.statistics.resampling import Runs

_ROUNDING = 1e-12  # of the values' size: what is smaller came of adding in another order, and is zero


@dataclass(frozen=True)
class Estimate:
    """A method's number and how sure it is.

    Attributes:
        value: mean over seeds.
        low: lower end of the interval; None, like what follows, where too few images or seeds were seen to tell.
        high: upper end of the interval.
        error: standard error of the value.
        degrees: degrees of freedom of Student's t.
        seeds: how many seeds there are.
    """

    value: float
    low: float | None
    high: float | None
    error: float | None
    degrees: float | None
    seeds: int


@dataclass(frozen=True)
class Difference:
    """How much a method's number is above a baseline's, and how sure that is.

    Attributes:
        value: the method's mean over seeds less the baseline's.
        low: lower end of the interval; None, like what follows, where too few images or seeds were seen to tell.
        high: upper end of the interval.
        error: standard error of the value.
        degrees: degrees of freedom of Student's t.
        p: how often a difference at least as large would be seen if there were none; two-sided.
        seeds: how many seeds the method and the baseline have.
    """

    value: float
    low: float | None
    high: float | None
    error: float | None
    degrees: float | None
    p: float | None
    seeds: tuple[int, int]


@dataclass(frozen=True)
class SeedSpread:
    """What the seeds of one method add to the variance of their mean.

    Attributes:
        total: variance of the mean over seeds as their values show it, images' share included.
        own: the seeds' own part of it, without the images' share.
        degrees: seeds less one.
    """

    total: float
    own: float
    degrees: int


def image_variance(resampled: Float[np.ndarray, " resamples"], images: int) -> float:
    """Variance of a statistic over samples of the images, from its resamples.

    Resamples vary by (images - 1) / images less than samples do, as the variance of a sample about its own mean.
    """
    return float(resampled.var(ddof=1)) * images / (images - 1)


def seed_spread(runs: Runs) -> SeedSpread | None:
    """What the seeds add to the variance of their mean; None of a single seed."""
    seeds = len(runs.values)
    if seeds == 1:
        return None
    variance = float(runs.values.var(ddof=1))
    from_images = 0.0
    if runs.resampled is not None and runs.images > 1:
        apart: Float64[np.ndarray, "seeds resamples"] = runs.resampled - runs.resampled.mean(axis=0)
        from_images = sum(image_variance(each, runs.images) for each in apart) / (seeds - 1)
    return SeedSpread(variance / seeds, max(0.0, variance - from_images) / seeds, seeds - 1)


def degrees_of_freedom(images_part: float, images: int, spreads: Sequence[SeedSpread]) -> float:
    """Degrees of freedom of the variance: of images and of seeds, their harmonic mean weighted by shares of it."""
    seeds_part = sum(spread.own for spread in spreads)
    variance = images_part + seeds_part
    if variance == 0:
        return float(min([spread.degrees for spread in spreads], default=images - 1))
    weighted = images_part / (images - 1) if images_part else 0.0
    if seeds_part:
        total = sum(spread.total for spread in spreads)
        weighted += seeds_part * sum((spread.total / total) ** 2 / spread.degrees for spread in spreads)
    return variance / weighted


def _error(sides: Sequence[Runs], resampled: Float[np.ndarray, " resamples"] | None) -> tuple[float, float] | None:
    """Standard error and degrees of freedom of what is made of these runs' means; None where they cannot be told."""
    images = sides[0].images
    spreads = [spread for spread in map(seed_spread, sides) if spread is not None]
    if resampled is None:
        if len(spreads) < len(sides):
            return None
        images_part = 0.0
    elif images < 2:
        return None
    else:
        images_part = image_variance(resampled, images)
    error = sqrt(images_part + sum(spread.own for spread in spreads))
    return _rounded(error, sides), degrees_of_freedom(images_part, images, spreads)


def _rounded(number: float, sides: Sequence[Runs]) -> float:
    return number if abs(number) > _ROUNDING * max(float(abs(runs.values).max()) for runs in sides) else 0.0


def _half_width(error: float, degrees: float, confidence: float) -> float:
    return float(stdtrit(degrees, (1 + confidence) / 2)) * error


def estimate(runs: Runs, confidence: float = 0.95) -> Estimate:
    """The mean over seeds and its interval."""
    value, seeds = float(runs.values.mean()), len(runs.values)
    found = _error([runs], None if runs.resampled is None else runs.resampled.mean(axis=0))
    if found is None:
        return Estimate(value, None, None, None, None, seeds)
    half = _half_width(*found, confidence)
    return Estimate(value, value - half, value + half, *found, seeds)


def difference(runs: Runs, baseline: Runs, confidence: float = 0.95) -> Difference:
    """How much the mean over seeds is above the baseline's, with its interval and the p-value of there being none.

    Both must be on the same resamples of the same images, or on none.
    """
    sides = (runs, baseline)
    value = _rounded(float(runs.values.mean() - baseline.values.mean()), sides)
    seeds = (len(runs.values), len(baseline.values))
    found = _error(sides, _resampled_difference(runs, baseline))
    if found is None or (found[0] == 0 and value != 0):  # what never varied tells nothing of how much it might
        return Difference(value, None, None, None, None, None, seeds)
    error, degrees = found
    half = _half_width(error, degrees, confidence)
    return Difference(value, value - half, value + half, error, degrees, _p_value(value, error, degrees), seeds)


def _p_value(value: float, error: float, degrees: float) -> float:
    return 1.0 if value == 0 else float(2 * stdtr(degrees, -abs(value) / error))


def _resampled_difference(runs: Runs, baseline: Runs) -> Float[np.ndarray, " resamples"] | None:
    if runs.resampled is None and baseline.resampled is None:
        return None
    if runs.resampled is None or baseline.resampled is None:
        raise ValueError("runs whose images were resampled cannot be compared with runs whose images were not")
    ours, theirs = (runs.images, runs.resampled.shape[1]), (baseline.images, baseline.resampled.shape[1])
    if ours != theirs:
        raise ValueError(f"runs are compared on the same resamples of the same images, got {ours} and {theirs}")
    differences: Float[np.ndarray, " resamples"] = runs.resampled.mean(axis=0) - baseline.resampled.mean(axis=0)
    return differences
