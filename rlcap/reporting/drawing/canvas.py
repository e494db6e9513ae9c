"""Axes of the report's style, drawn by matplotlib: as SVG with numbers alone, names and keys standing around them."""

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

from rlcap.reporting.drawing.svg import INK, MUTED, RULE, Figure, bare, shorten

# Text stays text, and ids come from the content: the same runs give the same bytes.
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "rlcap", "text.usetex": False}
_LONG_NUMBER = re.compile(r"(\d\.\d\d)\d+")
_PATH = re.compile(r' d="[^"]*"')
_DOTS_PER_INCH = 200
# Room in points: beside the axes for the end's number or half a tick's, above for half a tick's.
_RIGHT, _TOP = 22, 12
_LINE = 18


def render(draw: Callable[[Any], None], width: int, height: int) -> str:
    """What the function draws on axes of the report's style, as SVG without its outer element."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(_STYLE):
        canvas = Canvas(figsize=(width / 72, height / 72))
        canvas.patch.set_visible(False)
        _draw(draw, canvas, width, height)
        text = io.StringIO()
        FigureCanvasSVG(canvas).print_svg(text, metadata={"Date": None, "Creator": None})
    # A hundredth of a point is more than a screen shows, and a third of the bytes of what matplotlib writes.
    return _PATH.sub(lambda path: _LONG_NUMBER.sub(r"\1", path[0]), bare(text.getvalue()))


def png(figure: Figure) -> bytes | None:
    """The figure as a PNG file, with its title and legend; None where it was not drawn on axes."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    if figure.draw is None:
        return None
    head = 26 + _LINE * len(figure.legend)
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # names may be of any script
        canvas = Canvas(figsize=(figure.width / 72, (figure.height + head) / 72), dpi=_DOTS_PER_INCH)
        parts: Any = canvas.subfigures(2, 1, height_ratios=(head, figure.height))
        words, drawing = parts
        _write_head(words, figure, head)
        _draw(figure.draw, drawing, figure.width, figure.height)
        content = io.BytesIO()
        FigureCanvasAgg(canvas).print_png(content, metadata={"Software": None})
    return content.getvalue()


def _write_head(words: Any, figure: Figure, head: int) -> None:
    """The title and a line of the legend for each mark; nothing in them is mathematics."""
    from matplotlib.lines import Line2D

    style = {"color": INK, "parse_math": False, "va": "center"}
    words.text(
        12 / figure.width, 1 - 15 / head, shorten(figure.title, figure.width // 8), fontsize=10, weight="bold", **style
    )
    for number, mark in enumerate(figure.legend):
        height = 1 - (36 + _LINE * number) / head
        ends = [12 / figure.width, 34 / figure.width]
        words.add_artist(Line2D(ends, [height, height], color=mark.colour, linewidth=2.5, linestyle=mark.line_style))
        words.text(42 / figure.width, height, shorten(mark.label, 60), fontsize=8.5, **style)


def _draw(draw: Callable[[Any], None], canvas: Any, width: int, height: int) -> None:
    """Draw on axes of the canvas that leave room for the numbers beside them.

    The room is reckoned from the numbers' lengths: matplotlib's own layouts take as long as the drawing.
    """
    axes = _axes(canvas)
    draw(axes)
    labels = axes.yaxis.get_major_formatter().format_ticks(axes.yaxis.get_majorticklocs())
    left = 12 + 6.2 * max(map(len, labels), default=0)
    bottom = 38 if axes.get_xlabel() else 24
    canvas.subplots_adjust(left / width, bottom / height, 1 - _RIGHT / width, 1 - _TOP / height)


def _axes(canvas: Any) -> Any:
    """Axes on the canvas, without frame, ticks or paper."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes = canvas.subplots()
    axes.patch.set_visible(False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(length=0, labelsize=10, labelcolor=MUTED, pad=5)
    axes.grid(axis="both", color=RULE, linewidth=0.7)
    axes.grid(axis="x", visible=False)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    return axes


def _tick(value: float) -> str:
    if abs(value) >= 1000:
        for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size:
                return f"{value / size:g}{suffix}".replace("-", "−")
    return f"{value:g}".replace("-", "−")


def slug_of(text: str) -> str:
    """The text as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "quantity"
