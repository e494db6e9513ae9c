"""Everything that was logged while training: a line for each method, against steps, captions and wall time."""

from collections.abc import Mapping, Sequence

from rlcap.reporting.drawing.bands import FRAMED_FROM, MOST_RAW, MOST_SMALL_BANDS, Line, draw_lines, lines_of
from rlcap.reporting.drawing.canvas import slug_of
from rlcap.reporting.drawing.curves import (
    AXES,
    GROUPS,
    HELD_OUT,
    MOST_POINTS,
    SMOOTHED_FROM,
    SMOOTHED_OVER,
    Axis,
    curve_keys,
    figure_group,
    main_keys,
)
from rlcap.reporting.drawing.svg import Figure
from rlcap.reporting.material import Material
from rlcap.reporting.page.blocks import Block, Bullets, Figures, Folded, Heading, Rows, Switch
from rlcap.reporting.sections.section import Section
from rlcap.reporting.sections.training_table import training_table

MOST_FIGURES = 60
_MAIN = "Main quantities"
# Other headings are folded away, which makes the page half as long.
_OPEN = (_MAIN, HELD_OUT, "Rewards")
# Of more methods than this the legend stands beside the first heading alone.
_MOST_REPEATED = 4


def section(material: Material) -> Section | None:
    """The curves of the methods that others did not start from; None where none logged anything."""
    runs = [run for place, method in enumerate(material.methods) if place not in material.starts for run in method.runs]
    keys = curve_keys(runs)
    main = main_keys(keys, material.options.metric)
    drawn = [*main, *(key for key in keys if key not in main)][:MOST_FIGURES]
    lines = {key: lines_of(key, material.methods, material.marks, material.starts) for key in drawn}
    choices = [(axis.title, blocks) for axis in AXES if (blocks := _against(axis, lines, main, material))]
    if not choices:
        return None
    notes = _notes(material, lines, len(keys) - len(drawn))
    table = training_table(material)
    told = () if table is None else (Heading(table.title), Rows(table))
    return Section(
        "curves", "Training curves", (Switch("Against", "axis", tuple(choices)), Bullets(notes, notes=True), *told)
    )


def _against(
    axis: Axis, lines: Mapping[str, Sequence[Line]], main: Sequence[str], material: Material
) -> tuple[Block, ...]:
    """All quantities against one axis, the main ones first and large; empty where no method lies on it."""
    marks = material.marks
    groups: dict[str, list[Figure]] = {}
    for place, (key, of_key) in enumerate(lines.items()):
        kind = "main" if key in main else "curve"
        figure = draw_lines(f"{kind}-{place:02d}-{slug_of(key)}", key, of_key, axis, key in main, material.drawings)
        if figure is not None:
            groups.setdefault(_MAIN if key in main else figure_group(key), []).append(figure)
    blocks: list[Block] = []
    for title in sorted(groups, key=(_MAIN, *GROUPS).index):
        figures = Figures(tuple(groups[title]), "large" if title == _MAIN else "small")
        told = len(marks) > 1 and (not blocks or len(marks) <= _MOST_REPEATED)
        if title in _OPEN:
            blocks += [Heading(title, marks if told else ()), figures]
        else:
            blocks.append(Folded(f"{title} ({len(figures.drawn)})", (figures,)))
    return tuple(blocks)


def _notes(material: Material, lines: Mapping[str, Sequence[Line]], hidden: int) -> tuple[str, ...]:
    """What the lines are and what was done to them before they were drawn, one sentence or two each."""
    methods = [method for place, method in enumerate(material.methods) if place not in material.starts]
    drawn = [line for of_key in lines.values() for line in of_key]
    logged = [
        (key, len(run.curves[key].steps))
        for key in lines
        for method in methods
        for run in method.runs
        if key in run.curves
    ]
    notes = [
        f"{material.methods[place].name} is where others start and has no line." for place in sorted(material.starts)
    ]
    if any(len(line.runs) > 1 for line in drawn):
        notes.append(
            "Line: mean over the seeds of a method. Band: from its lowest to its highest seed. Drawn are the steps "
            "that all its seeds logged; captions and minutes at a step are the mean over its seeds."
        )
    if any(len(of_key) > MOST_SMALL_BANDS and any(len(line.runs) > 1 for line in of_key) for of_key in lines.values()):
        notes.append(f"Small figures of more than {MOST_SMALL_BANDS} methods show no bands.")
    if any(points > SMOOTHED_FROM and figure_group(key) != HELD_OUT for key, points in logged):
        raw = "; the thin line is as logged" if any(line.raw is not None for line in drawn) else ""
        notes.append(
            f"Training curves of more than {SMOOTHED_FROM} points are centred moving averages over "
            f"{SMOOTHED_OVER:.0%} of the points{raw}."
        )
        if any(len(method.runs) == 1 for method in methods) and len(methods) > MOST_RAW:
            notes.append(f"What single runs logged is not drawn beside the lines of more than {MOST_RAW} methods.")
    if any(points > MOST_POINTS for _, points in logged):
        raw = (
            f"; thin lines are the lowest and highest of each of {MOST_POINTS // 2} stretches"
            if any(line.raw is not None for line in drawn)
            else ""
        )
        notes.append(f"Of lines of more than {MOST_POINTS} points so many are drawn, evenly spread{raw}.")
    if len(methods) >= FRAMED_FROM:
        notes.append("The line of a method that runs far away from most others leaves the frame.")
    notes += [
        f"Not drawn against {axis.title}: {', '.join(names)} (none, or not logged)."
        for axis in AXES[1:]
        if 0 < len(names := _without(material, lines, axis)) < len(methods)
    ]
    if hidden:
        notes.append(f"{hidden} further quantities are not drawn.")
    return tuple(notes)


def _without(material: Material, lines: Mapping[str, Sequence[Line]], axis: Axis) -> list[str]:
    """The methods with lines of which none lies on an axis."""
    found: dict[str, bool] = {}
    for line in (line for of_key in lines.values() for line in of_key):
        name = material.methods[line.place].name
        found[name] = found.get(name, False) or axis.of_seeds(line.runs, line.band.steps) is not None
    return [name for name, lies in found.items() if not lies]
