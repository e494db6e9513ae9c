"""What a section of a report is made of: blocks of plain text, which can be shown on a page and in Markdown."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rlcap.reporting.drawing.svg import Figure, Mark
from rlcap.reporting.page.escape import inside, item, name, plain, text
from rlcap.reporting.page.legend import legend_html, numbered
from rlcap.reporting.tables import Cell, Table


class Block(ABC):
    """A piece of a section."""

    @abstractmethod
    def html(self) -> str:
        """The block as HTML, every text in it escaped."""

    @abstractmethod
    def markdown(self) -> str:
        """The block as Markdown, every text in it escaped; empty where Markdown has nothing to show."""

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The figures in it, each of which becomes a file."""
        return ()


def html_of(blocks: Iterable[Block]) -> str:
    """The blocks one after the other as HTML."""
    return "".join(block.html() for block in blocks)


def markdown_of(blocks: Iterable[Block]) -> str:
    """The blocks one after the other as Markdown."""
    return "\n\n".join(filter(None, (block.markdown() for block in blocks)))


@dataclass(frozen=True)
class Heading(Block):
    """A heading within a section, with the legend of what follows beside it if there is one."""

    title: str
    marks: tuple[Mark, ...] = ()

    def html(self) -> str:
        legend = legend_html(self.marks) if self.marks else ""
        return f'<div class="group"><h3>{text(self.title)}</h3>{legend}</div>'

    def markdown(self) -> str:
        return f"### {plain(self.title)}" + (f"\n\n{numbered(self.marks)}" if self.marks else "")


@dataclass(frozen=True)
class Paragraph(Block):
    """A paragraph; a quiet one is smaller."""

    words: str
    quiet: bool = False

    def html(self) -> str:
        kind = "quiet" if self.quiet else "words"
        return f'<p class="{kind}">{text(self.words)}</p>'

    def markdown(self) -> str:
        return plain(self.words)


@dataclass(frozen=True)
class Bullets(Block):
    """A list of sentences; notes are smaller."""

    items: tuple[str, ...]
    notes: bool = False

    def html(self) -> str:
        items = "".join(f"<li>{text(line)}</li>" for line in self.items)
        kind = "notes" if self.notes else "findings"
        return f'<ul class="{kind}">{items}</ul>' if items else ""

    def markdown(self) -> str:
        return "\n".join(item(line) for line in self.items)


@dataclass(frozen=True)
class Legend(Block):
    """What the colours and dashes of lines stand for, numbered as the lines' ends are."""

    marks: tuple[Mark, ...]

    def html(self) -> str:
        return f'<div class="group">{legend_html(self.marks)}</div>'

    def markdown(self) -> str:
        return numbered(self.marks)


@dataclass(frozen=True)
class AreaLegend(Block):
    """What the colours of areas stand for, such as the phases of a step."""

    marks: tuple[Mark, ...]

    def html(self) -> str:
        items = "".join(
            f'<li><span class="block" style="background:{mark.paint}"></span>{name(mark.label)}</li>'
            for mark in self.marks
        )
        return f'<ul class="legend">{items}</ul>'

    def markdown(self) -> str:
        return ""


@dataclass(frozen=True)
class Figures(Block):
    """Figures side by side as room allows."""

    drawn: tuple[Figure, ...]
    size: Literal["small", "large", "wide", "single"] = "small"

    def html(self) -> str:
        drawn = "".join(
            f"<figure><figcaption>{name(figure.title)}</figcaption>{figure.inline()}</figure>" for figure in self.drawn
        )
        return f'<div class="figures {self.size}">{drawn}</div>' if drawn else ""

    def markdown(self) -> str:
        return "\n".join(f"![{plain(figure.title, 300)}](figures/{figure.slug}.svg)" for figure in self.drawn)

    @property
    def figures(self) -> tuple[Figure, ...]:
        return self.drawn


