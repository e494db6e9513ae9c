"""What the lines of figures stand for, as a list of a page and as a line of Markdown."""

from collections.abc import Sequence

from rlcap.reporting.drawing.svg import Mark
from rlcap.reporting.page.escape import name, plain


def legend_html(marks: Sequence[Mark]) -> str:
    """What numbered lines stand for, as a list."""
    items = [f"<li>{swatch(mark)}<b>{place}</b> {name(mark.label)}</li>" for place, mark in enumerate(marks, start=1)]
    return f'<ul class="legend">{"".join(items)}</ul>'


def swatch(mark: Mark) -> str:
    """A short piece of a line as it is drawn."""
    dash = f' stroke-dasharray="{" ".join(map(str, mark.dash))}"' if mark.dash else ""
    line = f'<path d="M 0 5 H 26" stroke="{mark.paint}" stroke-width="4"{dash}/>'
    return f'<svg class="swatch" viewBox="0 0 26 10" aria-hidden="true">{line}</svg>'


def numbered(marks: Sequence[Mark]) -> str:
    """Which number on a figure stands for what, as Markdown."""
    return plain(", ".join(f"{place} is {mark.label}" for place, mark in enumerate(marks, start=1)) + ".", 10_000)
