"""Methods over seeds as a table: for a page, for Markdown and, with every digit, as comma-separated values."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np

from rlcap.reporting.comparison import Comparison
from rlcap.reporting.figures import HELD_OUT, figure_group
from rlcap.reporting.methods import Method
from rlcap.reporting.reading.files import clean
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.tables import Cell, Table, number, significant

TITLE = "Methods over seeds"
_SCORES = ("CIDEr-D", "BLEU-4", "ROUGE-L")


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over the seeds that have a value; the deviation is None for one alone."""

    mean: float
    deviation: float | None
    seeds: int


@dataclass(frozen=True)
class Column:
    """One quantity of every method.

    Attributes:
        title: its heading.
        name: what it is called where there is no room for notes; holds the signature of a score.
        spreads: one a method; None where no seed has a value.
        text: a mean as text.
        deviates: whether the standard deviation is shown beside the mean.
        details: what stands below each value.
        note: the signature.
    """

    title: str
    name: str
    spreads: tuple[Spread | None, ...]
    text: Callable[[float], str]
    deviates: bool = False
    details: tuple[str, ...] = ()
    note: str = ""


def method_columns(methods: Sequence[Method], metric: str, comparisons: Sequence[Comparison]) -> tuple[Column, ...]:
    """All columns; a score has one for each signature, so that every column can be read downwards."""
    places = count(1)
    columns = [*_scores(methods, metric, places), _changes(methods, metric, comparisons)]
    for name in _SCORES:
        columns += _scores(methods, name, places) if name != metric else []
    for title, value, text in (*_tested(metric), *_QUANTITIES):
        spreads = tuple(_spread([value(run) for run in method.runs]) for method in methods)
        columns.append(Column(title, title, spreads, text))
    return tuple(columns)


def method_table(methods: Sequence[Method], columns: Sequence[Column], notes: Sequence[str] = ()) -> Table:
    """Methods by quantities: means over seeds, standard deviations of the scores, and how many seeds they rest on."""
    rows = []
    for place, method in enumerate(methods):
        seeds = ", ".join(method.seeds)
        cells = [Cell(method.name), Cell(str(len(method.runs)), seeds if len(method.seeds) > 1 else "")]
        cells += [_cell(column, place, len(method.runs)) for column in columns]
        rows.append(tuple(cells))
    signatures = [column.note for column in columns if column.note]
    return Table(
        TITLE,
        ("Method", "Seeds", *(column.title for column in columns)),
        tuple(rows),
        (
            *signatures,
            "Scores and statistics are of the checkpoint that was best on the held-out split, the step tested; "
            "the last held-out score tells what became of the run later.",
            "Means over seeds; ± is the standard deviation over seeds (divided by their number less one), a dash a "
            "value that no run has.",
            "Change: mean difference from the first run on the same images; up and down count the seeds whose 95% "
            "interval, by paired bootstrap over images, excludes 0.",
            "KL is in nats per caption from where the run started, as last measured. Gradient variances can be "
            "compared where methods estimate the same gradient. Minutes are those of training steps.",
            *notes,
        ),
    )


