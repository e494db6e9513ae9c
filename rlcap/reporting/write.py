"""Writes a report of run folders: one page that opens offline, and Markdown with its figures beside it."""

from collections.abc import Sequence
from pathlib import Path

from rlcap.reporting.page.html import render_page
from rlcap.reporting.page.markdown import render_markdown, render_table
from rlcap.reporting.reading.files import ReportError, write_aside
from rlcap.reporting.reading.runs import read_runs
from rlcap.reporting.report import build_report

MAIN_METRIC = "CIDEr-D"
_SEED = 0


def write_report(runs: Sequence[Path], output: Path, split: str = "test", title: str | None = None) -> Path:
    """The path of ``report.html``, written with ``report.md`` and ``figures/*.svg`` into the output folder.

    Of several seeds or more than two runs, the table of methods lies beside them as ``methods.md`` and ``methods.csv``.
    Where scores are shown against KL, the points lie in ``tables/over_optimization.csv``.

    Args:
        runs: run folders; the first is what the others are compared with.
        output: the folder to write into, made if it is not there.
        split: the split whose evaluation is shown.
        title: the heading; by default the runs' names.

    Raises:
        ReportError: if a run folder does not exist or holds nothing usable, or if the output cannot be written.
    """
    if split != Path(split).name:
        raise ReportError(f"a split is the name of a folder under evaluation/, got {split!r}")
    report = build_report(read_runs([Path(run) for run in runs], split), split, MAIN_METRIC, title, _SEED)
    page = Path(output) / "report.html"
    try:
        for figure in report.figures:
            write_aside(page.parent / "figures" / f"{figure.slug}.svg", figure.standalone())
        if report.methods is not None:
            write_aside(page.parent / "methods.md", render_table(report.methods.table) + "\n")
            write_aside(page.parent / "methods.csv", report.methods.csv)
        if report.over_optimization is not None:
            write_aside(page.parent / "tables" / "over_optimization.csv", report.over_optimization.csv)
        write_aside(page.parent / "report.md", render_markdown(report))
        write_aside(page, render_page(report))
    except OSError as error:
        raise ReportError(f"cannot write the report to {output}: {error.strerror}") from error
    return page
