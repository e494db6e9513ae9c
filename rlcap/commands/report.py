"""Compares runs in a page."""

from collections.abc import Sequence
from pathlib import Path

from rlcap.commands.shared import Parser, logger


def report(arguments: Sequence[str], prog: str = "rlcap report") -> None:
    """Compare runs in a page that opens offline."""
    from rlcap.reporting import ReportOptions, watch_report, write_report

    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="Compare run folders in one HTML page, with Markdown, tables and figures beside it.",
    )
    parser.add_argument("runs", type=str, nargs="+", help="run folders; runs that differ in their seed are one method")
    parser.add_argument("--output", type=str, default="report", help="folder to write")
    parser.add_argument("--watch", action="store_true", help="write the report again whenever a run has gone on")
    parser.add_class_arguments(ReportOptions)
    config = parser.parse_args(arguments)
    options = parser.instantiate(config)
    chosen = ReportOptions(
        **{name: options[name] for name in ReportOptions.__dataclass_fields__}  # of the command line alone
    )
    runs, output = [Path(run) for run in config.runs], Path(config.output)
    if not config.watch:
        logger.info("report: %s", write_report(runs, output, chosen))
        return
    for page in watch_report(runs, output, chosen):
        logger.info("report: %s; Ctrl-C ends", page)
