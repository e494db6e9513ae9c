"""Numbers of groups with their intervals: for each group a dot and a line for each method, one under the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlcap.reporting.drawing.svg import INK, MUTED, RULE, Figure, Mark
from rlcap.reporting.drawing.words import fit, limits, safe, ticked, ticks
from rlcap.reporting.tables import number

_WIDTH, _NAMES, _RIGHT = 440, 138, 14
_DOT = 3.5
_ROW, _BETWEEN, _FOOT, _LEAST = 13, 14, 26, 32


@dataclass(frozen=True)
class Point:
    """A method's number in a group.

    Attributes:
        place: of the method.
        value: the number.
        low: lower end of its interval; None where there is none.
        high: upper end.
        holds: whether it stands out; otherwise the dot is hollow.
    """

    place: int
    value: float
    low: float | None
    high: float | None
    holds: bool = True


def draw_intervals(
    slug: str,
    title: str,
    groups: Sequence[tuple[str, str, Sequence[Point]]],
    marks: Sequence[Mark],
    places: Sequence[int],
    zero: bool = False,
) -> Figure:
    """The points of each group, of which there are a name and a line below it, such as how many images it has.

    Args:
        slug: the figure's file name.
        title: what the numbers are.
        groups: in order, from the top.
        marks: of all methods.
        places: of the methods that have a line in each group, in order; numbered where there are several.
        zero: whether 0 has a line, as it does for differences.
    """
    points = [point for _, _, of_group in groups for point in of_group]
    ends = [end for point in points for end in (point.value, point.low, point.high) if end is not None]
    low, high = limits([*ends, *([0.0] if zero else [])])
    numbered = len(places) > 1
    left = _NAMES + (16 if numbered else 0)
    scale = (_WIDTH - _RIGHT - left) / (high - low)

    def across(value: float) -> str:
        return f"{left + (value - low) * scale:.1f}"

    drawn: list[str] = []
    y, height = 4.0, max(_LEAST, _ROW * len(places))
    for name, detail, of_group in groups:
        drawn.append(f'<path d="M 0 {y - 4:.1f} H {_WIDTH}" stroke="{RULE}" stroke-width="0.7"/>')
        drawn.append(
            f'<text x="0" y="{y + 11:.1f}" font-size="12" fill="{INK}">{safe(fit(name, _NAMES - 6, 12), 60)}'
            f"<title>{safe(name, 60)}</title></text>"
            f'<text x="0" y="{y + 26:.1f}" font-size="11" fill="{MUTED}">{safe(detail, 40)}</text>'
        )
        first = y + (height - _ROW * (len(places) - 1)) / 2
        for point in of_group:
            row = first + _ROW * places.index(point.place)
            drawn.append(_point(point, marks[point.place], across, row, left if numbered else None))
        y += height + _BETWEEN
    bottom = y - _BETWEEN + 4
    return Figure(
        slug, title, "Breakdowns",
        "\n".join([*_grid(low, high, across, bottom, zero), *drawn]),
        _WIDTH, round(bottom + _FOOT),
        tuple(marks[place].numbered(place) for place in sorted({point.place for point in points})),
        f"{title}: " + "; ".join(
            f"{name}: " + ", ".join(f"{marks[p.place].label} {number(p.value, sign=zero)}" for p in of_group)
            for name, _, of_group in groups
        ),
    )  # fmt: skip


def _grid(low: float, high: float, across: Callable[[float], str], bottom: float, zero: bool) -> list[str]:
    lines = []
    for tick in ticks(low, high):
        at_zero = zero and tick == 0
        lines.append(
            f'<path d="M {across(tick)} 0 V {bottom:.1f}" stroke="{MUTED if at_zero else RULE}" '
            f'stroke-width="{1 if at_zero else 0.7}"/>'
            f'<text x="{across(tick)}" y="{bottom + 17:.1f}" font-size="11" text-anchor="middle" '
            f'fill="{MUTED}">{ticked(tick)}</text>'
        )
    return lines


def _point(point: Point, mark: Mark, across: Callable[[float], str], y: float, left: int | None) -> str:
    """A line with a dot, hollow where it does not stand out, and the method's number before it."""
    drawn = ""
    if left is not None:
        drawn += (
            f'<text x="{left - 8:.1f}" y="{y + 3.5:.1f}" font-size="10" text-anchor="end" fill="{mark.colour}">'
            f"{point.place + 1}</text>"
        )
    middle = float(across(point.value))
    if point.low is not None and point.high is not None:
        low, high = float(across(point.low)), float(across(point.high))
        # A hollow dot has the colour behind it, which differs from theme to theme: the line stops before it.
        halves = (
            f"M {low:.1f} {y:.1f} H {max(low, middle - _DOT):.1f} M {min(high, middle + _DOT):.1f} {y:.1f} H {high:.1f}"
        )
        drawn += f'<path d="{halves}" stroke="{mark.colour}" stroke-width="1.8"/>'
    inside = mark.colour if point.holds else "none"
    return drawn + (
        f'<circle cx="{middle:.1f}" cy="{y:.1f}" r="{_DOT}" fill="{inside}" stroke="{mark.colour}" stroke-width="1.5"/>'
    )
