"""Figures of methods: a line for the mean over seeds, and a band from the lowest to the highest seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from rlcap.reporting.drawing.canvas import render
from rlcap.reporting.drawing.curves import LARGEST, STEPS, Axis, Band, band_of, figure_group, smoothed, thin
from rlcap.reporting.drawing.kept import Drawings
from rlcap.reporting.drawing.line_ends import number_the_ends
from rlcap.reporting.drawing.svg import MUTED, Figure, Mark
from rlcap.reporting.methods import Method
from rlcap.reporting.reading.runs import Run, Series

# Of more methods than this, what was logged of single runs would hide the lines; in small figures bands would.
MOST_RAW, MOST_SMALL_BANDS = 4, 6
# With fewer methods than this none can be said to run away from the others.
FRAMED_FROM = 4
# Variances that differ by more than this factor are drawn on a logarithmic scale.
_VARIANCES, _LOGARITHMIC_FROM = ("gradient/variance", "gradient/mean_square"), 30
_LARGE, _SMALL = (460, 240), (360, 180)
_NOTHING_KEPT = Drawings()


@dataclass(frozen=True)
class Line:
    """A quantity of a method, ready to be drawn against any axis.

    Attributes:
        place: of the method.
        mark: how it is drawn.
        runs: its seeds.
        band: what is drawn of them.
        raw: what the one run of a method logged, where that was smoothed.
    """

    place: int
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
        return self.line.place, mark.colour, mark.dash, self.x, band.mean, band.low, band.high, self.raw_x, logged

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
            chosen.append((place, mark, runs))
    several = len(chosen) > MOST_RAW
    lines = []
    for place, mark, runs in chosen:
        logged = [run.curves[key] for run in runs]
        seeds = [smoothed(key, series) for series in logged]
        band = band_of(seeds)
        if band is not None:
            raw = thin(logged[0]) if len(runs) == 1 and seeds[0] is not logged[0] and not several else None
            lines.append(Line(place, mark, runs, band, raw))
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
        f"{at.line.place + 1}"
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
            number_the_ends(axes, [(at.line.place, at.line.mark, at.end) for at in placed])

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
    legend = tuple(at.line.mark.numbered(at.line.place) for at in placed)
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
    if banded:
        fill(axes, at.x, band.low, band.high, mark)
    plot(axes, at.x, band.mean, mark)


def plot(axes: Any, x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"], mark: Mark) -> None:
    """A method's line, with dots where its points are few."""
    few = {"marker": "o", "markersize": 3.5} if len(x) <= 30 else {}
    axes.plot(x, y, color=mark.colour, linestyle=mark.line_style, linewidth=1.8, **few)


def fill(
    axes: Any,
    x: Float[np.ndarray, " points"],
    low: Float[np.ndarray, " points"],
    high: Float[np.ndarray, " points"],
    mark: Mark,
) -> None:
    """The band from a method's lowest to its highest seed; nothing where they are one."""
    if (high > low).any():
        axes.fill_between(x, low, high, color=mark.colour, alpha=0.14, linewidth=0)


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


def _spans_decades(bands: Sequence[Band]) -> bool:
    """Whether the bands reach over decades and none of them down to zero, or so near that a margin would."""
    lows, highs = [float(band.low.min()) for band in bands], [float(band.mean.max()) for band in bands]
    return min(lows) > 1 / LARGEST and max(highs) > _LOGARITHMIC_FROM * min(lows)


def _make_logarithmic(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    formatter = axes.yaxis.get_major_formatter()
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10, numticks=6))
    axes.yaxis.set_major_formatter(formatter)
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", length=0)
