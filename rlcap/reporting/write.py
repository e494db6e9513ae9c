"""Writes a report of run folders: one page that opens offline, Markdown, tables and figures beside it."""

import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rlcap.reporting.drawing.canvas import png
from rlcap.reporting.drawing.kept import Drawings
from rlcap.reporting.material import gather
from rlcap.reporting.options import ReportOptions
from rlcap.reporting.page.html import GENERATOR, render_page
from rlcap.reporting.page.markdown import render_markdown
from rlcap.reporting.reading.files import ReportError, Source, write_aside
from rlcap.reporting.reading.mappings import read_mapping
from rlcap.reporting.reading.runs import read_runs
from rlcap.reporting.reading.watching import watch_digest
from rlcap.reporting.report import Report, build_report

CACHE = ".cache"


def write_report(runs: Sequence[Path], output: Path, options: ReportOptions | None = None) -> Path:
    """The path of ``report.html``, written with ``report.md``, ``tables/`` and ``figures/`` into the output folder.

    What was parsed and drawn is kept in ``.cache/`` there, so that writing the report again is cheap.

    Args:
        runs: run folders.
        output: the folder to write into, made if it is not there.
        options: how it is made.

    Raises:
        ReportError: if a run folder does not exist, none holds anything usable, or the output cannot be written.
    """
    options = options or ReportOptions()
    if options.split != Path(options.split).name:
        raise ReportError(f"a split is the name of a folder under evaluation/, got {options.split!r}")
    output = Path(output)
    _refuse(output)
    try:
        reading = read_runs([Path(run) for run in runs], options.split, output / CACHE)
        drawings = Drawings(output / CACHE)
        report = build_report(gather(reading, options, drawings))
        drawings.drop_unused()
        _write(report, output, options.png)
    except OSError as error:
        raise ReportError(f"cannot write the report to {output}: {error.strerror}") from error
    return output / "report.html"


def watch_report(
    runs: Sequence[Path], output: Path, options: ReportOptions | None = None, seconds: float = 5.0
) -> Iterator[Path]:
    """The path of ``report.html`` each time it was written: at once, then whenever a run has gone on; never ends.

    Args:
        runs: run folders.
        output: the folder to write into.
        options: how it is made.
        seconds: how long to wait between looks.

    Raises:
        ReportError: as :func:`write_report`.
    """
    options = options or ReportOptions()
    folders = [Path(run) for run in runs]
    seen = watch_digest(folders, options.split)
    yield write_report(folders, output, options)
    while True:
        time.sleep(seconds)
        now = watch_digest(folders, options.split)
        if now != seen:
            seen = now
            yield write_report(folders, output, options)


def _refuse(output: Path) -> None:
    """Make sure that nothing is overwritten but a former report."""
    if (output / "config.yaml").is_file():
        raise ReportError(f"{output} is a run folder: choose another --output")
    page = output / "report.html"
    if page.is_file() and GENERATOR not in page.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise ReportError(f"{page} is no report of rlcap and would be overwritten: choose another --output")


def _write(report: Report, output: Path, with_png: bool) -> None:
    """Write all files, and remove those of a former report that this one does not have."""
    files: dict[str, str | bytes] = {}
    for figure in report.figures:
        files[f"figures/{figure.slug}.svg"] = figure.standalone()  # Markdown links to it
        picture = png(figure) if with_png else None
        if picture is not None:
            files[f"figures/{figure.slug}.png"] = picture
    for section in report.sections:
        files |= section.files
    files |= {"report.md": render_markdown(report), "report.html": render_page(report)}
    listed = output / CACHE / "written.json"
    former = read_mapping(Source(output, f"{CACHE}/written.json"), []).get("files")
    for path, content in files.items():
        write_aside(output / path, content)
    for path in former if isinstance(former, list) else []:
        if path not in files and re.fullmatch(r"(figures|tables)/[\w.-]+", str(path)):
            (output / path).unlink(missing_ok=True)
    write_aside(listed, json.dumps({"files": sorted(files)}))
