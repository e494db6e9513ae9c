"""Images with every method's caption of them, as cards that a reader sorts, filters and goes through by keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rlcap.reporting.drawing.svg import Mark
from rlcap.reporting.page.blocks import Block
from rlcap.reporting.page.escape import item, name, plain, text
from rlcap.reporting.page.legend import swatch
from rlcap.reporting.tables import number

# So many examples stand in Markdown.
_IN_MARKDOWN = 6
# More methods than this stand below one another, one image in a row.
_MOST_SIDE_BY_SIDE = 3


@dataclass(frozen=True)
class Line:
    """A method's caption of an image.

    Attributes:
        method: the method's place.
        words: of the caption, each with whether it differs.
        score: of the main metric.
        gain: the score's difference from the baseline's; None for the baseline and where scores are not comparable.
        scores: all scores by metric.
        samples: captions that were sampled besides.
        comparable: whether the score can be compared with those of other methods.
    """

    method: int
    words: tuple[tuple[str, bool], ...]
    score: float | None = None
    gain: float | None = None
    scores: tuple[tuple[str, float], ...] = ()
    samples: tuple[str, ...] = ()
    comparable: bool = True


@dataclass(frozen=True)
class Example:
    """An image.

    Attributes:
        image_id: its id.
        picture: a data: URI, empty where there is no readable thumbnail.
        reason: why it is shown.
        lines: what each method said of it.
        references: what people said of it.
        disagreement: its place among the examples where those on which methods disagree most come first.
    """

    image_id: str
    picture: str
    reason: str
    lines: tuple[Line, ...]
    references: tuple[str, ...]
    disagreement: int


@dataclass(frozen=True)
class Cards(Block):
    """The gallery.

    Attributes:
        marks: of the methods that captioned the images, by their places.
        baseline: the place of the method that gains are over.
        best: the place of the method that is shown against it at first.
        better: -1 where a lower score is better.
        examples: in the order of print.
    """

    marks: tuple[tuple[int, Mark], ...]
    baseline: int
    best: int
    better: int
    examples: tuple[Example, ...]

    def html(self) -> str:
        kind = "gallery" if len(self.marks) <= _MOST_SIDE_BY_SIDE else "gallery many"
        cards = "".join(self._card(place, example) for place, example in enumerate(self.examples))
        return (
            f'<div class="{kind}" data-better="{self.better}" data-baseline="{self.baseline}">'
            f'{self._controls()}<div class="cards">{cards}</div>'
            '<p class="nothing quiet" hidden>No image is left: loosen the filters or start again.</p>'
            '<button type="button" class="further" hidden></button></div>'
        )

    def markdown(self) -> str:
        names = dict(self.marks)
        parts = []
        for example in self.examples[:_IN_MARKDOWN]:
            lines = []
            for line in example.lines:
                score = "" if line.score is None else f" ({number(line.score)})"
                caption = " ".join(word for word, _ in line.words) or "no words"
                lines.append(item(f"{names[line.method].label}{score}: {caption}"))
            if example.references:
                lines.append(item(f"a reference: {example.references[0]}"))
            reason = f", {plain(example.reason)}" if example.reason else ""
            parts.append(f"**{plain(example.image_id, 200)}**{reason}\n\n" + "\n".join(lines))
        return "\n\n".join(parts)

    def _controls(self) -> str:
        """What only the script can do, hidden until it has started."""
        several = len(self.marks) > 1
        orders = [("chosen", "As chosen"), ("id", "Image id"), ("random", "Random order")]
        if any(line.score is not None for example in self.examples for line in example.lines):
            orders[1:1] = [("score", "Highest score"), ("low", "Lowest score")]
        if several:
            orders[1:1] = [("gain", "Largest gain"), ("loss", "Largest loss"), ("disagreement", "Disagreement")]
        pickers = _select("Sort by", "sort", orders)
        methods = [(str(place), f"{place + 1} {mark.label}") for place, mark in self.marks]
        if several:
            kept = [("all", "All images"), ("gain", "Only gains"), ("loss", "Only losses"), ("words", "Words changed")]
            pickers += _select("Method", "method", methods, str(self.best))
            pickers += _select("Against", "other", methods, str(self.baseline)) + _select("Show", "kept", kept)
        else:
            pickers += _select("Method", "method", methods, str(self.best), " hidden")
        search = (
            '<label class="find">Find<input type="search" data-control="find" autocomplete="off" spellcheck="false" '
            'placeholder="words of captions or references"></label>'
        )
        buttons = "".join(
            f'<button type="button" data-method="{place}" aria-pressed="true">{swatch(mark)}<b>{place + 1}</b> '
            f"{name(mark.label)}</button>"
            for place, mark in self.marks
        )
        methods_shown = f'<div class="shown" role="group" aria-label="Methods shown">{buttons}</div>' if several else ""
        return (
            f'<div class="controls" role="group" aria-label="Gallery" hidden><div class="pickers">{pickers}{search}'
            f"</div>{methods_shown}"
            '<p class="count"><output aria-live="polite"></output>'
            '<button type="button" data-control="again">Start again</button>'
            "<span>On a card: arrow keys or j and k to move, Enter for the references</span></p></div>"
        )

    def _card(self, place: int, example: Example) -> str:
        alternative = f'alt="Image {text(example.image_id)}"'
        picture = f'<img src="{example.picture}" {alternative}>' if example.picture else "<span>no picture</span>"
        marks = dict(self.marks)
        lines = "".join(self._line(line, marks[line.method]) for line in example.lines)
        return (
            f'<article class="card{"" if example.picture else " bare"}" data-place="{place}" '
            f'data-id="{text(example.image_id)}" data-disagreement="{example.disagreement}" '
            f'aria-label="Image {text(example.image_id)}"><div class="picture">{picture}</div><div class="said">'
            f'<p class="identity"><bdi class="id">{text(example.image_id)}</bdi><span class="why">'
            f'{text(example.reason)}</span></p><div class="lines">{lines}</div>'
            f'<div class="more">{_references(example)}{self._samples(example)}{self._scores(example)}</div>'
            "</div></article>"
        )

    def _line(self, line: Line, mark: Mark) -> str:
        known = f' data-score="{line.score!r}"' if line.comparable and line.score is not None else ""
        score = "" if line.score is None else f'<span class="score">{number(line.score)}</span>'
        gain = ""
        if line.gain is not None:
            kind = "better" if self.better * line.gain > 0 else "worse" if line.gain else "same"
            gain = f'<span class="gain {kind}">{number(line.gain, sign=True)}</span>'
        elif known and len(self.marks) > 1:
            gain = '<span class="gain"></span>'
        kind = "line" if line.method == self.baseline else "line later"
        return (
            f'<div class="{kind}" data-method="{line.method}"{known}>'
            f'<p class="by">{swatch(mark)}<b>{line.method + 1}</b> {name(mark.label)}</p>'
            f'<p class="numbers">{score}{gain}</p><p class="caption" dir="auto">{_marked(line.words)}</p></div>'
        )

    def _samples(self, example: Example) -> str:
        marks = dict(self.marks)
        parts = [
            f'<div data-method="{line.method}"><p class="by">{swatch(marks[line.method])}<b>{line.method + 1}</b> '
            f"{name(marks[line.method].label)}</p>{_list(line.samples)}</div>"
            for line in example.lines
            if line.samples
        ]
        return f"<details><summary>Samples</summary>{''.join(parts)}</details>" if parts else ""

    def _scores(self, example: Example) -> str:
        """All scores of the captions, where there are more than those on the card."""
        metrics = list(dict.fromkeys(metric for line in example.lines for metric, _ in line.scores))
        if len(metrics) < 2:
            return ""
        marks = dict(self.marks)
        head = "".join(f'<th scope="col">{name(metric)}</th>' for metric in metrics)
        rows = []
        for line in example.lines:
            own = dict(line.scores)
            cells = "".join(f"<td>{number(own.get(metric))}</td>" for metric in metrics)
            rows.append(
                f'<tr data-method="{line.method}"><th scope="row">{name(marks[line.method].label)}</th>{cells}</tr>'
            )
        return (
            '<details><summary>All scores</summary><div class="scroll"><table><thead><tr><th scope="col">Method</th>'
            f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
        )


def _select(label: str, control: str, choices: Sequence[tuple[str, str]], chosen: str = "", hidden: str = "") -> str:
    options = "".join(
        f'<option value="{value}"{" selected" if value == chosen else ""}>{text(shown)}</option>'
        for value, shown in choices
    )
    return f'<label{hidden}>{label}<select data-control="{control}" autocomplete="off">{options}</select></label>'


def _references(example: Example) -> str:
    if not example.references:
        return ""
    count = len(example.references)
    title = "1 reference" if count == 1 else f"{count} references"
    return f'<details class="references"><summary>{title}</summary>{_list(example.references)}</details>'


def _list(captions: Sequence[str]) -> str:
    return "<ul>" + "".join(f'<li dir="auto">{text(caption)}</li>' for caption in captions) + "</ul>"


def _marked(words: Sequence[tuple[str, bool]]) -> str:
    """The words, those that differ and follow one another within one mark."""
    parts = []
    for differs, group in groupby(words, key=lambda word: word[1]):
        joined = text(" ".join(word for word, _ in group))
        parts.append(f"<mark>{joined}</mark>" if differs else joined)
    return " ".join(parts)
