"""A report in full, ready to be written as a page or as Markdown."""

from collections.abc import Callable
from dataclasses import dataclass

from rlcap.reporting.drawing.svg import Figure, Mark
from rlcap.reporting.material import Material
from rlcap.reporting.page.blocks import Block, figures_of
from rlcap.reporting.sections import (
    breakdowns,
    configuration,
    cost,
    curves,
    explanations,
    gallery,
    reward_hacking,
    scores,
    summary,
)
from rlcap.reporting.sections.section import Section

# In the order of the page. A section that has nothing to say of the runs is left out.
SECTIONS: tuple[Callable[[Material], Section | None], ...] = (
    scores.section,
    gallery.section,
    breakdowns.section,
    explanations.section,
    curves.section,
    reward_hacking.section,
    cost.section,
    configuration.section,
)


@dataclass(frozen=True)
class Report:
    """Everything a report says, still as plain text.

    Attributes:
        title: its heading.
        split: the split the scores are of.
        marks: how each method is drawn, in order.
        summary: what stands before the sections.
        sections: in the order they are shown.
    """

    title: str
    split: str
    marks: tuple[Mark, ...]
    summary: tuple[Block, ...]
    sections: tuple[Section, ...]

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All figures in the order they are shown."""
        return figures_of([*self.summary, *(block for section in self.sections for block in section.blocks)])


def build_report(material: Material) -> Report:
    """What there is to say of the material."""
    found = (make(material) for make in SECTIONS)
    return Report(
        title=material.options.title or _title(material),
        split=material.options.split,
        marks=material.marks,
        summary=summary.blocks(material),
        sections=tuple(section for section in found if section is not None),
    )


def _title(material: Material) -> str:
    names = [method.name for method in material.methods]
    if len(names) == 1:
        return names[0]
    baseline = names.pop(material.baseline)
    others = ", ".join(names) if len(names) <= 3 else f"{len(names)} methods in {len(material.runs)} runs"
    return f"{baseline} → {others}"
