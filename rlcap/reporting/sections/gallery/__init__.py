"""Images with every method's caption of them."""

from rlcap.reporting.sections.gallery.compose import section

__all__ = ["section"]
