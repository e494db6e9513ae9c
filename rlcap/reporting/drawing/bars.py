"""Where the time of a training step goes: a bar of stacked phases for each method."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlcap.reporting.drawing.canvas import render
from rlcap.reporting.drawing.svg import INK, MUTED, PHASE_COLOURS, Figure, Mark
from rlcap.reporting.reading.runs import Run

OTHER, STEP = "other", "step"
# What is logged within another phase is taken out of it: scoring, encoding and decoding happen while acting.
_WITHIN = {"reward": "rollout", "encode": "rollout", "decode": "rollout"}
_ORDER = ("data", "encode", "decode", "reward", "rollout", "update")
# What is not part of a step.
_BESIDE = ("evaluate",)
_WIDTH, _ROW, _REST = 460, 34, 56


def phase_seconds(run: Run) -> dict[str, float]:
    """Mean seconds per logged step of each phase, and as ``other`` what the phases leave of the step.

    A phase that was logged within another is shown in its place, and the other as what it leaves of it.
    """
    step = run.timings.get(f"time/{STEP}")
    logged = {
        key.removeprefix("time/"): series.values
        for key, series in run.timings.items()
        if key.startswith("time/") and key != f"time/{STEP}" and key.removeprefix("time/") not in _BESIDE
    }
    rows = len(step.values) if step is not None else max(map(len, logged.values()), default=0)
    if not rows:
        return {}
    phases = {phase: float(values.sum()) / rows for phase, values in logged.items()}
    for inner, outer in _WITHIN.items():
        if {inner, outer} <= phases.keys():
            phases[outer] = max(phases[outer] - phases[inner], 0.0)
    rest = 0.0 if step is None else float(step.values.mean()) - sum(phases.values())
    if rest > 0:
        phases[OTHER] = phases.get(OTHER, 0.0) + rest
    return {phase: phases[phase] for phase in sorted(phases, key=_place)}


def _place(phase: str) -> tuple[int, str]:
    order = (*_ORDER, *([phase] if phase not in _ORDER and phase != OTHER else []), OTHER)
    return order.index(phase), phase


def mean_phases(runs: Sequence[Run]) -> dict[str, float]:
    """Mean over seeds of the seconds of each phase; a phase that a seed did not log took it no time of its own."""
    timed = [phases for run in runs if (phases := phase_seconds(run))]
    names = sorted({phase for phases in timed for phase in phases}, key=_place)
    return {name: float(np.mean([phases.get(name, 0.0) for phases in timed])) for name in names}


def phase_marks(names: Sequence[str]) -> tuple[Mark, ...]:
    """How each phase is drawn: the last colour is for what no phase accounts for, the others come round."""
    named = len(PHASE_COLOURS) - 1
    return tuple(
        Mark(name, PHASE_COLOURS[named if name == OTHER else place % named]) for place, name in enumerate(names)
    )


def draw_phases(marks: Sequence[Mark], phases: Mapping[int, Mapping[str, float]]) -> Figure | None:
    """Mean seconds of each phase, stacked, a bar with its number for each method; None where none was timed.

    Args:
        marks: of all methods in order.
        phases: of the methods that were timed, by place.
    """
    if not any(phases.values()):
        return None
    legend = phase_marks(sorted({phase for of_method in phases.values() for phase in of_method}, key=_place))

    def draw(axes: Any) -> None:
        left = np.zeros(len(phases))
        for mark in legend:
            seconds = np.array([of_method.get(mark.label, 0.0) for of_method in phases.values()])
            axes.barh(range(len(phases)), seconds, left=left, height=0.56, color=mark.colour)
            left += seconds
        for place, total in enumerate(left):
            style = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "color": INK, "fontsize": 10}
            axes.annotate(f"{total:.3g} s", (total, place), **style)
        axes.set_yticks(range(len(phases)), [str(place + 1) for place in phases])
        axes.set_xlim(0, max(float(left.max()) * 1.16, 1e-9))
        axes.set_ylim(len(phases) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("seconds per step", color=MUTED, fontsize=10)

    described = "; ".join(
        f"{place + 1} {marks[place].label}: "
        + ", ".join(f"{phase} {seconds:.3g} s" for phase, seconds in found.items())
        for place, found in phases.items()
    )
    height = _REST + _ROW * len(phases)
    return Figure(
        "time-per-phase", "Time per step by phase", "Time", render(draw, _WIDTH, height), _WIDTH, height, legend,
        f"Mean seconds per step. {described}", draw,
    )  # fmt: skip
