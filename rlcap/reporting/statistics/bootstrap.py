"""What can be said of a difference between two runs captioning the same images."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rewards.scoring.bootstrap import percentile_interval, resampled_times

# Resampled scores held at once; bounds memory, not the result's precision.
_CELLS = 4_000_000


@dataclass(frozen=True)
class PairedDifference:
    """The mean score of the same images before and after, and how sure their difference is.

    Attributes:
        images: how many images both runs scored.
        before: mean score of the earlier run on them.
        after: mean score of the later run on them.
        low: lower end of the interval of ``after - before``.
        high: upper end of that interval.
        better: images whose score rose; ``worse`` those whose score fell.
        worse: see ``better``.
        resamples: how many bootstrap samples the interval rests on.
        confidence: how often such an interval covers the true difference.
    """

    images: int
    before: float
    after: float
    low: float
    high: float
    better: int
    worse: int
    resamples: int
    confidence: float

    @property
    def difference(self) -> float:
        """Mean score after less mean score before."""
        return self.after - self.before

    @property
    def relative(self) -> float | None:
        """The difference as a fraction of the score before; None where that is not above zero."""
        return self.difference / self.before if self.before > 0 else None

    @property
    def equal(self) -> int:
        """Images whose score is the same."""
        return self.images - self.better - self.worse

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    before: Float[np.ndarray, " images"],
    after: Float[np.ndarray, " images"],
    rng: np.random.Generator,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> PairedDifference:
    """The difference of two runs' mean scores with a percentile bootstrap interval over images.

    Images are drawn with replacement, each with both its scores, so what makes an image hard for both runs cancels.
    Efron and Tibshirani 1993, chapter 13; Koehn 2004 for pairs.
    """
    return paired_bootstraps(before, after[None], rng, resamples, confidence)[0]


def paired_bootstraps(
    before: Float[np.ndarray, " images"],
    after: Float[np.ndarray, "runs images"],
    rng: np.random.Generator,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> tuple[PairedDifference, ...]:
    """Each later run's difference from the first, all on the same resamples of the images, which are drawn only once.

    A resample is kept as how often it holds each image; its mean difference is then a product of matrices.
    """
    if len(before) == 0:
        raise ValueError("a paired bootstrap needs at least 1 image, got none")
    differences = after - before
    runs, images = differences.shape
    blocks = resampled_times(images, resamples, rng, _CELLS)
    means = np.concatenate([(differences @ times / images).T for times in blocks])
    low, high = percentile_interval(means, confidence)
    return tuple(
        PairedDifference(
            images=images,
            before=float(before.mean()),
            after=float(after[run].mean()),
            low=float(low[run]),
            high=float(high[run]),
            better=int((differences[run] > 0).sum()),
            worse=int((differences[run] < 0).sum()),
            resamples=resamples,
            confidence=confidence,
        )
        for run in range(runs)
    )
