"""Figures of runs, drawn with numbers alone: names and keys from files stand in the page around them."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from rlcap.reporting.drawing.canvas import render, slug_of
from rlcap.reporting.drawing.svg import INK, MUTED, PHASE_COLOURS, Figure, Mark, run_mark
from rlcap.reporting.reading.runs import COUNTERS, Run, Series

# A curve of more points is drawn as the lowest and highest of each of half as many bins.
MOST_POINTS = 1000
# A training curve of more points than this gets a moving average over this fraction of them; held-out scores do not.
SMOOTHED_FROM, SMOOTHED_OVER = 60, 1 / 20
MOST_FIGURES = 60
HELD_OUT = "Held-out scores"
_GROUPS = (
    (HELD_OUT, ("val/", "test/", "validation/")),
    ("Rewards", ("reward/",)),
    ("Captions while training", ("caption/",)),
    ("Policy", ("policy/", "critic/")),
    ("Optimisation", ("loss/", "advantage/", "gradient/", "learning_rate")),
)
_OTHER = "Other quantities"


def figure_group(key: str) -> str:
    """The heading a logged quantity stands under."""
    return next((title for title, prefixes in _GROUPS if key.startswith(prefixes)), _OTHER)


def curve_keys(runs: Sequence[Run]) -> list[str]:
    """The quantities that any run logged, by heading, those of a heading in alphabetical order."""
    order = [title for title, _ in _GROUPS] + [_OTHER]
    keys = {key for run in runs for key in run.curves} - set(COUNTERS)
    return sorted(keys, key=lambda key: (order.index(figure_group(key)), key))


def moving_average(values: Float[np.ndarray, " points"], window: int) -> Float[np.ndarray, " points"]:
    """The mean of each point and its neighbours within half a window on either side, fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    first, end = np.maximum(place - window // 2, 0), np.minimum(place + window // 2 + 1, len(values))
    means = (sums[end] - sums[first]) / (end - first)
    return np.asarray(np.clip(means, values.min(), values.max()))  # rounding must not make a constant wander


def thin(series: Series, most: int = MOST_POINTS) -> Series:
    """The series itself, or the lowest and the highest point of each of ``most // 2`` stretches of it."""
    if len(series.steps) <= most:
        return series
    edges = np.linspace(0, len(series.steps), most // 2 + 1).astype(int)
    kept: set[int] = set()
    for start, stop in pairwise(edges):
        kept |= {int(start + series.values[start:stop].argmin()), int(start + series.values[start:stop].argmax())}
    chosen = np.array(sorted(kept))
    return Series(series.steps[chosen], series.values[chosen])


def smoothing_window(points: int) -> int:
    """How many points the moving average of a curve of so many points spans; 1 is none."""
    return int(points * SMOOTHED_OVER) | 1 if points > SMOOTHED_FROM else 1


def draw_curves(runs: Sequence[Run]) -> tuple[Figure, ...]:
    """One small figure for each logged quantity, every run in it that logged it."""
    return tuple(
        _draw_curve(key, f"curve-{number:02d}-{slug_of(key)}", runs)
        for number, key in enumerate(curve_keys(runs)[:MOST_FIGURES], start=1)
    )


def drawing_notes(runs: Sequence[Run]) -> tuple[str, ...]:
    """What was done to the curves before they were drawn, one sentence each."""
    lengths = [len(run.curves[key].steps) for key in curve_keys(runs) for run in runs if key in run.curves]
    notes = []
    if any(length > SMOOTHED_FROM for length in lengths):
        notes.append(
            f"Training curves of more than {SMOOTHED_FROM} points: the thin line is as logged, the strong line is a "
            f"centred moving average over {SMOOTHED_OVER:.0%} of the points."
        )
    if any(length > MOST_POINTS for length in lengths):
        notes.append(
            f"Curves of more than {MOST_POINTS:,} points are drawn as the lowest and highest of each of "
            f"{MOST_POINTS // 2} stretches."
        )
    if len(curve_keys(runs)) > MOST_FIGURES:
        notes.append(f"{len(curve_keys(runs)) - MOST_FIGURES} further quantities are not drawn.")
    return tuple(notes)


def draw_phases(runs: Sequence[Run]) -> Figure | None:
    """Where a step's time goes: mean seconds of each phase, stacked, one bar a run; None if no run was timed."""
    timed = [(index, run) for index, run in enumerate(runs) if run.timings]
    if not timed:
        return None
    means = [phase_seconds(run) for _, run in timed]
    phases = sorted({phase for of_run in means for phase in of_run}, key=lambda phase: (phase == "other", phase))
    named = len(PHASE_COLOURS) - 1  # the last colour is for what no phase accounts for
    marks = [
        Mark(phase, PHASE_COLOURS[named if phase == "other" else place % named]) for place, phase in enumerate(phases)
    ]

    def draw(axes: Any) -> None:
        left = np.zeros(len(timed))
        for mark in marks:
            seconds = np.array([of_run.get(mark.label, 0.0) for of_run in means])
            axes.barh(range(len(timed)), seconds, left=left, height=0.56, color=mark.colour)
            left += seconds
        for place, total in enumerate(left):
            label = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "color": INK, "fontsize": 10}
            axes.annotate(f"{total:.3g} s", (total, place), **label)
        axes.set_yticks(range(len(timed)), [str(index + 1) for index, _ in timed])
        axes.set_xlim(0, max(float(left.max()) * 1.16, 1e-9))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("seconds per step", color=MUTED, fontsize=10)

    described = "; ".join(
        f"{run.name}: " + ", ".join(f"{phase} {seconds:.3g} s" for phase, seconds in of_run.items())
        for (_, run), of_run in zip(timed, means, strict=True)
    )
    width, height = 380, 50 + 34 * len(timed)
    return Figure(
        "time-per-phase", "Time per step by phase", "Time", render(draw, width, height), width, height, tuple(marks),
        f"Mean seconds per step. {described}",
    )  # fmt: skip


def phase_seconds(run: Run) -> dict[str, float]:
    """Mean seconds per logged step of each phase, and as ``other`` what the phases leave of the step.

    Scoring happens while acting and is logged within it, so time/rollout is shown without time/reward.
    """
    step = run.timings.get("time/step")
    rows = len(step) if step is not None else max((len(values) for values in run.timings.values()), default=0)
    phases = {
        key.removeprefix("time/"): float(values.sum()) / rows
        for key, values in run.timings.items()
        if key != "time/step" and rows
    }
    phases |= (
        {"rollout": max(phases["rollout"] - phases["reward"], 0.0)} if {"rollout", "reward"} <= phases.keys() else {}
    )
    rest = 0.0 if step is None else float(step.mean()) - sum(phases.values())
    if rest > 0:
        phases["other"] = phases.get("other", 0.0) + rest
    return phases


def _draw_curve(key: str, slug: str, runs: Sequence[Run]) -> Figure:
    present = [(run_mark(index, run.name), run.curves[key]) for index, run in enumerate(runs) if key in run.curves]

    def draw(axes: Any) -> None:
        for mark, series in present:
            window = 1 if figure_group(key) == HELD_OUT else smoothing_window(len(series.steps))
            style = {"color": mark.colour, "linestyle": (0, mark.dash) if mark.dash else "-"}
            if window > 1:
                raw = thin(series)
                axes.plot(raw.steps, raw.values, color=mark.colour, linewidth=0.8, alpha=0.3)
                series = Series(series.steps, moving_average(series.values, window))
            shown = thin(series)
            few = {"marker": "o", "markersize": 3.5} if len(shown.steps) <= 30 else {}
            axes.plot(shown.steps, shown.values, linewidth=1.8, **style, **few)
        axes.margins(x=0.02, y=0.08)

    ends = "; ".join(
        f"{mark.label} from {series.values[0]:.4g} at step {series.steps[0]:g} to {series.values[-1]:.4g} at step "
        f"{series.steps[-1]:g}"
        for mark, series in present
    )
    marks = tuple(mark for mark, _ in present)
    return Figure(slug, key, figure_group(key), render(draw, 360, 180), 360, 180, marks, f"{key} by step: {ends}")


def groups(figures: Iterable[Figure]) -> dict[str, list[Figure]]:
    """The figures by heading, in order."""
    grouped: dict[str, list[Figure]] = {}
    for figure in figures:
        grouped.setdefault(figure.group, []).append(figure)
    return grouped
