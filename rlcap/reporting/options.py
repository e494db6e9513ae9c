"""How a report is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rlcap.reporting.reading.files import ReportError

MAIN_METRIC = "CIDEr-D"
Aggregate = Literal["mean", "interquartile_mean"]
Correction = Literal["column", "table", "none"]


@dataclass(frozen=True)
class ReportOptions:
    """How a report is made.

    Attributes:
        split: the split whose evaluation is shown.
        metric: the main metric.
        title: the heading; None: the methods' names.
        baseline: the method, or one of its runs, that the others are compared with; None: the one that the others
            started from, where there is one such, else that of the first run.
        names: what methods are called, by the name that they would have.
        aggregate: how scores of images become one: their mean, or the mean of their middle half.
        resamples: of the bootstrap over images.
        confidence: how often an interval covers the true number.
        correction: which comparisons share one chance of a false alarm (Holm 1979): those with the baseline in one
            column of the table, or those of the whole table; or no correction.
        seed: of the bootstrap and of random choices.
        images: the most images of the gallery.
        megabytes: the most that pictures may add to the page.
        png: whether figures are written as PNG besides SVG; what is no plot, such as a scene graph, is SVG alone.
    """

    split: str = "test"
    metric: str = MAIN_METRIC
    title: str | None = None
    baseline: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    aggregate: Aggregate = "mean"
    resamples: int = 2000
    confidence: float = 0.95
    correction: Correction = "column"
    seed: int = 0
    images: int = 60
    megabytes: float = 8.0
    png: bool = False

    def __post_init__(self) -> None:
        if not 100 <= self.resamples <= 100_000:
            raise ReportError(f"resamples must be between 100 and 100,000, got {self.resamples}")
        if not 0.5 <= self.confidence < 1:
            raise ReportError(f"confidence must be at least 0.5 and below 1, got {self.confidence}")
        if self.images < 0 or self.megabytes < 0:
            raise ReportError(f"images and megabytes must be 0 or more, got {self.images} and {self.megabytes}")
        if self.seed < 0:
            raise ReportError(f"seed must be 0 or more, got {self.seed}")

    @property
    def share(self) -> str:
        """The confidence in percent."""
        return f"{100 * self.confidence:g}%"

    @property
    def alpha(self) -> float:
        """The chance of a false alarm that is accepted."""
        return 1 - self.confidence
