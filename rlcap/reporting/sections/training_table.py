"""How the training of each method went: which checkpoint was tested, what became of the run, how far it moved."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from rlcap.reporting.comparable import better_of
from rlcap.reporting.drawing.curves import HELD_OUT, figure_group, name_in_group
from rlcap.reporting.material import Material
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.tables import Cell, Table, number, significant


def training_table(material: Material) -> Table | None:
    """Methods by what was logged while training, means over seeds; None where nothing was."""
    metric = material.options.metric
    columns: tuple[tuple[str, Callable[[Run], float | None], Callable[[float], str]], ...] = (
        ("Step tested", _step_tested, partial(number, digits=0)),
        (f"Best held-out {metric}", partial(_held_out, metric=metric, best=True), number),
        (f"Last held-out {metric}", partial(_held_out, metric=metric, best=False), number),
        ("Reward, first", partial(_logged, key="reward/sampled", place=0), number),
        ("Reward, last", partial(_logged, key="reward/sampled", place=-1), number),
        ("KL", partial(_logged, key="policy/kl", place=-1), significant),
        ("Entropy", partial(_logged, key="policy/entropy", place=-1), significant),
        ("Gradient variance, first", partial(_logged, key="gradient/variance", place=0), significant),
        ("Gradient variance, last", partial(_logged, key="gradient/variance", place=-1), significant),
    )
    of_methods = [
        (title, text, [_values(method.runs, value) for method in material.methods]) for title, value, text in columns
    ]
    shown = [column for column in of_methods if any(column[2])]
    if not any(run.curves for run in material.runs):
        return None
    rows = [
        (Cell(method.name), *(_cell(values[place], text) for _, text, values in shown))
        for place, method in enumerate(material.methods)
    ]
    notes = (
        "Means over seeds; below, the lowest and the highest seed. Scores elsewhere are of the step tested: of a test "
        "split the checkpoint that was best on the held-out split by evaluation.best, CIDEr-D unless it is set. The "
        "last held-out score tells what became of the run later.",
        "KL is in nats per caption from where the run started, as last measured. Gradient variances can be compared "
        "where methods estimate the same gradient.",
    )
    return Table("How training went", ("Method", *(title for title, _, _ in shown)), tuple(rows), notes)


def _values(runs: Sequence[Run], value: Callable[[Run], float | None]) -> list[float]:
    return [found for run in runs if (found := value(run)) is not None]


def _cell(values: Sequence[float], text: Callable[[float], str]) -> Cell:
    if not values:
        return Cell()
    mean = float((np.array(values) / len(values)).sum())  # which no large numbers overflow
    low, high = text(min(values)), text(max(values))
    return Cell(text(mean), f"{low} to {high}" if low != high else "", sort=mean)


def _step_tested(run: Run) -> float | None:
    return None if run.evaluation.step is None else float(run.evaluation.step)


def _logged(run: Run, key: str, place: int) -> float | None:
    series = run.curves.get(key)
    return None if series is None or not len(series.values) else float(series.values[place])


def _held_out(run: Run, metric: str, best: bool) -> float | None:
    key = next((key for key in run.curves if figure_group(key) == HELD_OUT and name_in_group(key) == metric), None)
    if key is None:
        return None
    sign = better_of(metric, [run]) or 1
    return sign * float((sign * run.curves[key].values).max()) if best else _logged(run, key, -1)
