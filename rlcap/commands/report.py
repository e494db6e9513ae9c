"""Compares runs in a page."""

from collections.abc import Sequence
from pathlib import Path

from rlcap.commands.shared import Parser, logger


def report(arguments: Sequence[str], prog: str = "rlcap report") -> None:
    """Compare runs in a page that opens offline."""
    from rlcap.reporting import write_report

    parser = Parser(
        prog=prog, allow_abbrev=False, description="Compare run folders in one HTML page and one Markdown file."
    )
    parser.add_argument("runs", type=str, nargs="+", help="run folders; the first is what the others are compared with")
    parser.add_argument("--output", type=str, default="report", help="folder to write")
    parser.add_argument("--split", type=str, default="test")
    parser.add_argument("--title", type=str | None, default=None)
    config = parser.parse_args(arguments)
    page = write_report([Path(run) for run in config.runs], Path(config.output), config.split, config.title)
    logger.info("report: %s", page)
