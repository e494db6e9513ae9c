"""Curves of methods: the mean over seeds, and a band from the lowest to the highest seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from rlcap.reporting.drawing.canvas import render, slug_of
from rlcap.reporting.drawing.svg import Figure, Mark, method_mark
from rlcap.reporting.figures import (
    HELD_OUT,
    MOST_FIGURES,
    MOST_POINTS,
    SMOOTHED_FROM,
    SMOOTHED_OVER,
    curve_keys,
    figure_group,
    moving_average,
    smoothing_window,
)
from rlcap.reporting.methods import Method
from rlcap.reporting.reading.runs import Series

GROUP = "Methods over seeds"
_MAIN = ("policy/kl", "policy/entropy", "gradient/variance")
# Variances that differ by more than this factor are drawn on a logarithmic scale.
_VARIANCES, _LOGARITHMIC_FROM = ("gradient/variance",), 30
# With fewer methods than this none can be said to run away from the others.
_FRAMED_FROM = 4
# Height of an end's number over that of the axes.
_LABEL = 0.052
# Lines whose ends are further apart than this, over the width of the axes, have their numbers in columns of their own.
_WIDTH_OF_NUMBER = 0.04
_LARGE, _SMALL = (460, 240), (360, 180)


@dataclass(frozen=True)
class Band:
    """A quantity over the seeds of a method, at the steps that all of them logged."""

    steps: Float[np.ndarray, " points"]
    mean: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]


def band_of(seeds: Sequence[Series], most: int = MOST_POINTS) -> Band | None:
    """Mean, lowest and highest at the steps that all seeds have, evenly thinned; None where they share no step."""
    steps = seeds[0].steps
    for series in seeds[1:]:
        steps = np.intersect1d(steps, series.steps)
    if not len(steps):
        return None
    if len(steps) > most:
        steps = steps[np.linspace(0, len(steps) - 1, most).astype(int)]
    values = np.stack([series.values[np.searchsorted(series.steps, steps)] for series in seeds])
    return Band(steps, values.mean(axis=0), values.min(axis=0), values.max(axis=0))  # over seeds


def frame_of(bands: Sequence[Band]) -> tuple[float, float]:
    """The heights between which most methods stay: one that runs away leaves the frame instead of flattening the rest.

    Both fences lie 1.5 times the spread of most methods beyond it, as in Tukey's box plot, or where the lines end.
    """
    lows = np.array([band.mean.min() for band in bands])
    highs = np.array([band.mean.max() for band in bands])
    low, high = float(np.quantile(lows, 0.25)), float(np.quantile(highs, 0.75))
    beyond = 1.5 * (high - low)
    if len(bands) < _FRAMED_FROM or beyond <= 0:
        return float(lows.min()), float(highs.max())
    return max(float(lows.min()), low - beyond), min(float(highs.max()), high + beyond)


def main_keys(methods: Sequence[Method], metric: str) -> list[str]:
    """The quantities by which methods are compared: the held-out metric first."""
    keys = curve_keys([run for method in methods for run in method.runs])
    held_out = [key for key in keys if figure_group(key) == HELD_OUT and key.endswith(f"/{metric}")]
    return held_out + [key for key in _MAIN if key in keys]


def draw_main(methods: Sequence[Method], metric: str) -> tuple[Figure, ...]:
    """Large figures of the quantities by which methods are compared, every line numbered at its end."""
    figures = (_draw(key, f"method-{slug_of(key)}", methods, large=True) for key in main_keys(methods, metric))
    return tuple(figure for figure in figures if figure is not None)


def draw_others(methods: Sequence[Method], metric: str) -> tuple[Figure, ...]:
    """Small figures of all other quantities, for reports of too many runs to draw each."""
    main = main_keys(methods, metric)
    keys = [key for key in curve_keys([run for method in methods for run in method.runs]) if key not in main]
    figures = (
        _draw(key, f"curve-{number:02d}-{slug_of(key)}", methods, large=False)
        for number, key in enumerate(keys[:MOST_FIGURES], start=1)
    )
    return tuple(figure for figure in figures if figure is not None)


def band_notes(methods: Sequence[Method], bands: bool) -> tuple[str, ...]:
    """What the lines are, one sentence each."""
    notes = [f"{name} is where others start and has no line." for name in sorted(_starts(methods))]
    if any(len(method.runs) > 1 for method in methods):
        band = " Band: from its lowest to its highest seed." if bands else ""
        notes.append(f"Line: mean over the seeds of a method.{band} Drawn are the steps that all its seeds logged.")
    smoothed = f"centred moving averages over {SMOOTHED_OVER:.0%} of the points"
    if len(methods) - len(_starts(methods)) >= _FRAMED_FROM:
        notes.append("The line of a method that runs far away from most others leaves the frame.")
    return (*notes, f"Training curves of more than {SMOOTHED_FROM} points are {smoothed}.")


def _starts(methods: Sequence[Method]) -> set[str]:
    """The methods whose policies others go on from: their curves are of an earlier training, on another scale."""
    directories = [method.runs[0].setting("policy", "init_args", "directory") for method in methods]
    folders = {part for directory in directories for part in Path(directory).parts}
    return {method.name for method in methods if any(Path(run.name).name in folders for run in method.runs)}


def spread_out(places: Sequence[float], gap: float) -> list[float]:
    """The places moved as little as needed for neighbours to be a gap apart, within 0 to 1 where they all fit.

    Places closer than that form a block, which stands where its members' mean was.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    blocks: list[list[int]] = []

    def start(block: list[int]) -> float:
        extent = gap * (len(block) - 1)
        middle = sum(places[index] for index in block) / len(block)
        return max(0.0, min(middle - extent / 2, 1.0 - extent))

    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and start(blocks[-1]) < start(blocks[-2]) + gap * len(blocks[-2]) - 1e-12:
            last = blocks.pop()
            blocks[-1] += last
    moved = [0.0] * len(places)
    for block in blocks:
        for number, index in enumerate(block):
            moved[index] = start(block) + gap * number
    return moved


