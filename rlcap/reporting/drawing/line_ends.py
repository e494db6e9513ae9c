"""Numbers of methods at the ends of their lines, moved apart where lines end together."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rlcap.reporting.drawing.svg import Mark

# Height of an end's number over that of the axes.
_LABEL = 0.052
# Lines whose ends are further apart than this, over the width of the axes, have their numbers in columns of their own.
_WIDTH_OF_NUMBER = 0.04


def number_the_ends(
    axes: Any, ends: Sequence[tuple[int, Mark, tuple[float, float]]], gap: float = _LABEL, above: bool = False
) -> None:
    """The number of each method beside, or above, the end of its line, moved apart where lines end together."""
    axes.autoscale_view()  # the limits are those of what is drawn only from here on
    to_axes = axes.transScale + axes.transLimits
    points = [to_axes.transform(end) for _, _, end in ends]
    heights: dict[int, float] = {}
    for group in _together([float(point[0]) for point in points]):
        heights |= dict(zip(group, spread_out([float(points[row][1]) for row in group], gap), strict=True))
    for row, (place, mark, _) in enumerate(ends):
        axes.annotate(
            f"{place + 1}", (points[row][0], heights[row]), xycoords="axes fraction",
            xytext=(0, 9) if above else (6, 0), textcoords="offset points",
            ha="center" if above else "left", va="center", color=mark.colour, fontsize=10, annotation_clip=False,
        )  # fmt: skip


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


def _together(places: Sequence[float]) -> list[list[int]]:
    """Which places lie in one column: each within a number's width of the next."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    starts = [n for n in range(1, len(order)) if places[order[n]] - places[order[n - 1]] > _WIDTH_OF_NUMBER]
    return [order[start:stop] for start, stop in pairwise([0, *starts, len(order)])]
