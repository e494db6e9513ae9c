"""An explained image: each method's caption of it, and for each word the image with what counted laid over it."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlcap.reporting.drawing.heat import Picture, draw_strip, placed
from rlcap.reporting.drawing.svg import Figure, Mark
from rlcap.reporting.page.blocks import Block, figures_of, html_of, markdown_of
from rlcap.reporting.page.escape import inside, name, plain, text
from rlcap.reporting.reading.explanations import Box


@dataclass(frozen=True)
class Strip:
    """One way to see which parts of the image counted for each word.

    Attributes:
        box: the part of the image that the overlays are of.
        overlays: of each word, as data: URIs.
        words: each with a number below it, empty where there is none.
        strengths: how much of each word came from the image, the most being 1; empty where unknown.
    """

    box: Box
    overlays: tuple[str, ...]
    words: tuple[tuple[str, str], ...]
    strengths: tuple[float, ...] = ()

    def html(self, picture: Picture, anchor: str) -> str:
        """The strip as HTML, over a picture that the page holds once under an anchor."""
        cells = []
        for place, ((word, detail), over) in enumerate(zip(self.words, self.overlays, strict=True)):
            beneath = f'<use href="#{anchor}"/>' if picture.uri else ""
            bar = ""
            if self.strengths:
                bar = f'<span class="strength"><span style="width:{100 * self.strengths[place]:.0f}%"></span></span>'
            cells.append(
                f'<li><svg viewBox="{picture.shape}" role="img" aria-label="{text(word)}">{beneath}'
                f'<image {placed(picture, self.box)} preserveAspectRatio="none" href="{over}"/></svg>'
                f'<span class="word">{name(word)}<small>{text(detail)}</small></span>{bar}</li>'
            )
        return f'<ol class="strip">{"".join(cells)}</ol>'

    def drawn(self, slug: str, title: str, picture: Picture) -> Figure:
        """The strip as a file of its own, the picture in it."""
        return draw_strip(slug, title, picture, self.box, self.overlays, self.words)


@dataclass(frozen=True)
class Explained:
    """A method's caption of the image.

    Attributes:
        place: of the method.
        mark: how it is drawn.
        slug: names its figures.
        caption: what it said.
        strips: the ways to see which parts counted, in the order of the section's switch; None where one is missing.
        more: its scene graph and transport plans.
    """

    place: int
    mark: Mark
    slug: str
    caption: str
    strips: tuple[Strip | None, ...]
    more: tuple[Block, ...]


@dataclass(frozen=True)
class ExplainedImage(Block):
    """An image with the explained captions of some methods.

    Attributes:
        image_id: the image.
        anchor: its picture's id in the page.
        picture: the image.
        switch: the name of the switch that the strips are panels of.
        methods: who captioned it.
    """

    image_id: str
    anchor: str
    picture: Picture
    switch: str
    methods: tuple[Explained, ...]

    def html(self) -> str:
        picture, head = self.picture, '<div class="blank">no picture</div>'
        if picture.uri:
            size = f'width="{picture.width}" height="{picture.height}"'
            head = (
                f'<svg class="whole" viewBox="{picture.shape}" role="img" aria-label="{text(self.image_id)}">'
                f'<defs><image id="{self.anchor}" {size} href="{picture.uri}"/></defs>'
                f'<use href="#{self.anchor}"/></svg>'
            )
        captions = "".join(
            f'<li><span class="by">{_dot(one.mark)}{one.place + 1} {name(one.mark.label)}</span>'
            f'<span class="caption">{text(one.caption)}</span></li>'
            for one in self.methods
        )
        methods = "".join(self._method(one) for one in self.methods)
        return (
            f'<article class="explained"><div class="explained-head">{head}<div><p class="id">{name(self.image_id)}</p>'
            f"<ul>{captions}</ul></div></div>{methods}</article>"
        )

    def _method(self, one: Explained) -> str:
        by = f'<p class="by">{_dot(one.mark)}{one.place + 1} {name(one.mark.label)}</p>'
        panels = "".join(
            f'<div data-panel="{self.switch}" data-choice="{choice}"{" hidden" if choice else ""}>'
            + (strip.html(self.picture, self.anchor) if strip else '<p class="quiet">not in the files</p>')
            + "</div>"
            for choice, strip in enumerate(one.strips)
        )
        return f'<div class="explained-method">{by}{panels}{html_of(one.more)}</div>'

    def markdown(self) -> str:
        lines = [f"**{plain(self.image_id, 300)}**"]
        for one in self.methods:
            lines.append(f"{one.place + 1} {inside(one.mark.label)}: {plain(one.caption)}")
            lines += [_link(figure) for figure in self._strip(one)]
            lines += filter(None, [markdown_of(one.more)])
        return "\n\n".join(lines)

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple(figure for one in self.methods for figure in (*self._strip(one), *figures_of(one.more)))

    def _strip(self, one: Explained) -> Sequence[Figure]:
        """The first strip as a file of its own, with the picture in it; the page holds the picture once for all."""
        strip = one.strips[0] if one.strips else None
        if strip is None:
            return ()
        title = f"{one.place + 1} {one.mark.label}: {one.caption}"
        return (strip.drawn(one.slug, title, self.picture),)


def _link(figure: Figure) -> str:
    return f"![{plain(figure.title, 300)}](figures/{figure.slug}.svg)"


def _dot(mark: Mark) -> str:
    return f'<span class="dot" style="background:{mark.paint}"></span>'


@dataclass(frozen=True)
class StripAlone(Block):
    """A strip by itself, over a picture that the page holds under an anchor."""

    slug: str
    title: str
    strip: Strip
    picture: Picture
    anchor: str

    def html(self) -> str:
        return self.strip.html(self.picture, self.anchor)

    def markdown(self) -> str:
        return _link(self.figures[0])

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (self.strip.drawn(self.slug, self.title, self.picture),)


@dataclass(frozen=True)
class ScrollingFigure(Block):
    """A figure in its own size, which scrolls where the page is narrower."""

    figure: Figure

    def html(self) -> str:
        return f'<div class="scroll"><figure style="width:{self.figure.width}px">{self.figure.inline()}</figure></div>'

    def markdown(self) -> str:
        return _link(self.figure)

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (self.figure,)
