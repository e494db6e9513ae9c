"""Reports of run folders. Reads what runs have written and needs no torch."""

from rlcap.reporting.files import ReportError
from rlcap.reporting.render import write_report

__all__ = ["ReportError", "write_report"]