def method_csv(methods: Sequence[Method], columns: Sequence[Column]) -> str:
    """The same as comma-separated values: mean, standard deviation and number of seeds of each quantity.

    What is missing is empty, so that a column holds numbers alone.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    heads = [f"{clean(column.name)} {part}" for column in columns for part in ("mean", "deviation", "seeds")]
    rows.writerow(["method", "seeds", *heads])
    for place, method in enumerate(methods):
        row: list[object] = [clean(method.name), len(method.runs)]
        for column in columns:
            spread = column.spreads[place]
            row += ["", "", 0] if spread is None else [spread.mean, spread.deviation, spread.seeds]
        rows.writerow(row)
    return text.getvalue()


def _cell(column: Column, place: int, runs: int) -> Cell:
    spread = column.spreads[place]
    if spread is None:
        return Cell()
    text = column.text(spread.mean)
    if column.deviates and spread.deviation is not None:
        text += f" ± {number(spread.deviation)}"
    details = [column.details[place]] if column.details else []
    if spread.seeds < runs:
        details.append(f"{spread.seeds} of {runs} seeds")
    return Cell(text, ", ".join(filter(None, details)))


def _spread(values: Sequence[float | None]) -> Spread | None:
    found = np.array([value for value in values if value is not None])
    if not len(found):
        return None
    if found.min() == found.max():  # rounding must not make seeds that agree differ
        return Spread(float(found[0]), 0.0 if len(found) > 1 else None, len(found))
    return Spread(float(found.mean()), float(found.std(ddof=1)) if len(found) > 1 else None, len(found))


def _scores(methods: Sequence[Method], metric: str, places: Iterator[int]) -> list[Column]:
    """The metric, a column for each of its signatures."""
    runs = [run for method in methods for run in method.runs if metric in run.evaluation.scores]
    columns = []
    for signature in dict.fromkeys(_signature(run, metric) for run in runs):
        of_signature = {
            run.name: run.evaluation.scores[metric].value for run in runs if _signature(run, metric) == signature
        }
        spreads = tuple(_spread([of_signature.get(run.name) for run in method.runs]) for method in methods)
        place = next(places)
        title, note = f"{metric} [{place}]", f"[{place}] {signature}"
        columns.append(Column(title, signature, spreads, number, deviates=True, note=note))
    return columns


def _signature(run: Run, metric: str) -> str:
    return run.evaluation.scores[metric].signature or f"{metric}, signature unknown ({run.name})"


def _changes(methods: Sequence[Method], metric: str, comparisons: Sequence[Comparison]) -> Column:
    """The difference of each seed's run from the first run, and in how many seeds it is clear."""
    spreads, details = [], []
    for method in methods:
        results = [comparisons[place - 1].result for place in method.places if place]
        found = [result for result in results if result is not None]
        up = sum(result.clear and result.difference > 0 for result in found)
        down = sum(result.clear and result.difference < 0 for result in found)
        clear = ", ".join(f"{seeds} {way}" for seeds, way in ((up, "up"), (down, "down")) if seeds)
        spreads.append(_spread([result.difference for result in found]))
        details.append(f"{clear or 0} of {len(found)}" if found else "")
    title = f"Change of {metric}"
    return Column(title, title, tuple(spreads), partial(number, sign=True), True, tuple(details))


def _statistic(run: Run, key: str) -> float | None:
    return run.evaluation.statistics.get(key)


def _logged(run: Run, key: str, first: bool = False) -> float | None:
    """The first or the last value of a curve."""
    series = run.curves.get(key)
    return None if series is None else float(series.values[0 if first else -1])


def _last_of_several(run: Run, key: str) -> float | None:
    """The last value of a curve, unless it is the first as well."""
    series = run.curves.get(key)
    return None if series is None or len(series.values) < 2 else float(series.values[-1])


def _minutes(run: Run) -> float | None:
    seconds = run.training_seconds
    return None if seconds is None else seconds / 60


_Quantities = tuple[tuple[str, Callable[[Run], float | None], Callable[[float], str]], ...]


def _tested(metric: str) -> _Quantities:
    """Which checkpoint was tested, and how the run went on."""
    last = f"Last held-out {metric}"
    return (
        ("Step tested", _step_tested, partial(number, digits=0)),
        (last, partial(_last_held_out, metric=metric), number),
    )


def _step_tested(run: Run) -> float | None:
    return None if run.evaluation.step is None else float(run.evaluation.step)


def _last_held_out(run: Run, metric: str) -> float | None:
    key = next((key for key in run.curves if figure_group(key) == HELD_OUT and key.endswith(f"/{metric}")), None)
    return None if key is None else _logged(run, key)


_QUANTITIES: _Quantities = (
    ("Distinct-1", partial(_statistic, key="distinct_1"), partial(number, digits=4)),
    ("Distinct-2", partial(_statistic, key="distinct_2"), partial(number, digits=4)),
    ("Vocabulary", partial(_statistic, key="vocabulary"), partial(number, digits=0)),
    ("Words", partial(_statistic, key="length"), partial(number, digits=2)),
    ("KL", partial(_logged, key="policy/kl"), significant),
    ("Gradient variance, first", partial(_logged, key="gradient/variance", first=True), significant),
    ("Gradient variance, last", partial(_last_of_several, key="gradient/variance"), significant),
    ("Minutes", _minutes, significant),
    ("Captions decoded", partial(_logged, key="captions"), partial(number, digits=0)),
)
