"""A report in full, ready to be written as a page or as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlcap.reporting.comparison import Comparison, change_table, compare, incomparable
from rlcap.reporting.content import remarks, run_table, score_table, statistics_table
from rlcap.reporting.drawing.svg import Figure, Mark, method_mark, run_mark
from rlcap.reporting.figures import draw_curves, draw_phases, drawing_notes
from rlcap.reporting.gallery import Shelf, choose_shelves
from rlcap.reporting.method_figures import band_notes, draw_main, draw_others
from rlcap.reporting.method_table import method_columns, method_csv, method_table
from rlcap.reporting.methods import MOST_RUNS, Method, group_runs, worth_grouping
from rlcap.reporting.over_optimization import OverOptimization, over_optimization
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.settings import settings_table
from rlcap.reporting.tables import Table


@dataclass(frozen=True)
class MethodSection:
    """Methods over seeds.

    Attributes:
        table: methods by quantities.
        csv: the same with every digit.
        marks: how each method is drawn, in order.
        curves: the figures that compare methods.
        notes: what is drawn in them.
    """

    table: Table
    csv: str
    marks: tuple[Mark, ...]
    curves: tuple[Figure, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Everything a report says, still as plain text.

    Where there are too many runs to show each, a method stands for its runs in figures and gallery.

    Attributes:
        title: its heading.
        split: the split the scores are of.
        metric: the main metric.
        seed: of the bootstrap and of the gallery's sample.
        marks: how each run, or each method, is drawn, in order.
        comparisons: each later run against the first; none where ``changes`` tells them as a table.
        changes: the comparisons of many runs.
        methods: methods over seeds; None where grouping says nothing.
        over_optimization: scores against KL, by method; None where no run measures enough of both.
        remarks: what is missing, damaged or not comparable.
        scores: runs by metrics; None where no run was scored.
        runs: what each run was.
        settings: where the configurations of runs, or of methods, differ; None where they do not.
        statistics: what the captions are like; None where no run says.
        curves: one figure a logged quantity.
        curve_notes: what was done to the curves before drawing.
        phases: where the time goes; None where no run was timed.
        shelves: the gallery.
        shown_notes: which runs stand for their methods.
    """

    title: str
    split: str
    metric: str
    seed: int
    marks: tuple[Mark, ...]
    comparisons: tuple[Comparison, ...]
    changes: Table | None
    methods: MethodSection | None
    over_optimization: OverOptimization | None
    remarks: tuple[str, ...]
    scores: Table | None
    runs: Table
    settings: Table | None
    statistics: Table | None
    curves: tuple[Figure, ...]
    curve_notes: tuple[str, ...]
    phases: Figure | None
    shelves: tuple[Shelf, ...]
    shown_notes: tuple[str, ...]

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All figures in the order they are shown."""
        of_methods = () if self.methods is None else self.methods.curves
        by_kl = () if self.over_optimization is None else self.over_optimization.figures
        return (*of_methods, *by_kl, *self.curves, *(() if self.phases is None else (self.phases,)))


def build_report(runs: Sequence[Run], split: str, metric: str, title: str | None, seed: int) -> Report:
    """What there is to say of the runs, the first being what the others are compared with."""
    comparisons = compare(runs, metric, seed)
    methods, notes = group_runs(runs)
    many, grouped = len(runs) > MOST_RUNS, worth_grouping(methods, runs)
    shown = [method.runs[0] for method in methods] if many else runs
    captioning = [run for run in shown if run.evaluation.predictions]
    comparable = len(captioning) > 1 and not incomparable(captioning[0], captioning[-1], metric)
    if many:
        marks = _method_marks(methods)
        curves, curve_notes = draw_others(methods, metric), band_notes(methods, bands=False)
    else:
        marks = tuple(run_mark(index, run.name) for index, run in enumerate(runs))
        curves, curve_notes = draw_curves(runs), drawing_notes(runs)
    return Report(
        title=title or _title(runs, methods, many),
        split=split,
        metric=metric,
        seed=seed,
        marks=marks,
        comparisons=() if many else comparisons,
        changes=change_table(comparisons, seed) if many else None,
        methods=_section(methods, metric, comparisons, notes) if grouped else None,
        over_optimization=over_optimization(methods, _method_marks(methods) if grouped else marks),
        remarks=remarks(runs, metric),
        scores=score_table(runs, metric),
        runs=run_table(runs),
        settings=settings_table(shown),
        statistics=statistics_table(runs),
        curves=curves,
        curve_notes=curve_notes,
        phases=draw_phases(shown),
        shelves=choose_shelves(shown, metric, comparable, np.random.default_rng(seed)),
        shown_notes=_stand_ins(methods) if many else (),
    )


def _section(
    methods: Sequence[Method], metric: str, comparisons: Sequence[Comparison], notes: Sequence[str]
) -> MethodSection:
    columns = method_columns(methods, metric, comparisons)
    return MethodSection(
        method_table(methods, columns, notes),
        method_csv(methods, columns),
        _method_marks(methods),
        draw_main(methods, metric),
        band_notes(methods, bands=True),
    )


def _method_marks(methods: Sequence[Method]) -> tuple[Mark, ...]:
    return tuple(method_mark(index, method.name) for index, method in enumerate(methods))


def _title(runs: Sequence[Run], methods: Sequence[Method], many: bool) -> str:
    if len(runs) == 1:
        return runs[0].name
    others = f"{len(methods) - 1} methods in {len(runs) - 1} runs" if many else ", ".join(run.name for run in runs[1:])
    return f"{runs[0].name} → {others}"


def _stand_ins(methods: Sequence[Method]) -> tuple[str, ...]:
    if all(len(method.runs) == 1 for method in methods):
        return ()
    seeds = dict.fromkeys(method.seeds[0] for method in methods if len(method.runs) > 1)
    which = f"that of seed {next(iter(seeds))}" if len(seeds) == 1 else "the first"
    return (f"Of the runs of a method, {which} is shown.",)
