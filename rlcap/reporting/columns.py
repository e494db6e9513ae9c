"""The numbers by which methods are compared, each with how sure it is: what the main table and its files show.

A column holds one metric under one signature, so that it can be read downwards. A number scored otherwise has a column
of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rlcap.reporting.comparable import comparable_numbers
from rlcap.reporting.images import SharedImages
from rlcap.reporting.methods import Method
from rlcap.reporting.names import direction
from rlcap.reporting.options import ReportOptions
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.statistics.correction import holm
from rlcap.reporting.statistics.estimates import Difference, Estimate, difference, estimate
from rlcap.reporting.statistics.resampling import Runs


@dataclass(frozen=True, eq=False)
class Column:
    """One quantity of every method.

    Attributes:
        name: the metric or statistic.
        signature: how it was scored; empty for statistics.
        better: 1 where more is better, -1 where less is, 0 where neither.
        images: how many images its intervals were resampled from; 0 where they rest on seeds alone.
        runs: the runs of each method; None where none has the number.
        baseline: the place of the method that the others are compared with.
        options: how sure to be.
    """

    name: str
    signature: str
    better: int
    images: int
    runs: tuple[Runs | None, ...]
    baseline: int
    options: ReportOptions

    @cached_property
    def estimates(self) -> tuple[Estimate | None, ...]:
        """Each method's number and its interval."""
        return tuple(None if runs is None else estimate(runs, self.options.confidence) for runs in self.runs)

    @cached_property
    def differences(self) -> tuple[Difference | None, ...]:
        """Each method's difference from the baseline; None for the baseline itself."""
        return tuple(
            None if place == self.baseline else self.between(place, self.baseline) for place in range(len(self.runs))
        )

    def between(self, place: int, other: int) -> Difference | None:
        """The difference of a method from another; None where one has no such number."""
        runs, others = self.runs[place], self.runs[other]
        return None if runs is None or others is None else difference(runs, others, self.options.confidence)

    @cached_property
    def p_values(self) -> tuple[float | None, ...]:
        """Of each difference from the baseline, uncorrected."""
        return tuple(None if found is None else found.p for found in self.differences)

    @cached_property
    def best(self) -> int | None:
        """The method that is better than every other, corrected for their number; None where none is."""
        values = {place: found.value for place, found in enumerate(self.estimates) if found is not None}
        if not self.better or len(values) < 2:
            return None
        place = max(values, key=lambda place: self.better * values[place])
        others = [self.between(place, other) for other in values if other != place]
        corrected = holm([None if found is None else found.p for found in others])
        return place if all(p is not None and p < self.options.alpha for p in corrected) else None


@dataclass(frozen=True)
class Columns:
    """All columns, and which of their differences from the baseline hold.

    Attributes:
        scores: the metrics, the main one first.
        statistics: what the captions are like.
        corrected: the p-value of each method's difference, by the column's place among all and the method's.
        families: how many comparisons each column's p-values were corrected for, by its place.
        remarks: which numbers are other than they should be, one line each.
    """

    scores: tuple[Column, ...]
    statistics: tuple[Column, ...]
    corrected: Mapping[tuple[int, int], float | None]
    families: Mapping[int, int]
    remarks: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[Column, ...]:
        """Scores, then statistics."""
        return (*self.scores, *self.statistics)

    def p(self, column: Column, method: int) -> float | None:
        """The corrected p-value of a method's difference from the baseline."""
        return self.corrected[self.all.index(column), method]

    def holds(self, column: Column, method: int) -> bool:
        """Whether a method's difference from the baseline holds."""
        p = self.p(column, method)
        return p is not None and p < column.options.alpha

    def corrected_for(self, column: Column) -> int:
        """How many comparisons the p-values of a column were corrected for."""
        return self.families[self.all.index(column)]

    def main(self, metric: str) -> Column | None:
        """The main metric's column: of several signatures the baseline's."""
        found = [column for column in self.scores if column.name == metric]
        return next(
            (column for column in found if column.runs[column.baseline] is not None), found[0] if found else None
        )


def make_columns(methods: Sequence[Method], images: SharedImages, baseline: int, options: ReportOptions) -> Columns:
    """All columns of the methods."""
    found, remarks = comparable_numbers([run for method in methods for run in method.runs], images, options)
    scores = []
    for (metric, signature), runs in found.items():
        sampled = min(run.images for run in runs.values())
        better = direction(metric, signature)
        scores.append(Column(metric, signature, better, sampled, _by_method(methods, runs), baseline, options))
    scores.sort(key=lambda column: column.name != options.metric)
    statistics = _statistic_columns(methods, images, baseline, options)
    ordered = [*scores, *statistics]
    together = [list(range(len(ordered)))] if options.correction == "table" else [[n] for n in range(len(ordered))]
    corrected: dict[tuple[int, int], float | None] = {}
    families: dict[int, int] = {}
    for family in together:
        keys = [(place, method) for place in family for method in range(len(methods))]
        values = [ordered[place].p_values[method] for place, method in keys]
        corrected |= dict(zip(keys, values if options.correction == "none" else holm(values), strict=True))
        count = 1 if options.correction == "none" else sum(value is not None for value in values)
        families |= dict.fromkeys(family, count)
    return Columns(tuple(scores), tuple(statistics), corrected, families, remarks)


def _statistic_columns(
    methods: Sequence[Method], images: SharedImages, baseline: int, options: ReportOptions
) -> list[Column]:
    """What the captions are like: over seeds alone, since a resample of images holds fewer different words."""
    members: list[Run] = [run for method in methods for run in method.runs if run.name in images.complete]
    keys = dict.fromkeys(key for run in members for key in run.evaluation.statistics)
    columns = []
    for key in keys:
        runs = {
            run.name: Runs(np.array([run.evaluation.statistics[key]]), None, 0)
            for run in members
            if key in run.evaluation.statistics
        }
        columns.append(Column(key, "", direction(key), 0, _by_method(methods, runs), baseline, options))
    return columns


def _by_method(methods: Sequence[Method], runs: Mapping[str, Runs]) -> tuple[Runs | None, ...]:
    """The runs of each method put together."""
    found = [[runs[run.name] for run in method.runs if run.name in runs] for method in methods]
    return tuple(_together(of_method) if of_method else None for of_method in found)


def _together(parts: Sequence[Runs]) -> Runs:
    resampled = [part.resampled for part in parts if part.resampled is not None]
    values = np.concatenate([part.values for part in parts])
    if len(resampled) < len(parts):
        return Runs(values, None, 0)
    return Runs(values, np.concatenate(resampled), parts[0].images)
