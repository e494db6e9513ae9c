"""A report as Markdown, for places that show text and pictures but no page."""

from rlcap.reporting.page.blocks import markdown_of
from rlcap.reporting.page.escape import plain
from rlcap.reporting.report import Report


def render_markdown(report: Report) -> str:
    """The report as one Markdown document whose pictures lie in ``figures/``."""
    parts = [
        f"# {plain(report.title)}",
        f"Captions of the {plain(report.split)} split. The full page is report.html.",
        markdown_of(report.summary),
    ]
    for section in report.sections:
        parts += [f"## {plain(section.title)}", markdown_of(section.blocks)]
    return "\n\n".join(filter(None, parts)) + "\n"
