"""Text and numbers on figures that are drawn without matplotlib."""

from collections.abc import Sequence
from unicodedata import east_asian_width

from rlcap.reporting.drawing.svg import shorten

# Mean width of a letter over the size of the font; most words are narrower.
_LETTER = 0.56
# What markup is made of, and what inlining a figure would rewrite: colours, and links to ids.
_ENTITIES = {ord(sign): f"&#{ord(sign)};" for sign in "&<>\"'#("}


def safe(text: str, longest: int) -> str:
    """A text from a file as SVG holds it: one line, cut, escaped, and no part that inlining a figure would rewrite."""
    return shorten(text, longest).translate(_ENTITIES)


def width_of(text: str, size: int) -> float:
    """About how wide a text is; Chinese, Japanese and Korean characters are twice as wide as others."""
    return sum(2.0 if east_asian_width(letter) in "WF" else 1.0 for letter in text) * _LETTER * size


def fit(text: str, room: float | int, size: int) -> str:
    """As much of the text as there is room for, on one line."""
    length = len(text)
    while length > 1 and width_of(shorten(text, length), size) > room:
        length -= 1
    return shorten(text, length)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers within the limits, at equal distances."""
    from matplotlib.ticker import MaxNLocator

    return [
        float(tick)
        for tick in MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        if low <= tick <= high
    ]


def ticked(value: float) -> str:
    """A tick's number with a true minus."""
    return f"{value:g}".replace("-", "−")


def limits(values: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
    """From a little below the smallest to a little above the largest value."""
    low, high = min(values), max(values)
    room = margin * (high - low) or 0.05 * max(abs(high), 1e-9)
    return low - room, high + room
