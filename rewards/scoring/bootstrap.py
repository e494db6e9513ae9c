"""The bootstrap over images: how sure a number is that was measured on a sample of them. Efron and Tibshirani 1993.

A resample is kept as how often it holds each image, so that sums over it are products of matrices and nothing is
computed again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

CELLS = 4_000_000  # resampled images held at once; bounds memory, not the result's precision
CONFIDENCE = 0.95

Interval = tuple[float, float]


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made.

    Attributes:
        resamples: how many samples of the images are drawn, with replacement.
        seed: of the draw; the same seed draws the same samples for every number, so that they are paired.
        confidence: how often an interval covers the true number.
    """

    resamples: int = 1000
    seed: int = 0
    confidence: float = CONFIDENCE


def resampled_times(
    images: int, resamples: int, rng: np.random.Generator, cells: int = CELLS
) -> Iterator[Float64[np.ndarray, "images resamples"]]:
    """How often each resample holds each image, in blocks of resamples; each holds as many images as there are."""
    together = max(1, cells // images)
    for start in range(0, resamples, together):
        count = min(together, resamples - start)
        drawn = rng.integers(images, size=(count, images))
        drawn += np.arange(count)[:, None] * images
        times = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        yield np.ascontiguousarray(times.T, np.float64)


def percentile_interval(
    values: Float64[np.ndarray, "resamples ..."], confidence: float = CONFIDENCE
) -> Float64[np.ndarray, "2 ..."]:
    """The middle share of the values over resamples: the lower and the upper end."""
    tail = (1 - confidence) / 2
    ends: Float64[np.ndarray, "2 ..."] = np.quantile(values, [tail, 1 - tail], axis=0)
    return ends


def image_numbers(image_ids: Sequence[str] | None, captions: int) -> Int64[np.ndarray, " captions"]:
    """The number of each caption's image, in order of appearance; without ids every caption is an image of its own."""
    numbers: dict[str, int] = {}
    ids = map(str, range(captions)) if image_ids is None else image_ids
    return np.array([numbers.setdefault(image, len(numbers)) for image in ids], np.int64)


def bootstrap_intervals(
    statistics: Callable[[Float64[np.ndarray, "rows resamples"]], Float64[np.ndarray, "numbers resamples"]],
    image: Int64[np.ndarray, " rows"],
    options: Bootstrap,
) -> list[Interval] | None:
    """The percentile interval of each number over resamples of the images; None where there are fewer than two.

    Args:
        statistics: given how many times each resample holds each row, the numbers in each; NaN where one has none.
        image: the image of each row, from 0 without gaps; all rows of an image are drawn together.
        options: how many resamples, from which seed.
    """
    images = int(image.max()) + 1 if len(image) else 0
    if images < 2:
        return None
    rng = np.random.default_rng(options.seed)
    blocks = resampled_times(images, options.resamples, rng, CELLS * images // max(images, len(image)))
    values = np.concatenate([statistics(times[image]) for times in blocks], axis=1)
    intervals = []
    for numbers in values:
        known = numbers[np.isfinite(numbers)]
        low, high = percentile_interval(known, options.confidence).tolist() if len(known) else (np.nan, np.nan)
        intervals.append((low, high))
    return intervals


def bootstrap_interval(
    statistic: Callable[[Float64[np.ndarray, "rows resamples"]], Float64[np.ndarray, " resamples"]],
    image: Int64[np.ndarray, " rows"],
    options: Bootstrap,
) -> Interval | None:
    """The interval of one number; see ``bootstrap_intervals``."""
    intervals = bootstrap_intervals(lambda times: statistic(times)[None], image, options)
    return None if intervals is None else intervals[0]
