"""Correlations as dots: a row for each method, its mean over seeds and the range of its seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlcap.reporting.drawing.canvas import render
from rlcap.reporting.drawing.svg import MUTED, Figure, Mark
from rlcap.reporting.tables import number

_WIDTH, _ROW, _REST = 360, 22, 48


def draw_dots(slug: str, title: str, marks: Sequence[Mark], values: Mapping[int, Sequence[float]]) -> Figure:
    """A dot at each method's mean between -1 and 1, and a line from its lowest to its highest seed.

    Args:
        slug: the figure's file name.
        title: what is correlated.
        marks: of all methods in order; rows are numbered by their places.
        values: of the seeds of each method that has any, by its place.
    """

    def draw(axes: Any) -> None:
        axes.axvline(0, color=MUTED, linewidth=1)
        for height, (place, seeds) in enumerate(values.items()):
            colour = marks[place].colour
            axes.plot([min(seeds), max(seeds)], [height, height], color=colour, linewidth=2.2, solid_capstyle="butt")
            axes.plot([float(np.mean(seeds))], [height], "o", color=colour, markersize=6.5, zorder=3)
        axes.set_yticks(range(len(values)), [str(place + 1) for place in values])
        axes.set_ylim(len(values) - 0.5, -0.5)
        axes.set_xlim(-1.06, 1.06)
        axes.set_xticks([-1, -0.5, 0, 0.5, 1])
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)

    described = "; ".join(
        f"{marks[place].label} {number(float(np.mean(seeds)), 2)}"
        + (f" ({number(min(seeds), 2)} to {number(max(seeds), 2)})" if len(seeds) > 1 else "")
        for place, seeds in values.items()
    )
    height = _REST + _ROW * len(values)
    legend = tuple(marks[place].numbered(place) for place in values)
    return Figure(
        slug, title, "Reward hacking", render(draw, _WIDTH, height), _WIDTH, height, legend, f"{title}: {described}",
        draw,
    )  # fmt: skip
