"""A report as Markdown, for places that show text and pictures but no page."""

import re
from html import escape

from rlcap.reporting.content import Table, change, evidence, number, verdict
from rlcap.reporting.figures import groups
from rlcap.reporting.gallery import Example
from rlcap.reporting.report import Report
from rlcap.reporting.svg import Figure, shorten

_LONGEST = 300
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$:@=^])")


def plain(text: str, longest: int = 2000) -> str:
    """The text so that Markdown shows it as it is, on one line, in a table or out of it."""
    return _SPECIAL.sub(r"\\\1", escape(shorten(text, longest), quote=False))


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
    for table in (report.scores, report.runs, report.settings, report.statistics):
        if table is not None:
            parts += [f"## {plain(table.title)}", _table(table)]
            if table.notes:
                parts.append("\n".join(f"- {plain(note)}" for note in table.notes))
    for heading, figures in groups(report.curves).items():
        parts += [f"## {plain(heading)}", "\n".join(_picture(figure) for figure in figures)]
    if report.curves:
        parts += [plain(note) for note in report.curve_notes]
    if report.phases is not None:
        numbered = ", ".join(f"{place} is {mark.label}" for place, mark in enumerate(report.marks, start=1))
        parts += ["## Time", _picture(report.phases), plain(f"Mean seconds per step; {numbered}.")]
    for shelf in report.shelves:
        parts += [f"## {plain(shelf.title)}", plain(shelf.explanation)]
        parts += [_example(example, report) for example in shelf.examples]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    lines = [_row(table.columns), _row([":--", *["--:"] * (len(table.columns) - 1)], escaped=True)]
    lines += [
        _row([f"{cell.text} ({cell.detail})" if cell.detail else cell.text for cell in row]) for row in table.rows
    ]
    return "\n".join(lines)


def _row(cells: list[str] | tuple[str, ...], escaped: bool = False) -> str:
    return "| " + " | ".join(cell if escaped else plain(cell, _LONGEST) for cell in cells) + " |"


def _picture(figure: Figure) -> str:
    return f"![{plain(figure.title, _LONGEST)}](figures/{figure.slug}.svg)"


def _example(example: Example, report: Report) -> str:
    gain = "" if example.gain is None else f" ({number(example.gain, sign=True)})"
    lines = [f"**{plain(example.image_id, _LONGEST)}**{plain(gain)}", ""]
    for line in example.lines:
        caption = plain(" ".join(word for word, _ in line.words), _LONGEST) or "*(empty caption)*"
        lines.append(f"- {plain(report.marks[line.run].label)}, {plain(number(line.score))}\\: {caption}")
    return "\n".join(lines)
