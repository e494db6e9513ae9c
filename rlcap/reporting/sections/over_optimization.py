"""Over-optimisation: the training reward and the held-out scores against the divergence that learning has cost.

A learned reward stands for what people want only near the captions it was learned from. The further the policy moves
from where it started, the more of what the reward gains is the reward's error: the reward goes on rising, what it
stands for falls. The x axis is that of Gao, Schulman and Hilton 2022, "Scaling laws for reward model
overoptimization": the square root of the KL divergence from the policy the run started from, here in nats per caption.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rlcap.reporting.comparable import better_of
from rlcap.reporting.drawing.canvas import slug_of
from rlcap.reporting.drawing.curves import SMOOTHED_FROM, SMOOTHED_OVER, is_score, name_in_group
from rlcap.reporting.drawing.kl_curves import (
    REWARD,
    TRAINING_REWARD,
    Curve,
    Trace,
    curve_of,
    draw_curves,
    fell,
    traces_of,
)
from rlcap.reporting.drawing.svg import Figure, Mark
from rlcap.reporting.methods import Method
from rlcap.reporting.page.csv_text import csv_of
from rlcap.reporting.reading.files import as_mapping
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.tables import Cell, Table, number, significant

TITLE = "Over-optimisation"
FLAG = "fell while the reward rose"
# With more held-out quantities than this, those without a place in the order below are not drawn.
_MOST_PANELS = 8
_AFTER_NAMED = ("CIDEr-D", "length", "bad_ending_rate")


@dataclass(frozen=True)
class OverOptimization:
    """What a report says of over-optimisation.

    Attributes:
        findings: which scores of which method fell while the reward rose, one sentence a method.
        figures: a panel for each quantity, the training reward first.
        table: start, best and end of each quantity and method.
        csv: every point of every run, the quantities without a panel too.
        notes: what the panels show.
    """

    findings: tuple[str, ...]
    figures: tuple[Figure, ...]
    table: Table
    csv: str
    notes: tuple[str, ...]


def panel_keys(runs: Sequence[Run], keys: Sequence[str]) -> list[str]:
    """The held-out quantities with a panel: what evaluation.metrics names, CIDEr-D, length, bad endings, the rest.

    Where they are too many for all to have one, the rest has none.
    """
    named = [name for run in runs for name in as_mapping(as_mapping(run.config.get("evaluation")).get("metrics"))]
    order = list(dict.fromkeys([*named, *_AFTER_NAMED]))
    name = name_in_group
    first = sorted((key for key in keys if name(key) in order), key=lambda key: (order.index(name(key)), key))
    rest = sorted(key for key in keys if name(key) not in order)
    return [*first, *rest] if len(keys) <= _MOST_PANELS else first[:_MOST_PANELS]


# By method and run, and by quantity and method: the traces; in how many seeds a score fell, and of how many.
_Traces = Sequence[Sequence[Mapping[str, Trace]]]
_Fallen = Mapping[tuple[str, int], tuple[int, int]]


def over_optimization(methods: Sequence[Method], marks: Sequence[Mark]) -> OverOptimization | None:
    """The panels, the table and the points of the methods, drawn as marked; None where no run measures enough."""
    traces = [[traces_of(run) for run in method.runs] for method in methods]
    keys = sorted({key for of_method in traces for of_run in of_method for key in of_run} - {TRAINING_REWARD})
    drawn = [TRAINING_REWARD, *panel_keys([run for method in methods for run in method.runs], keys)]
    curves: dict[str, dict[int, Curve]] = {}
    for key in drawn:
        found = {place: [run[key] for run in of_method if key in run] for place, of_method in enumerate(traces)}
        lines = {place: curve_of(seeds) for place, seeds in found.items() if seeds}
        if any(lines.values()):
            curves[key] = {place: curve for place, curve in lines.items() if curve is not None}
    if not curves:
        return None
    # Of seeds that share their first steps alone the KL may be 0 throughout.
    furthest = max(float(np.sqrt(curve.kl.max())) for of_key in curves.values() for curve in of_key.values()) or 1.0
    figures = (
        draw_curves(f"over-optimization-{number:02d}-{slug_of(key)}", key, TITLE, marks, of_key, furthest)
        for number, (key, of_key) in enumerate(curves.items())
    )
    runs = [run for method in methods for run in method.runs]
    better = {key: 1 if key == TRAINING_REWARD else better_of(key, runs) for key in curves}
    fallen = {
        (key, place): _fallen([run for run in traces[place] if key in run], key, better[key])
        for key, of_key in curves.items()
        for place in of_key
    }
    return OverOptimization(
        _findings(marks, fallen),
        tuple(figures),
        _table(marks, curves, fallen, better),
        _csv(methods, traces),
        _notes(marks, traces, len(keys) - len(drawn) + 1),
    )


def _fallen(runs: Sequence[Mapping[str, Trace]], key: str, better: int) -> tuple[int, int]:
    """In how many of a method's seeds a score fell while the training reward rose, and of how many."""
    fallen = [fell(better * run[key].values, run[TRAINING_REWARD].values) for run in runs]
    return sum(fallen) if is_score(key) else 0, len(runs)


