"""A section of a report."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rlcap.reporting.page.blocks import Block


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Attributes:
        anchor: its id in the page, and the heading's link.
        title: its heading.
        blocks: what it says.
        files: what is written beside the page, by path: tables with every digit.
    """

    anchor: str
    title: str
    blocks: tuple[Block, ...]
    files: Mapping[str, str] = field(default_factory=dict)
