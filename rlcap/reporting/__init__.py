"""Reports of run folders. Reads what runs have written and needs no torch."""

from rlcap.reporting.options import ReportOptions
from rlcap.reporting.reading.files import ReportError
from rlcap.reporting.write import watch_report, write_report

__all__ = ["ReportError", "ReportOptions", "watch_report", "write_report"]