def _seeds(fallen: int, seeds: int) -> str:
    return f" ({fallen} of {seeds} seeds)" if seeds > 1 else ""


def _findings(marks: Sequence[Mark], fallen: _Fallen) -> tuple[str, ...]:
    by_method: dict[int, list[str]] = {}
    for (key, place), counts in fallen.items():
        if counts[0]:
            by_method.setdefault(place, []).append(f"{key}{_seeds(*counts)}")
    found = tuple(f"{marks[place].label}: {', '.join(by_method[place])} {FLAG}." for place in sorted(by_method))
    return found or (f"No held-out score drawn here {FLAG}; the others are in the table of agreement below.",)


def _table(
    marks: Sequence[Mark], curves: Mapping[str, Mapping[int, Curve]], fallen: _Fallen, better: Mapping[str, int]
) -> Table:
    """The quantities in the order of their panels, the methods within each. What is no score has no best."""
    several = len(marks) > 1
    rows = []
    for key, of_key in curves.items():
        for place, curve in of_key.items():
            best = int((better[key] * curve.mean).argmax())
            cells = [Cell(key), *([Cell(marks[place].label)] if several else []), _value(curve, 0)]
            has_best = is_score(key) or key == TRAINING_REWARD
            cells += [_value(curve, best), _kl(curve, best)] if has_best else [Cell(), Cell()]
            counts = fallen[key, place]
            flag = Cell(FLAG + _seeds(*counts) if counts[0] else "")
            rows.append((*cells, _value(curve, -1), _kl(curve, -1), flag))
    columns = ("Quantity", *(["Method"] if several else []), "Start", "Best", "at KL", "End", "at KL", "Flag")
    return Table(TITLE, columns, tuple(rows))


def _value(curve: Curve, at: int) -> Cell:
    return Cell(number(float(curve.mean[at])))


def _kl(curve: Curve, at: int) -> Cell:
    return Cell(significant(float(curve.kl[at])))


def _csv(methods: Sequence[Method], traces: _Traces) -> str:
    """Every point with every digit, one a line."""
    return csv_of(
        ["method", "run", "quantity", "step", "kl", "value"],
        (
            [method.name, run.name, key, int(step), float(kl), float(value)]
            for method, of_method in zip(methods, traces, strict=True)
            for run, of_run in zip(method.runs, of_method, strict=True)
            for key, trace in of_run.items()
            for step, kl, value in zip(trace.steps, trace.kl, trace.values, strict=True)
        ),
    )


def _notes(marks: Sequence[Mark], traces: _Traces, hidden: int) -> tuple[str, ...]:
    """What is drawn and what the flag means, one sentence or two each."""
    shown = [sum(map(bool, of_method)) for of_method in traces]
    without = [mark.label for mark, runs in zip(marks, shown, strict=False) if not runs]
    notes = [
        "Against the square root of the KL divergence from the policy that the run started from, in nats per caption "
        "(Gao et al. 2022): a point for each validation, the first at 0. The thin horizontal line is the starting "
        "value.",
        f"The training reward is {REWARD}. It and the KL are interpolated between training steps; of more than "
        f"{SMOOTHED_FROM} logged values a moving average over {SMOOTHED_OVER:.0%} of them is taken first.",
    ]
    if max(shown) > 1:
        notes.append(
            "Line: mean over the seeds of a method, at their mean KL. Band: from its lowest to its highest seed."
        )
    notes.append(
        f"Flag: a score {FLAG} where it ends below its start, or has lost more than half of its best gain, and the "
        "training reward ends above its start. It is no test of significance."
    )
    if without:
        few = "no training reward, or KL and held-out scores at too few steps"
        notes.append(f"Not drawn: {', '.join(without)} ({few}).")
    if hidden:
        notes.append(f"{hidden} further held-out quantities are in tables/over_optimization.csv alone.")
    return tuple(notes)