@dataclass(frozen=True)
class Rows(Block):
    """A table, its rows sortable by any column in the page."""

    table: Table

    def html(self) -> str:
        table = self.table
        head = "".join(f'<th scope="col">{name(column)}</th>' for column in table.columns)
        rows = "".join(f"<tr>{_row_html(row)}</tr>" for row in table.rows)
        kind = "of-runs" if table.run else "of-settings"
        sortable = " sortable" if len(table.rows) > 2 else ""
        return (
            f'<div class="scroll"><table class="{kind}{sortable}" aria-label="{text(table.title)}">'
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
            f"{Bullets(table.notes, notes=True).html()}"
        )

    def markdown(self) -> str:
        table = self.table
        lines = [
            _row([inside(column) for column in table.columns]),
            "| " + " | ".join([":--", *["--:"] * (len(table.columns) - 1)]) + " |",
        ]
        lines += [_row([_cell(cell) for cell in row]) for row in table.rows]
        return "\n".join(lines) + (f"\n\n{Bullets(table.notes).markdown()}" if table.notes else "")


@dataclass(frozen=True)
class Folded(Block):
    """Blocks that a reader opens."""

    title: str
    blocks: tuple[Block, ...]
    opened: bool = False

    def html(self) -> str:
        opened = " open" if self.opened else ""
        return f'<details class="folded"{opened}><summary>{text(self.title)}</summary>{html_of(self.blocks)}</details>'

    def markdown(self) -> str:
        return f"**{plain(self.title)}**\n\n{markdown_of(self.blocks)}"

    @property
    def figures(self) -> tuple[Figure, ...]:
        return figures_of(self.blocks)


@dataclass(frozen=True)
class Switch(Block):
    """The same thing in several ways, of which the reader chooses one; print and Markdown show the first.

    Attributes:
        title: what is chosen, such as "Against".
        slug: names the switch within the page; switches of one slug change together.
        choices: the name and the blocks of each way.
    """

    title: str
    slug: str
    choices: tuple[tuple[str, tuple[Block, ...]], ...]

    def html(self) -> str:
        if len(self.choices) == 1:
            return html_of(self.choices[0][1])
        buttons, panels = [], []
        for place, (label, blocks) in enumerate(self.choices):
            chosen = "true" if place == 0 else "false"
            buttons.append(
                f'<button type="button" data-switch="{self.slug}" data-choice="{place}" aria-pressed="{chosen}">'
                f"{text(label)}</button>"
            )
            hidden = "" if place == 0 else " hidden"
            panels.append(f'<div data-panel="{self.slug}" data-choice="{place}"{hidden}>{html_of(blocks)}</div>')
        group = f'<div class="switch" role="group" aria-label="{text(self.title)}"><span>{text(self.title)}</span>'
        return f"{group}{''.join(buttons)}</div>{''.join(panels)}"

    def markdown(self) -> str:
        return markdown_of(self.choices[0][1])

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple(figure for _, blocks in self.choices for figure in figures_of(blocks))


def figures_of(blocks: Iterable[Block]) -> tuple[Figure, ...]:
    """All figures of the blocks in order."""
    return tuple(figure for block in blocks for figure in block.figures)


def _row_html(row: tuple[Cell, ...]) -> str:
    cells = [f'<th scope="row">{name(row[0].text)}</th>']
    for cell in row[1:]:
        detail = "".join(f' <span class="detail">{text(line)}</span>' for line in cell.detail.split("\n") if line)
        key = "" if cell.sort is None else f' data-sort="{float(cell.sort)!r}"'
        value = f"<strong>{name(cell.text)}</strong>" if cell.strong else name(cell.text)
        cells.append(f"<td{key}>{value}{detail}</td>")
    return "".join(cells)


def _cell(cell: Cell) -> str:
    value, detail = inside(cell.text), inside(cell.detail.replace("\n", "; "))
    value = f"**{value}**" if cell.strong else value
    return f"{value} ({detail})" if detail else value


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
