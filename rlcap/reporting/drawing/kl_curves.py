"""Quantities of runs against the KL divergence that learning has cost, in nats per caption."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from rlcap.reporting.drawing.bands import fill, plot
from rlcap.reporting.drawing.canvas import render
from rlcap.reporting.drawing.curves import HELD_OUT, band_of, bounded, figure_group, moving_average, smoothing_window
from rlcap.reporting.drawing.line_ends import number_the_ends
from rlcap.reporting.drawing.svg import MUTED, Figure, Mark
from rlcap.reporting.reading.runs import Run, Series

KL, REWARD, TRAINING_REWARD = "policy/kl", "reward/sampled", "training reward"
_WIDTH, _HEIGHT = 360, 210
# Height of an end's number over that of the axes.
_LABEL = 0.068


@dataclass(frozen=True)
class Trace:
    """A quantity of one run at its validation steps, the first being 0, and the KL there in nats per caption."""

    steps: Float[np.ndarray, " points"]
    kl: Float[np.ndarray, " points"]
    values: Float[np.ndarray, " points"]


@dataclass(frozen=True)
class Curve:
    """A quantity over the seeds of a method, at the validation steps that all of them have; the KL is their mean."""

    kl: Float[np.ndarray, " points"]
    mean: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]


def at_steps(logged: Series, steps: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """A quantity of the policies that so many steps have made, interpolated linearly between training rows.

    A training step measures before it updates, so the row of step s is of the policy after s - 1 steps. Beyond the
    first and the last row their values hold. Where rows are many, they are averaged first as their curve is.
    """
    return np.asarray(np.interp(steps, logged.steps - 1, _averaged(logged)))


def kl_at(kl: Series, steps: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """The KL of the policies that so many steps have made: 0 after none, then as in :func:`at_steps`."""
    nats = np.maximum(_averaged(kl), 0.0)  # rounding can leave a divergence just below 0
    moved = kl.steps > 1
    places, nats = np.append(0.0, kl.steps[moved] - 1), np.append(0.0, nats[moved])
    return np.asarray(np.interp(steps, places, nats))


def _averaged(logged: Series) -> Float[np.ndarray, " points"]:
    return moving_average(bounded(logged).values, smoothing_window(len(logged.values)))


def traces_of(run: Run) -> dict[str, Trace]:
    """The training reward, then the held-out quantities; none where the run does not measure what it takes.

    It takes a training reward, and held-out quantities measured at step 0 and at two steps of a KL above 0 at least.
    """
    kl, reward = run.curves.get(KL), run.curves.get(REWARD)
    if kl is None or reward is None:
        return {}
    held_out: dict[str, Trace] = {}
    for key, series in run.curves.items():
        if figure_group(key) == HELD_OUT and series.steps[0] == 0:
            trace = Trace(series.steps, kl_at(kl, series.steps), bounded(series).values)
            held_out |= {key: trace} if np.count_nonzero(trace.kl) >= 2 else {}
    if not held_out:
        return {}
    steps = np.unique(np.concatenate([trace.steps for trace in held_out.values()]))
    return {TRAINING_REWARD: Trace(steps, kl_at(kl, steps), at_steps(reward, steps)), **held_out}


def fell(values: Float[np.ndarray, " points"], reward: Float[np.ndarray, " _"]) -> bool:
    """Whether a score has lost more than half of its best gain while the reward ended above its start.

    What lies below its start at the end has lost more than it ever gained.
    """
    best = values.max()
    return bool(best - values[-1] > (best - values[0]) / 2 and reward[-1] > reward[0])


def curve_of(traces: Sequence[Trace]) -> Curve | None:
    """Mean, lowest and highest over seeds, and their mean KL, step by step; None where they share fewer than two."""
    values = band_of([Series(trace.steps, trace.values) for trace in traces])
    kl = band_of([Series(trace.steps, trace.kl) for trace in traces])
    if values is None or kl is None or len(kl.steps) < 2:
        return None
    return Curve(kl.mean, values.mean, values.low, values.high)


def draw_curves(
    slug: str, key: str, group: str, marks: Sequence[Mark], curves: Mapping[int, Curve], furthest: float
) -> Figure:
    """A quantity of each method against the square root of the KL, a thin line at where each started.

    Args:
        slug: the figure's file name.
        key: the quantity.
        group: the heading it stands under.
        marks: of all methods.
        curves: of the methods that have any, by place.
        furthest: how far the axis reaches.
    """
    starts = [float(curve.mean[0]) for curve in curves.values()]

    def draw(axes: Any) -> None:
        for place, curve in curves.items():
            mark, start = marks[place], float(curve.mean[0])
            shared = starts.count(start) > 1 or len(starts) == 1
            axes.axhline(start, color=MUTED if shared else mark.colour, linewidth=0.9, alpha=0.7)
            x = np.sqrt(curve.kl)
            fill(axes, x, curve.low, curve.high, mark)
            plot(axes, x, curve.mean, mark)
        axes.margins(y=0.12)
        axes.set_xlim(-0.02 * furthest, 1.02 * furthest)
        axes.xaxis.get_major_locator().set_params(nbins=6, steps=[1, 2, 5, 10])
        axes.set_xlabel("√KL, KL in nats per caption", color=MUTED, fontsize=10)
        if len(curves) > 1:  # beside its end a line often has another
            ends = [(float(np.sqrt(curve.kl[-1])), float(curve.mean[-1])) for curve in curves.values()]
            placed = [(place, marks[place], end) for place, end in zip(curves, ends, strict=True)]
            number_the_ends(axes, placed, _LABEL, above=True)

    ends = "; ".join(
        f"{marks[place].label} from {curve.mean[0]:.4g} at the start to {curve.mean[-1]:.4g} at a KL of "
        f"{curve.kl[-1]:.4g}"
        for place, curve in curves.items()
    )
    legend = tuple(marks[place].numbered(place) for place in curves)
    return Figure(
        slug, key, group, render(draw, _WIDTH, _HEIGHT), _WIDTH, _HEIGHT, legend,
        f"{key} by the square root of KL: {ends}", draw,
    )  # fmt: skip
