"""The statistics of runs on resamples of the images they all captioned: means, interquartile means, or any other.

Resamples are drawn once, as how often each holds each image, and shared by every run and metric, so that whatever makes
an image hard for all of them cancels in a difference::

    blocks = image_resamples(images=5000, resamples=2000, seed=0)
    method, baseline = mean_runs_of([scores, baseline_scores], blocks)

The blocks are used up by one pass. ``resampled_runs`` takes statistics of several kinds along in the same pass.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from jaxtyping import Float, Float32, Float64

from rewards.scoring.bootstrap import resampled_times

Statistic = Callable[[Float64[np.ndarray, "images resamples"]], Float64[np.ndarray, "seeds resamples"]]
"""What gives a statistic of each run in each resample, told how often each resample holds each image."""


@dataclass(frozen=True)
class Runs:
    """A statistic of some runs, such as the seeds of one method, on all images and on each resample of them.

    Attributes:
        values: the statistic of each run on all images.
        resampled: the same on each resample, the same resamples for whatever it is compared with; None where images
            are not resampled: they have no part in the number (minutes), or resampling would bias it (vocabulary).
        images: how many images there are.
    """

    values: Float[np.ndarray, " seeds"]
    resampled: Float[np.ndarray, "seeds resamples"] | None
    images: int

    def __post_init__(self) -> None:
        if len(self.values) == 0:
            raise ValueError("a statistic needs at least 1 run, got none")
        for name, numbers in (("values", self.values), ("resampled values", self.resampled)):
            if numbers is not None and not np.isfinite(numbers).all():
                raise ValueError(f"{name} must be finite, got {numbers[~np.isfinite(numbers)][0]}")
        if self.resampled is not None and self.resampled.shape[1] < 2:
            raise ValueError(f"a bootstrap needs at least 2 resamples, got {self.resampled.shape[1]}")

    def split(self, sizes: Sequence[int]) -> list["Runs"]:
        """The first so many runs, the next so many, and so on."""
        if sum(sizes) != len(self.values):
            raise ValueError(f"{len(self.values)} runs cannot be split into {list(sizes)}")
        return [
            Runs(
                self.values[start:end],
                None if self.resampled is None else self.resampled[start:end],
                images=self.images,
            )
            for start, end in pairwise(accumulate(sizes, initial=0))
        ]


def image_resamples(images: int, resamples: int, seed: int) -> Iterator[Float64[np.ndarray, "images block"]]:
    """How often each resample holds each image, in blocks of resamples; the same seed gives the same resamples."""
    if images < 1:
        raise ValueError(f"a bootstrap needs at least 1 image, got {images}")
    return resampled_times(images, resamples, np.random.default_rng(seed))


def resampled_runs(
    statistics: Sequence[Statistic], blocks: Iterable[Float64[np.ndarray, "images block"]]
) -> list[Runs]:
    """The runs of each statistic, all on the same resamples, in one pass over them."""
    images = 0
    found: list[list[Float64[np.ndarray, "seeds block"]]] = [[] for _ in statistics]
    for times in blocks:
        images = len(times)
        for values, statistic in zip(found, statistics, strict=True):
            values.append(statistic(times))
    if images == 0:
        raise ValueError("a bootstrap needs resamples, got none: blocks can be gone through only once")
    each_once = np.ones((images, 1))
    return [
        Runs(statistic(each_once)[:, 0], np.concatenate(values, axis=1), images)
        for values, statistic in zip(found, statistics, strict=True)
    ]


def _check_finite(scores: Float[np.ndarray, "seeds images"]) -> None:
    if not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite, got {scores[~np.isfinite(scores)][0]}")


def mean_statistic(scores: Float[np.ndarray, "seeds images"]) -> Statistic:
    """What gives each run's mean over the images of a resample."""
    _check_finite(scores)
    # Deviations add up without rounding where all scores are equal, and such a mean does not vary at all.
    means = scores.mean(axis=1, keepdims=True, dtype=np.float64)
    deviations = scores - means
    return lambda times: means + deviations @ times / len(times)


def mean_runs(scores: Float[np.ndarray, "seeds images"], blocks: Iterable[Float64[np.ndarray, "images block"]]) -> Runs:
    """Each run's mean over images, on all of them and on each resample."""
    return resampled_runs([mean_statistic(scores)], blocks)[0]


def mean_runs_of(
    scores: Sequence[Float[np.ndarray, "_seeds images"]], blocks: Iterable[Float64[np.ndarray, "images block"]]
) -> list[Runs]:
    """``mean_runs`` of many methods and metrics, by one product of matrices for each block."""
    return mean_runs(np.concatenate(scores), blocks).split([len(each) for each in scores])


def interquartile_mean(scores: Float[np.ndarray, "*runs images"]) -> Float64[np.ndarray, "*runs"]:
    """The mean of the middle half of the images' scores.

    Where the number of images is no multiple of 4, the scores at the two borders count in part, so that exactly a
    quarter is left out at either end.
    """
    images = scores.shape[-1]
    if images == 0:
        raise ValueError("a mean needs at least 1 image, got none")
    share = np.diff(np.clip(np.arange(images + 1), images / 4, images * 3 / 4)) / (images / 2)
    means: Float64[np.ndarray, "*runs"] = np.asarray(np.sort(scores, axis=-1).astype(np.float64) @ share)
    return means


def interquartile_statistic(scores: Float[np.ndarray, "seeds images"]) -> Statistic:
    """What gives each run's interquartile mean over the images of a resample."""
    _check_finite(scores)
    order = scores.argsort(axis=1)
    ranked = np.take_along_axis(scores, order, axis=1).astype(np.float64)
    gaps = np.diff(ranked, axis=1)

    def means(times: Float64[np.ndarray, "images resamples"]) -> Float64[np.ndarray, "seeds resamples"]:
        images = len(times)
        counts: Float32[np.ndarray, "images resamples"] = times.astype(np.float32)  # half the memory, and still exact
        values = np.empty((len(scores), times.shape[1]))
        for run, (rows, highest, gap) in enumerate(zip(order, ranked[:, -1], gaps, strict=True)):
            # How much of the middle half lies at or below each score; summed by parts, only gaps of scores count.
            below = counts[rows[:-1]]
            np.cumsum(below, axis=0, out=below)
            np.clip(below, images / 4, images * 3 / 4, out=below)
            below -= images / 4
            values[run] = highest - gap @ below / (images / 2)
        return values

    return means
