"""A report as Markdown, for places that show text and pictures but no page."""

import re
from collections.abc import Sequence
from html import escape

from rlcap.reporting.comparison import change, evidence, verdict
from rlcap.reporting.drawing.svg import Figure, Mark, shorten
from rlcap.reporting.figures import groups
from rlcap.reporting.gallery import Example
from rlcap.reporting.report import Report
from rlcap.reporting.tables import Table, number

_LONGEST = 300
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$:@=^])")
# Inside a cell or an item, numbers, hyphens, underscores between letters, and colons and full stops that make no link
# are safe as they are; a table stays readable as text.
_SPECIAL_INSIDE = re.compile(r"((?<!\w)_|_(?!\w)|(?<=\])\(|[\\`*{}\[\]#|~$@=^]|:(?=/|[\w+-]*:)|(?<=[A-Za-z])\.(?=\S))")
_START_OF_LIST = re.compile(r"^(?=[-+])|^(\d+)(?=[.)])")


def plain(text: str, longest: int = 2000) -> str:
    """The text so that Markdown shows it as it is, on one line, in a table or out of it."""
    return _SPECIAL.sub(r"\\\1", escape(shorten(text, longest), quote=False))


def inside(text: str, longest: int = _LONGEST) -> str:
    """The text so that Markdown shows it as it is within a table's cell or a list's item."""
    return _SPECIAL_INSIDE.sub(r"\\\1", escape(shorten(text, longest), quote=False))


def render_markdown(report: Report) -> str:
    """The report as one Markdown document whose pictures lie in ``figures/``."""
    parts = [
        f"# {plain(report.title)}",
        f"Captions of the {plain(report.split)} split\\. The full page is report\\.html\\.",
    ]
    for comparison in report.comparisons:
        text = f"**{plain(verdict(comparison))}**"
        if comparison.result is not None:
            text += f" **{plain(change(comparison.result))}\\.** {plain(evidence(comparison.result, report.seed))}"
        parts.append(" ".join([text, *map(plain, comparison.remarks)]))
    if report.remarks:
        parts += ["## Missing, damaged or not comparable", "\n".join(f"- {plain(remark)}" for remark in report.remarks)]
    if report.methods is not None:
        section = report.methods
        parts += [f"## {plain(section.table.title)}", render_table(section.table)]
        if section.curves:
            parts += ["\n".join(_picture(figure) for figure in section.curves), _numbered(section.marks)]
            parts += [plain(note) for note in section.notes]
    if report.over_optimization is not None:
        by_kl = report.over_optimization
        parts += [f"## {plain(by_kl.table.title)}", *map(plain, by_kl.findings)]
        parts += ["\n".join(_picture(figure) for figure in by_kl.figures), _numbered(by_kl.marks)]
        parts += [*map(plain, by_kl.notes), render_table(by_kl.table)]
    for table in (report.changes, report.scores, report.runs, report.settings, report.statistics):
        if table is not None:
            parts += [f"## {plain(table.title)}", render_table(table)]
    for heading, figures in groups(report.curves).items():
        parts += [f"## {plain(heading)}", "\n".join(_picture(figure) for figure in figures)]
    if report.curves:
        parts += [plain(note) for note in report.curve_notes]
    if report.phases is not None:
        parts += ["## Time", _picture(report.phases), f"Mean seconds per step\\. {_numbered(report.marks)}"]
        parts += [plain(note) for note in report.shown_notes]
    for shelf in report.shelves:
        parts += [f"## {plain(shelf.title)}", plain(shelf.explanation)]
        parts += [_example(example, report) for example in shelf.examples]
    return "\n\n".join(parts) + "\n"


def render_table(table: Table) -> str:
    """The table and its notes."""
    lines = [_row(table.columns), "| " + " | ".join([":--", *["--:"] * (len(table.columns) - 1)]) + " |"]
    lines += [
        _row([f"{cell.text} ({cell.detail})" if cell.detail else cell.text for cell in row]) for row in table.rows
    ]
    if table.notes:
        lines += ["", *("- " + _START_OF_LIST.sub(r"\1\\", inside(note, 2000)) for note in table.notes)]
    return "\n".join(lines)


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(inside(cell) for cell in cells) + " |"


def _numbered(marks: Sequence[Mark]) -> str:
    """Which number on a figure stands for what."""
    return plain(", ".join(f"{place} is {mark.label}" for place, mark in enumerate(marks, start=1)) + ".", 10_000)


def _picture(figure: Figure) -> str:
    return f"![{plain(figure.title, _LONGEST)}](figures/{figure.slug}.svg)"


def _example(example: Example, report: Report) -> str:
    gain = "" if example.gain is None else f" ({number(example.gain, sign=True)})"
    lines = [f"**{plain(example.image_id, _LONGEST)}**{plain(gain)}", ""]
    for line in example.lines:
        caption = plain(" ".join(word for word, _ in line.words), _LONGEST) or "*(empty caption)*"
        lines.append(f"- {plain(report.marks[line.run].label)}, {plain(number(line.score))}\\: {caption}")
    return "\n".join(lines)
