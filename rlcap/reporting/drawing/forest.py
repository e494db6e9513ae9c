"""Differences from the baseline with their intervals, a line each: what is better is seen without reading a number."""

from collections.abc import Sequence
from typing import Any

from rlcap.reporting.drawing.canvas import render
from rlcap.reporting.drawing.svg import MUTED, Figure, Mark
from rlcap.reporting.statistics.estimates import Difference
from rlcap.reporting.tables import number

_ROW, _REST = 26, 56


def draw_forest(
    slug: str,
    title: str,
    marks: Sequence[Mark],
    differences: Sequence[Difference | None],
    holds: Sequence[bool],
    width: int = 340,
) -> Figure | None:
    """A dot and an interval for each method that has a difference, filled where it holds; None where none has.

    Args:
        slug: the figure's file name.
        title: what differs, and from what.
        marks: of all methods in order; rows are numbered by their places.
        differences: of each method from the baseline.
        holds: whether each difference holds.
        width: in points.
    """
    rows = [(place, found) for place, found in enumerate(differences) if found is not None]
    if not rows:
        return None

    def draw(axes: Any) -> None:
        axes.axvline(0, color=MUTED, linewidth=1)
        for height, (place, found) in enumerate(rows):
            colour = marks[place].colour
            if found.low is not None and found.high is not None:
                axes.plot([found.low, found.high], [height, height], color=colour, linewidth=2.2, solid_capstyle="butt")
            face = colour if holds[place] else "#ffffff"
            axes.plot([found.value], [height], "o", color=colour, markerfacecolor=face, markersize=6.5, zorder=3)
        axes.set_yticks(range(len(rows)), [str(place + 1) for place, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.margins(x=0.06)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)

    described = "; ".join(
        f"{marks[place].label} {number(found.value, sign=True)}"
        + ("" if found.low is None else f" ({number(found.low, sign=True)} to {number(found.high, sign=True)})")
        + (", holds" if holds[place] else ", does not hold")
        for place, found in rows
    )
    height = _REST + _ROW * len(rows)
    legend = tuple(marks[place].numbered(place) for place, _ in rows)
    return Figure(
        slug, title, "Scores", render(draw, width, height), width, height, legend, f"{title}: {described}", draw
    )
