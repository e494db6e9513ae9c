"""A figure as SVG text: inside a page that has its own colours and fonts, or as a file of its own."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from rlcap.markdown import clean

# The light theme's colours, as drawn; on the page each becomes the variable, which the dark theme sets anew.
VARIABLES: Mapping[str, str] = {
    "#24292f": "--ink",
    "#67707b": "--muted",
    "#dfe3e8": "--rule",
    "#7d8794": "--run-0",
    "#0a6e6e": "--run-1",
    "#b45309": "--run-2",
    "#6d4bc3": "--run-3",
    "#b3386f": "--run-4",
    "#4d7c0f": "--run-5",
    "#7b8591": "--method-0",
    "#726300": "--method-1",
    "#1772dc": "--method-2",
    "#1d5660": "--method-3",
    "#2c3ba8": "--method-4",
    "#559e0c": "--method-5",
    "#bd3515": "--method-6",
    "#9d78e5": "--method-7",
    "#863cb2": "--method-8",
    "#920054": "--method-9",
    "#cb7e02": "--method-10",
    "#d76294": "--method-11",
    "#0a6e6f": "--phase-0",
    "#4fa3a0": "--phase-1",
    "#a5d3cf": "--phase-2",
    "#c9985a": "--phase-3",
    "#e3c79f": "--phase-4",
    "#c8ced6": "--phase-5",
}
INK, MUTED, RULE = "#24292f", "#67707b", "#dfe3e8"
RUN_COLOURS = tuple(colour for colour, variable in VARIABLES.items() if variable.startswith("--run"))
METHOD_COLOURS = tuple(colour for colour, variable in VARIABLES.items() if variable.startswith("--method"))
PHASE_COLOURS = tuple(colour for colour, variable in VARIABLES.items() if variable.startswith("--phase"))
# Each half of the colours has its own dash: those of one half differ for the colour-blind too.
_DASHES = ((), (6, 2), (2, 2), (8, 2, 2, 2))
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif"
_LINE = 18


@dataclass(frozen=True)
class Mark:
    """How a run or a phase is drawn, and what it is called."""

    label: str
    colour: str
    dash: tuple[int, ...] = ()

    @property
    def paint(self) -> str:
        """The colour as the page's style sheet names it."""
        return f"var({VARIABLES[self.colour]})"

    @property
    def line_style(self) -> Any:
        """The dash as matplotlib has it."""
        return (0, self.dash) if self.dash else "-"

    def numbered(self, place: int) -> "Mark":
        """The mark with the number of the method of that place before its label, as legends have it."""
        return replace(self, label=f"{place + 1} {self.label}")


@dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes:
        slug: its file name without the ending.
        title: what it shows; text from a file.
        group: the heading it stands under.
        drawing: the SVG as drawn, without any text from a file.
        width: in points.
        height: in points.
        legend: what its colours mean.
        description: what a reader who cannot see it is told.
        draw: draws it anew on axes, for other kinds of files; None where it is kept as SVG alone.
    """

    slug: str
    title: str
    group: str
    drawing: str
    width: int
    height: int
    legend: tuple[Mark, ...]
    description: str
    draw: Callable[[Any], None] | None = field(default=None, repr=False, compare=False)

    def inline(self) -> str:
        """The figure as an element of a page: ids its own, colours the page's, no title and no legend."""
        body = re.sub(r'\bid="', f'id="{self.slug}-', self.drawing)
        body = re.sub(r"url\(#", f"url(#{self.slug}-", body)
        body = re.sub(r'xlink:href="#', f'href="#{self.slug}-', body)
        for colour, variable in VARIABLES.items():
            body = body.replace(colour, f"var({variable})")
        label = escape(clean(self.description))
        return f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{label}">{body}</svg>'

    def standalone(self) -> str:
        """The figure as a file: light, with its title and a legend above the drawing."""
        head = 26 + _LINE * len(self.legend)
        title, rows = escape(shorten(self.title, self.width // 8)), []
        for number, mark in enumerate(self.legend):
            y = 36 + _LINE * number
            dash = f' stroke-dasharray="{" ".join(map(str, mark.dash))}"' if mark.dash else ""
            rows.append(
                f'<path d="M 12 {y} h 22" stroke="{mark.colour}" stroke-width="3"{dash}/>'
                f'<text x="42" y="{y + 4}" font-size="11" fill="{INK}">{escape(shorten(mark.label, 48))}</text>'
            )
        width, height = f"{self.width}", f"{self.height + head}"
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="{_FONT}">\n'
            f"<title>{escape(clean(self.description))}</title>\n"
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
            f'<text x="12" y="20" font-size="13" font-weight="600" fill="{INK}">{title}</text>\n'
            f'{"".join(rows)}\n<g transform="translate(0 {head})">{self.drawing}</g>\n</svg>\n'
        )


def marks_of(names: Sequence[str]) -> tuple[Mark, ...]:
    """How each of some methods is drawn throughout a report: few in colours far apart, many with dashes besides."""
    if len(names) <= len(RUN_COLOURS):
        return tuple(Mark(name, colour) for name, colour in zip(names, RUN_COLOURS, strict=False))
    half = len(METHOD_COLOURS) // 2
    return tuple(
        Mark(name, METHOD_COLOURS[place % len(METHOD_COLOURS)], _DASHES[place // half % len(_DASHES)])
        for place, name in enumerate(names)
    )


def shorten(text: str, length: int) -> str:
    """The text on one line, its end cut off where it is longer than that."""
    text = clean(text)
    return text if len(text) <= length else text[: length - 1] + "…"


def bare(document: str) -> str:
    """What matplotlib drew, without prolog, metadata, style sheet and the outer element; fonts are inherited."""
    body = re.sub(r"^.*?<svg[^>]*>|</svg>\s*$", "", document, count=2, flags=re.DOTALL)
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<defs>\s*</defs>", "", body, flags=re.DOTALL)
    body = re.sub(r"font-family:[^;\"]*;\s*", "", body)
    body = re.sub(r' transform="rotate\(-?0 [^"]*"', "", body)
    return re.sub(r"\s*\n\s*", "\n", body).strip()