def _draw(key: str, slug: str, methods: Sequence[Method], large: bool) -> Figure | None:
    drawn: list[tuple[str, Mark, Band]] = []
    starts = _starts(methods)
    for place, method in enumerate(methods):
        if method.name in starts:
            continue
        seeds = [_smoothed(key, run.curves[key]) for run in method.runs if key in run.curves]
        band = band_of(seeds) if seeds else None
        if band is not None:
            drawn.append((str(place + 1), method_mark(place, method.name), band))
    if not drawn:
        return None
    bands = [band for _, _, band in drawn]
    low, high = frame_of(bands)
    logarithmic = key in _VARIANCES and _spans_decades(bands)

    away = [] if logarithmic else [n for n, _, band in drawn if band.mean.min() < low or band.mean.max() > high]

    def draw(axes: Any) -> None:
        if logarithmic:
            _make_logarithmic(axes)
        for _, mark, band in drawn:
            if large and (band.high > band.low).any():
                axes.fill_between(band.steps, band.low, band.high, color=mark.colour, alpha=0.14, linewidth=0)
            few = {"marker": "o", "markersize": 3.5} if len(band.steps) <= 30 else {}
            style = (0, mark.dash) if mark.dash else "-"
            axes.plot(band.steps, band.mean, color=mark.colour, linestyle=style, linewidth=1.8, **few)
        axes.margins(x=0.02, y=0.08)
        if away:
            axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
        if large:
            number_the_ends(axes, drawn)

    ends = "; ".join(
        f"{mark.label} from {band.mean[0]:.4g} at step {band.steps[0]:g} to {band.mean[-1]:.4g} at step "
        f"{band.steps[-1]:g}"
        for _, mark, band in drawn
    )
    several = any(len(method.runs) > 1 for method in methods)
    what = f" (mean{' and range' if large else ''} over seeds)" if several else ""
    scale = ", logarithmic" if logarithmic else ""
    outside = f"; {', '.join(away)} leave{'s' if len(away) == 1 else ''} the frame" if away else ""
    title = f"{key}{what}{scale}{outside}" if large else key
    width, height = _LARGE if large else _SMALL
    return Figure(
        slug, title, GROUP if large else figure_group(key), render(draw, width, height), width, height,
        tuple(Mark(f"{number} {mark.label}", mark.colour, mark.dash) for number, mark, _ in drawn),
        f"{key} by step{what}: {ends}",
    )  # fmt: skip


def _smoothed(key: str, series: Series) -> Series:
    window = 1 if figure_group(key) == HELD_OUT else smoothing_window(len(series.steps))
    return Series(series.steps, moving_average(series.values, window)) if window > 1 else series


def _spans_decades(bands: Sequence[Band]) -> bool:
    """Whether the bands reach over decades and none of them down to zero."""
    lows, highs = [float(band.low.min()) for band in bands], [float(band.mean.max()) for band in bands]
    return min(lows) > 0 and max(highs) > _LOGARITHMIC_FROM * min(lows)


def _make_logarithmic(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    formatter = axes.yaxis.get_major_formatter()
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, numticks=6))
    axes.yaxis.set_major_formatter(formatter)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", length=0)


def number_the_ends(
    axes: Any, drawn: Sequence[tuple[str, Mark, Band]], gap: float = _LABEL, above: bool = False
) -> None:
    """The number of each method beside, or above, the end of its line, moved apart where lines end together."""
    axes.autoscale_view()  # the limits are those of what is drawn only from here on
    to_axes = axes.transScale + axes.transLimits
    ends = [to_axes.transform((band.steps[-1], band.mean[-1])) for _, _, band in drawn]
    heights: dict[int, float] = {}
    for group in _together([float(end[0]) for end in ends]):
        heights |= dict(zip(group, spread_out([float(ends[place][1]) for place in group], gap), strict=True))
    for place, (number, mark, _) in enumerate(drawn):
        axes.annotate(
            number, (ends[place][0], heights[place]), xycoords="axes fraction", xytext=(0, 9) if above else (6, 0),
            textcoords="offset points", ha="center" if above else "left", va="center", color=mark.colour, fontsize=10,
            annotation_clip=False,
        )  # fmt: skip


def _together(places: Sequence[float]) -> list[list[int]]:
    """Which places lie in one column: each within a number's width of the next."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    starts = [n for n in range(1, len(order)) if places[order[n]] - places[order[n - 1]] > _WIDTH_OF_NUMBER]
    return [order[start:stop] for start, stop in pairwise([0, *starts, len(order)])]
