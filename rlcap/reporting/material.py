"""What all sections of a report draw on: the runs, grouped into methods, and the numbers by which they are compared."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from rlcap.reporting.columns import BLEU, Column, Columns, is_mean, make_columns
from rlcap.reporting.drawing.kept import Drawings
from rlcap.reporting.drawing.svg import Mark, marks_of
from rlcap.reporting.images import SharedImages, shared_images
from rlcap.reporting.methods import Method, group_runs
from rlcap.reporting.options import ReportOptions
from rlcap.reporting.reading.files import ReportError
from rlcap.reporting.reading.runs import Reading, Run
from rlcap.reporting.tables import number


@dataclass(frozen=True)
class Material:
    """What a report is made from.

    Attributes:
        options: how it is made.
        runs: in the order they were given.
        methods: runs of one configuration over seeds, in the order of their first runs.
        marks: how each method is drawn throughout.
        baseline: the place of the method that the others are compared with.
        images: those on which runs are compared.
        columns: the numbers by which they are.
        remarks: what is missing, damaged, left out or not comparable, one line each.
        grouping: what is odd about the grouping, one line each.
        drawings: those of earlier reports.
    """

    options: ReportOptions
    runs: tuple[Run, ...]
    methods: tuple[Method, ...]
    marks: tuple[Mark, ...]
    baseline: int
    images: SharedImages
    columns: Columns
    remarks: tuple[str, ...]
    grouping: tuple[str, ...]
    drawings: Drawings = field(default_factory=Drawings)

    @property
    def main(self) -> Column | None:
        """The column of the main metric; None where no run has it."""
        return self.columns.main(self.options.metric)

    @property
    def baseline_method(self) -> Method:
        """The method that the others are compared with."""
        return self.methods[self.baseline]

    @cached_property
    def starts(self) -> frozenset[int]:
        """The places of methods that other methods started from: what they logged is of another training."""
        directories = (Path(run.setting("policy", "init_args", "directory")).parts for run in self.runs)
        runs = {parts[: parts.index("checkpoints")] if "checkpoints" in parts else parts for parts in directories}
        names = {parts[-1] for parts in runs if parts}
        return frozenset(
            place
            for place, method in enumerate(self.methods)
            if any(Path(run.name).name in names for run in method.runs)
        )

    @cached_property
    def shown(self) -> tuple[tuple[int, Run], ...]:
        """The place of each method that captioned the shared images, and the run that stands for it: its first."""
        return tuple(
            (place, run)
            for place, method in enumerate(self.methods)
            for run in [run for run in method.runs if run.name in self.images.compared][:1]
        )


def gather(reading: Reading, options: ReportOptions, drawings: Drawings | None = None) -> Material:
    """The material of the runs that were read.

    Raises:
        ReportError: if the baseline is none of the methods, or a name is given to none or twice.
    """
    methods, notes = group_runs(reading.runs)
    methods = _named(methods, options)
    baseline = _baseline(methods, options)
    images = shared_images([run for method in methods for run in method.runs], methods[baseline].runs[0])
    own = [f"{run.name}: {note}." for run in reading.runs for note in run.notes]
    return Material(
        options=options,
        runs=reading.runs,
        methods=methods,
        marks=marks_of([method.name for method in methods]),
        baseline=baseline,
        images=images,
        columns=make_columns(methods, images, baseline, options),
        remarks=(*reading.left_out, *own, *images.remarks, *_doubts(reading.runs, options.metric)),
        grouping=notes,
        drawings=drawings or Drawings(),
    )


def _doubts(runs: Sequence[Run], metric: str) -> tuple[str, ...]:
    """Where the main metric of a run is another number than the mean of its captions' own."""
    doubts = []
    for run in runs:
        score = run.evaluation.scores.get(metric)
        of_images = [p.scores[metric] for p in run.evaluation.predictions.values() if metric in p.scores]
        mean = float(np.mean(of_images)) if of_images else None
        if score and mean is not None and not is_mean(score.value, mean) and not BLEU.match(metric):
            doubts.append(
                f"{run.name}: {metric} is {number(score.value)} in scores.json, but the captions' mean is "
                f"{number(mean)}."
            )
    return tuple(doubts)


def _named(methods: Sequence[Method], options: ReportOptions) -> tuple[Method, ...]:
    """The methods with the names that were asked for."""
    unknown = options.names.keys() - {method.name for method in methods}
    if unknown:
        known = ", ".join(method.name for method in methods)
        raise ReportError(f"no method is called {sorted(unknown)[0]!r}: name one of {known}")
    named = tuple(method.called(options.names.get(method.name, method.name)) for method in methods)
    names = [method.name for method in named]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ReportError(f"two methods would be called {twice!r}: give each a name of its own")
    return named


def _baseline(methods: Sequence[Method], options: ReportOptions) -> int:
    """The place of the method, or of the method of the run, that was asked for."""
    asked = options.baseline
    if asked is None:
        return 0
    for place, method in enumerate(methods):
        if asked == method.name or any(asked == run.name for run in method.runs):
            return place
    known = ", ".join(method.name for method in methods)
    raise ReportError(f"no method or run is called {asked!r}: the baseline is one of {known}")
