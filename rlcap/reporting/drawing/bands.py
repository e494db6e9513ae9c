"""Figures of methods: a line for the mean over seeds, and a band from the lowest to the highest seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from rlcap.reporting.drawing.canvas import render
from rlcap.reporting.drawing.curves import STEPS, Axis, Band, band_of, figure_group, smoothed, thin
from rlcap.reporting.drawing.kept import Drawings
from rlcap.reporting.drawing.svg import MUTED, Figure, Mark
from rlcap.reporting.methods import Method
from rlcap.reporting.reading.runs import Run, Series

# Of more methods than this, what was logged of single runs would hide the lines; in small figures bands would.
MOST_RAW, MOST_SMALL_BANDS = 4, 6
# With fewer methods than this none can be said to run away from the others.
FRAMED_FROM = 4
# Variances that differ by more than this factor are drawn on a logarithmic scale.
_VARIANCES, _LOGARITHMIC_FROM = ("gradient/variance", "gradient/mean_square"), 30
# Height of an end's number over that of the axes.
_LABEL = 0.052
# Lines whose ends are further apart than this, over the width of the axes, have their numbers in columns of their own.
_WIDTH_OF_NUMBER = 0.04
_LARGE, _SMALL = (460, 240), (360, 180)
_NOTHING_KEPT = Drawings()


@dataclass(frozen=True)
class Line:
    """A quantity of a method, ready to be drawn against any axis.

    Attributes:
        number: of the method, as in the legend.
        mark: how it is drawn.
        runs: its seeds.
        band: what is drawn of them.
        raw: what the one run of a method logged, where that was smoothed.
    """

    number: str
    mark: Mark
    runs: tuple[Run, ...]
    band: Band
    raw: Series | None = None


@dataclass(frozen=True)
class Placed:
    """A line on an axis."""

    line: Line
    x: Float[np.ndarray, " points"]
    raw_x: Float[np.ndarray, " _raw"] | None = None

    @property
    def parts(self) -> tuple[object, ...]:
        """All that its drawing depends on."""
        band, mark, raw = self.line.band, self.line.mark, self.line.raw
        logged = None if raw is None else raw.values
        return self.line.number, mark.colour, mark.dash, self.x, band.mean, band.low, band.high, self.raw_x, logged

    @property
    def end(self) -> tuple[float, float]:
        """Where the line ends."""
        return float(self.x[-1]), float(self.line.band.mean[-1])


def lines_of(
    key: str, methods: Sequence[Method], marks: Sequence[Mark], without: frozenset[int] = frozenset()
) -> tuple[Line, ...]:
    """A line for each method that logged the quantity, those without one left out."""
    chosen = []
    for place, (method, mark) in enumerate(zip(methods, marks, strict=True)):
        runs = tuple(run for run in method.runs if key in run.curves)
        if runs and place not in without:
            chosen.append((str(place + 1), mark, runs))
    several = len(chosen) > MOST_RAW
    lines = []
    for number, mark, runs in chosen:
        logged = [run.curves[key] for run in runs]
        seeds = [smoothed(key, series) for series in logged]
        band = band_of(seeds)
        if band is not None:
            raw = thin(logged[0]) if len(runs) == 1 and seeds[0] is not logged[0] and not several else None
            lines.append(Line(number, mark, runs, band, raw))
    return tuple(lines)


def draw_lines(
    slug: str, key: str, lines: Sequence[Line], axis: Axis = STEPS, large: bool = False, kept: Drawings = _NOTHING_KEPT
) -> Figure | None:
    """The quantity against an axis, large with every line numbered at its end; None where no line lies on the axis.

    Args:
        slug: the figure's file name; that of the axis is added.
        key: the quantity.
        lines: of the methods.
        axis: what they are drawn against.
        large: whether it is one of those by which methods are compared.
        kept: drawings of earlier reports.
    """
    placed = [found for line in lines if (found := _on(axis, line)) is not None]
    if not placed:
        return None
    bands = [at.line.band for at in placed]
    low, high = frame_of(bands)
    logarithmic = key in _VARIANCES and _spans_decades(bands)
    away = [
        at.line.number
        for at in placed
        if not logarithmic and (at.line.band.mean.min() < low or at.line.band.mean.max() > high)
    ]

    def draw(axes: Any) -> None:
        if logarithmic:
            _make_logarithmic(axes)
        for at in placed:
            _draw_line(axes, at, large or len(placed) <= MOST_SMALL_BANDS)
        axes.margins(x=0.02, y=0.08)
        axes.set_xlabel(axis.unit, color=MUTED, fontsize=9)
        if away:
            axes.set_ylim(low - 0.08 * (high - low), high + 0.08 * (high - low))
        if large:
            number_the_ends(axes, [(at.line.number, at.line.mark, at.end) for at in placed])

    several = any(len(at.line.runs) > 1 for at in placed)
    what = " (mean and range over seeds)" if several else ""
    scale = ", logarithmic" if logarithmic else ""
    outside = f"; {', '.join(away)} leave{'s' if len(away) == 1 else ''} the frame" if away else ""
    ends = "; ".join(
        f"{at.line.mark.label} from {at.line.band.mean[0]:.4g} at {at.x[0]:.6g} to {at.end[1]:.4g} at {at.end[0]:.6g}"
        for at in placed
    )
    width, height = _LARGE if large else _SMALL
    parts = [
        width,
        height,
        large,
        logarithmic,
        away,
        low,
        high,
        axis.unit,
        *(part for at in placed for part in at.parts),
    ]
    slug = "-".join(filter(None, (slug, axis.slug)))
    legend = tuple(
        Mark(f"{at.line.number} {at.line.mark.label}", at.line.mark.colour, at.line.mark.dash) for at in placed
    )
    drawing = kept.drawing(parts, lambda: render(draw, width, height))
    return Figure(
        slug, f"{key}{what}{scale}{outside}" if large else f"{key}{scale}{outside}", figure_group(key),
        drawing, width, height, legend, f"{key} by {axis.unit}{what}: {ends}", draw,
    )  # fmt: skip


def _on(axis: Axis, line: Line) -> Placed | None:
    x = axis.of_seeds(line.runs, line.band.steps)
    if x is None:
        return None
    return Placed(line, x, None if line.raw is None else axis.of_seeds(line.runs, line.raw.steps))


def _draw_line(axes: Any, at: Placed, banded: bool) -> None:
    band, mark = at.line.band, at.line.mark
    if at.raw_x is not None and at.line.raw is not None:
        axes.plot(at.raw_x, at.line.raw.values, color=mark.colour, linewidth=0.8, alpha=0.3)
    if banded and (band.high > band.low).any():
        axes.fill_between(at.x, band.low, band.high, color=mark.colour, alpha=0.14, linewidth=0)
    few = {"marker": "o", "markersize": 3.5} if len(at.x) <= 30 else {}
    axes.plot(at.x, band.mean, color=mark.colour, linestyle=(0, mark.dash) if mark.dash else "-", linewidth=1.8, **few)


def frame_of(bands: Sequence[Band]) -> tuple[float, float]:
    """The heights between which most methods stay: one that runs away leaves the frame instead of flattening the rest.

    Both fences lie 1.5 times the spread of most methods beyond it, as in Tukey's box plot, or where the lines end.
    """
    lows = np.array([band.mean.min() for band in bands])
    highs = np.array([band.mean.max() for band in bands])
    low, high = float(np.quantile(lows, 0.25)), float(np.quantile(highs, 0.75))
    beyond = 1.5 * (high - low)
    if len(bands) < FRAMED_FROM or beyond <= 0:
        return float(lows.min()), float(highs.max())
    return max(float(lows.min()), low - beyond), min(float(highs.max()), high + beyond)


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


def number_the_ends(
    axes: Any, ends: Sequence[tuple[str, Mark, tuple[float, float]]], gap: float = _LABEL, above: bool = False
) -> None:
    """The number of each method beside, or above, the end of its line, moved apart where lines end together."""
    axes.autoscale_view()  # the limits are those of what is drawn only from here on
    to_axes = axes.transScale + axes.transLimits
    points = [to_axes.transform(end) for _, _, end in ends]
    heights: dict[int, float] = {}
    for group in _together([float(point[0]) for point in points]):
        heights |= dict(zip(group, spread_out([float(points[place][1]) for place in group], gap), strict=True))
    for place, (number, mark, _) in enumerate(ends):
        axes.annotate(
            number, (points[place][0], heights[place]), xycoords="axes fraction", xytext=(0, 9) if above else (6, 0),
            textcoords="offset points", ha="center" if above else "left", va="center", color=mark.colour, fontsize=10,
            annotation_clip=False,
        )  # fmt: skip


def _together(places: Sequence[float]) -> list[list[int]]:
    """Which places lie in one column: each within a number's width of the next."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    starts = [n for n in range(1, len(order)) if places[order[n]] - places[order[n - 1]] > _WIDTH_OF_NUMBER]
    return [order[start:stop] for start, stop in pairwise([0, *starts, len(order)])]


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
