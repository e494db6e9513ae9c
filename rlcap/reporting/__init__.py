"""Reports of run folders. Reads what runs have written and needs no torch."""

from rlcap.reporting.reading.files import ReportError
from rlcap.reporting.write import write_report

__all__ = ["ReportError", "write_report"]
