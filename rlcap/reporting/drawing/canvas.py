"""Axes of the report's style, drawn by matplotlib with numbers alone: names and keys from files stand around them."""

import io
import re
from collections.abc import Callable
from typing import Any

from rlcap.reporting.drawing.svg import MUTED, RULE, bare


def render(draw: Callable[[Any], None], width: int, height: int) -> str:
    """What the function draws on axes of the report's style, as SVG without its outer element."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    # Text stays text, and ids come from the content: the same runs give the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rlcap", "text.usetex": False}):
        canvas = Canvas(figsize=(width / 72, height / 72), layout="constrained")
        canvas.patch.set_visible(False)
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
        draw(axes)
        text = io.StringIO()
        FigureCanvasSVG(canvas).print_svg(text, metadata={"Date": None, "Creator": None})
    return bare(text.getvalue())


def _tick(value: float) -> str:
    if abs(value) >= 1000:
        for size, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size:
                return f"{value / size:g}{suffix}".replace("-", "−")
    return f"{value:g}".replace("-", "−")


def slug_of(text: str) -> str:
    """The text as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "quantity"
