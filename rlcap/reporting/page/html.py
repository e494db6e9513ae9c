"""A report as one page that opens offline. Every text of it passes through :func:`text`."""

from collections.abc import Iterable
from html import escape
from importlib.resources import files

from rlcap.reporting.comparison import Comparison, evidence, verdict
from rlcap.reporting.drawing.svg import Figure, Mark
from rlcap.reporting.figures import groups
from rlcap.reporting.gallery import Example, Line, Shelf
from rlcap.reporting.methods import MOST_RUNS
from rlcap.reporting.over_optimization import TITLE, OverOptimization
from rlcap.reporting.reading.files import clean
from rlcap.reporting.report import MethodSection, Report
from rlcap.reporting.tables import Cell, Table, number

# Nothing is fetched, run or sent: pictures are data: URIs, styles are in the page, and there is no script.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def text(value: str) -> str:
    """The text as HTML shows it, inside an element or an attribute's quotes."""
    return escape(clean(value), quote=True)


def name(value: str) -> str:
    """A name from a file: its writing direction does not reach the words around it."""
    return f"<bdi>{text(value)}</bdi>"


def render_page(report: Report) -> str:
    """The report as one HTML document."""
    sections = [
        ("methods", "Methods over seeds", _methods(report.methods)),
        ("over-optimization", TITLE, _over_optimization(report.over_optimization)),
        ("changes", "Changes", _rows(report.changes)),
        ("scores", "Scores", _rows(report.scores)),
        ("captions", "Caption statistics", _rows(report.statistics)),
        ("gallery", "Gallery", _gallery(report)),
        ("curves", "Training curves", _curves(report)),
        ("time", "Time per step", _phases(report)),
        ("runs", "Runs", _rows(report.runs) + _settings(report.settings)),
    ]
    shown = [section for section in sections if section[2]]
    links = "".join(f'<a href="#{anchor}">{heading}</a>' for anchor, heading, _ in shown)
    body = "".join(
        f'<section id="{anchor}"><h2>{heading}</h2>{content}</section>' for anchor, heading, content in shown
    )
    style = files("rlcap.reporting.page").joinpath("page.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<title>{text(report.title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="eyebrow">Captions of the {name(report.split)} split</p>
<h1>{name(report.title)}</h1>
{_legend(report.marks, numbered=True)}
</header>
<main>
{_headlines(report)}
{_remarks(report.remarks)}
<nav aria-label="Sections">{links}</nav>
{body}
</main>
<footer>Numbers in one column carry one signature. Text from run folders is shown as it was written.</footer>
</body>
</html>
"""


def _methods(section: MethodSection | None) -> str:
    if section is None:
        return ""
    if not section.curves:
        return _table(section.table)
    notes = "".join(f"<li>{text(note)}</li>" for note in section.notes)
    drawn = "".join(_figure(figure) for figure in section.curves)
    return (
        f'{_table(section.table)}<div class="group">{_legend(section.marks, numbered=True)}</div>'
        f'<div class="figures large">{drawn}</div><ul class="notes">{notes}</ul>'
    )


def _over_optimization(section: OverOptimization | None) -> str:
    if section is None:
        return ""
    findings = "".join(f"<li>{text(finding)}</li>" for finding in section.findings)
    notes = "".join(f"<li>{text(note)}</li>" for note in section.notes)
    drawn = "".join(_figure(figure) for figure in section.figures)
    legend = f'<div class="group">{_legend(section.marks, numbered=True)}</div>' if len(section.marks) > 1 else ""
    return (
        f'<ul>{findings}</ul>{legend}<div class="figures">{drawn}</div><ul class="notes">{notes}</ul>'
        f"{_table(section.table)}"
    )


def _rows(table: Table | None) -> str:
    """A table of runs, folded away where they are many."""
    if table is None or len(table.rows) <= MOST_RUNS:
        return _table(table)
    summary = f"<summary>{text(table.title)} ({len(table.rows)} runs)</summary>"
    return f'<details class="folded">{summary}{_table(table)}</details>'


def _gallery(report: Report) -> str:
    notes = "".join(f'<p class="quiet">{text(note)}</p>' for note in report.shown_notes)
    shelves = "".join(_shelf(shelf, report) for shelf in report.shelves)
    return notes + shelves if shelves else ""


def _headlines(report: Report) -> str:
    if not report.comparisons:
        return ""
    return f'<div class="headlines">{"".join(_headline(comparison, report) for comparison in report.comparisons)}</div>'


def _headline(comparison: Comparison, report: Report) -> str:
    result = comparison.result
    if result is None:
        return f'<article class="headline"><p class="lead">{text(verdict(comparison))}</p></article>'
    relative = result.relative
    change = number(result.difference, sign=True) if relative is None else f"{number(100 * relative, 1, sign=True)} %"
    remarks = "".join(f'<p class="quiet">{text(remark)}</p>' for remark in comparison.remarks)
    return (
        f'<article class="headline"><p class="lead">{text(verdict(comparison))}</p>'
        f'<p class="figure-line"><span class="was">{number(result.before)}</span>'
        f'<span class="arrow">→</span><span class="now">{number(result.after)}</span>'
        f'<span class="{"change" if result.clear else "change unclear"}">{change}</span></p>'
        f'<p class="quiet">{text(evidence(result, report.seed))}</p>{remarks}</article>'
    )


def _remarks(remarks: Iterable[str]) -> str:
    items = "".join(f"<li>{text(remark)}</li>" for remark in remarks)
    return (
        f'<aside class="remarks"><h2>Missing, damaged or not comparable</h2><ul>{items}</ul></aside>' if items else ""
    )


def _settings(table: Table | None) -> str:
    """The settings that differ, folded away where they are many."""
    if table is None:
        return ""
    opened = " open" if len(table.rows) <= 12 else ""
    summary = f"<summary>{text(table.title)} ({len(table.rows)})</summary>"
    return f'<details class="settings"{opened}>{summary}{_table(table)}</details>'


def _table(table: Table | None) -> str:
    if table is None:
        return ""
    head = "".join(f'<th scope="col">{name(column)}</th>' for column in table.columns)
    rows = "".join(f"<tr>{_row(row)}</tr>" for row in table.rows)
    notes = "".join(f"<li>{text(note)}</li>" for note in table.notes)
    return (
        f'<div class="scroll"><table class="{"of-runs" if table.run else "of-settings"}">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
    )


def _row(row: tuple[Cell, ...]) -> str:
    cells = [f'<th scope="row">{name(row[0].text)}</th>']
    for cell in row[1:]:
        detail = f' <span class="detail">{text(cell.detail)}</span>' if cell.detail else ""
        cells.append(f"<td>{name(cell.text)}{detail}</td>")
    return "".join(cells)


def _legend(marks: Iterable[Mark], numbered: bool = False) -> str:
    items = []
    for place, mark in enumerate(marks, start=1):
        dash = f' stroke-dasharray="{" ".join(map(str, mark.dash))}"' if mark.dash else ""
        line = f'<path d="M 0 5 H 26" stroke="{mark.paint}" stroke-width="4"{dash}/>'
        swatch = f'<svg class="swatch" viewBox="0 0 26 10" aria-hidden="true">{line}</svg>'
        items.append(f"<li>{swatch}{f'<b>{place}</b> ' if numbered else ''}{name(mark.label)}</li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def _figure(figure: Figure) -> str:
    return f"<figure><figcaption>{name(figure.title)}</figcaption>{figure.inline()}</figure>"


def _curves(report: Report) -> str:
    if not report.curves:
        return ""
    notes = "".join(f"<li>{text(note)}</li>" for note in ("Against the training step.", *report.curve_notes))
    parts = [f'<ul class="notes">{notes}</ul>']
    for heading, figures in groups(report.curves).items():
        drawn = "".join(_figure(figure) for figure in figures)
        parts.append(f'<div class="group"><h3>{text(heading)}</h3>{_legend(report.marks)}</div>')
        parts.append(f'<div class="figures">{drawn}</div>')
    return "".join(parts)


def _phases(report: Report) -> str:
    if report.phases is None:
        return ""
    numbered = ", ".join(f"{place} is {name(mark.label)}" for place, mark in enumerate(report.marks, start=1))
    legend = "".join(
        f'<li><span class="block" style="background:{mark.paint}"></span>{name(mark.label)}</li>'
        for mark in report.phases.legend
    )
    return (
        f'<div class="figures single"><figure>{report.phases.inline()}</figure></div><ul class="legend">{legend}</ul>'
        f'<p class="quiet">Mean over the logged steps; {numbered}. {text(" ".join(report.shown_notes))}</p>'
    )


def _shelf(shelf: Shelf, report: Report) -> str:
    cards = "".join(_card(example, report) for example in shelf.examples)
    return f'<h3>{text(shelf.title)}</h3><p class="quiet">{text(shelf.explanation)}</p><div class="cards">{cards}</div>'


def _card(example: Example, report: Report) -> str:
    picture = (
        f'<img src="{example.picture}" alt="" loading="lazy">'
        if example.picture
        else '<p class="blank">no thumbnail</p>'
    )
    gain = (
        ""
        if example.gain is None
        else f'<span class="gain">{text(report.metric)} {number(example.gain, sign=True)}</span>'
    )
    references = "".join(f'<li dir="auto">{text(reference)}</li>' for reference in example.references)
    counted = f"{len(example.references)} reference{'' if len(example.references) == 1 else 's'}"
    details = f"<details><summary>{counted}</summary><ul>{references}</ul></details>"
    lines = "".join(_line(line, report.marks[line.run], later=line is not example.lines[0]) for line in example.lines)
    return (
        f'<article class="card{" many" if len(example.lines) > 2 else ""}"><div class="picture">{picture}</div>'
        f'<p class="identity"><span class="id">{name(example.image_id)}</span>{gain}</p>'
        f'<div class="lines">{lines}</div>{details if references else ""}</article>'
    )


def _line(line: Line, mark: Mark, later: bool) -> str:
    words = []
    for word, differs in line.words:
        words.append(f"<mark>{text(word)}</mark>" if differs else text(word))
    caption = " ".join(words).replace("</mark> <mark>", " ") or '<span class="quiet">(empty caption)</span>'
    return (
        f'<div class="line{" later" if later else ""}"><p class="by"><span class="dot" style="background:{mark.paint}">'
        f'</span>{name(mark.label)}<span class="score">{number(line.score)}</span></p>'
        f'<p class="caption" dir="auto">{caption}</p></div>'
    )
