"""A report in full, ready to be written as a page or as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlcap.reporting.content import (
    Comparison,
    Table,
    compare,
    incomparable,
    remarks,
    run_table,
    score_table,
    statistics_table,
)
from rlcap.reporting.figures import draw_curves, draw_phases, drawing_notes
from rlcap.reporting.gallery import Shelf, choose_shelves
from rlcap.reporting.runs import Run
from rlcap.reporting.settings import settings_table
from rlcap.reporting.svg import Figure, Mark, run_mark


@dataclass(frozen=True)
class Report:
    """Everything a report says, still as plain text.

    Attributes:
        title: its heading.
        split: the split the scores are of.
        metric: the main metric.
        seed: of the bootstrap and of the gallery's sample.
        marks: how each run is drawn, in order.
        comparisons: each later run against the first.
        remarks: what is missing, damaged or not comparable.
        scores: runs by metrics; None where no run was scored.
        runs: what each run was.
        settings: where the runs' configurations differ; None where they do not.
        statistics: what the captions are like; None where no run says.
        curves: one figure a logged quantity.
        curve_notes: what was done to the curves before drawing.
        phases: where the time goes; None where no run was timed.
        shelves: the gallery.
    """

    title: str
    split: str
    metric: str
    seed: int
    marks: tuple[Mark, ...]
    comparisons: tuple[Comparison, ...]
    remarks: tuple[str, ...]
    scores: Table | None
    runs: Table
    settings: Table | None
    statistics: Table | None
    curves: tuple[Figure, ...]
    curve_notes: tuple[str, ...]
    phases: Figure | None
    shelves: tuple[Shelf, ...]

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All figures in the order they are shown."""
        return self.curves if self.phases is None else (*self.curves, self.phases)


def build_report(runs: Sequence[Run], split: str, metric: str, title: str | None, seed: int) -> Report:
    """What there is to say of the runs, the first being what the others are compared with."""
    captioning = [run for run in runs if run.evaluation.predictions]
    comparable = len(captioning) > 1 and not incomparable(captioning[0], captioning[-1], metric)
    return Report(
        title=title or (runs[0].name if len(runs) == 1 else f"{runs[0].name} → {', '.join(r.name for r in runs[1:])}"),
        split=split,
        metric=metric,
        seed=seed,
        marks=tuple(run_mark(index, run.name) for index, run in enumerate(runs)),
        comparisons=compare(runs, metric, seed),
        remarks=remarks(runs, metric),
        scores=score_table(runs, metric),
        runs=run_table(runs),
        settings=settings_table(runs),
        statistics=statistics_table(runs),
        curves=draw_curves(runs),
        curve_notes=drawing_notes(runs),
        phases=draw_phases(runs),
        shelves=choose_shelves(runs, metric, comparable, np.random.default_rng(seed)),
    )
