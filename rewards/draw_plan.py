"""Transport plans as pictures: SVG text that stands alone or inside a page, in light and dark."""

import base64
import hashlib
import html
import io
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image

from rewards.base import RewardError

CELL = 34.0  # pixels
GAP = 2.0
FONT = 13
LETTER = 0.58 * FONT  # the width of most letters, at most
SLANT = 0.7071  # of column labels, at 45 degrees
LONGEST_LABEL = 22  # letters; the tooltips have the whole word
TURN = 0.7  # the share from which on light numbers read better than dark ones, or dark ones in the dark
TILE = 132.0  # a picture of patches
SHOWN = 320  # pixels of the image under the patches, at most
FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML

STYLE = """
.rewards-plan {
  --surface: #ffffff; --ink: #1f2328; --soft: #59636e; --line: #e4e8ec;
  --mass: #003c8f; --over: #05080c; --on: #ffffff;
}
@media (prefers-color-scheme: dark) {
  .rewards-plan {
    --surface: #14181d; --ink: #e6edf3; --soft: #9aa5b1; --line: #2a3138;
    --mass: #5ea4e8; --over: #ffffff; --on: #030a12;
  }
}
.rewards-plan text { font: 13px system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif; fill: var(--ink); }
.rewards-plan .axis { fill: var(--soft); font-size: 12px; }
.rewards-plan .number {
  fill: var(--over); font-size: 11px; text-anchor: middle; font-variant-numeric: tabular-nums;
}
.rewards-plan .on { fill: var(--on); }
.rewards-plan .surface { fill: var(--surface); }
.rewards-plan .empty { fill: none; stroke: var(--line); }
.rewards-plan .mass { fill: var(--mass); }
"""


def draw_plan(
    plan: Float[np.ndarray, "rows columns"],
    rows: Sequence[str],
    columns: Sequence[str],
    row_name: str = "caption",
    column_name: str = "reference",
) -> str:
    """A heat map as SVG: how the mass of each row's word is shared among the columns' words, in per cent.

    A row of the picture adds up to 100, whatever the word weighs. The tooltip of a cell gives the mass itself.

    Args:
        plan: the mass moved from each row to each column.
        rows: the words of the caption.
        columns: the words of the reference.
        row_name: what the rows are.
        column_name: what the columns are.
    """
    _check(plan, rows, columns)
    shares = _shares(plan)
    left = max(_width([_short(row) for row in rows]), _width([row_name])) + 20
    top = SLANT * max(_width([_short(column) for column in columns]), 3 * FONT) + 40
    width = left + len(columns) * CELL + SLANT * _width([_short(column) for column in columns[-3:]]) + 20
    height = top + len(rows) * CELL + 12
    width = max(width, left + _width([column_name]) + 20)
    drawn = [
        f'<text class="axis" x="{left}" y="18">{_text(column_name)} →</text>',
        f'<text class="axis" x="{left - 10}" y="{top - 8:.1f}" text-anchor="end">{_text(row_name)} ↓</text>',
    ]
    for place, column in enumerate(columns):
        x, y = left + (place + 0.5) * CELL, top - 8
        drawn.append(
            f'<text transform="translate({x:.1f} {y:.1f}) rotate(-45)"><title>{_text(column)}</title>'
            f"{_text(_short(column))}</text>"
        )
    for line, row in enumerate(rows):
        y = top + line * CELL
        drawn.append(
            f'<text x="{left - 10}" y="{y + CELL / 2 + 4:.1f}" text-anchor="end"><title>{_text(row)}</title>'
            f"{_text(_short(row))}</text>"
        )
        for place, column in enumerate(columns):
            share = float(shares[line, place])
            told = f"{row} → {column}: {share:.0%} of the word, mass {plan[line, place]:.4f}"
            drawn.append(_cell(left + place * CELL, y, share, told))
    return _svg(width, height, f"Transport plan: {row_name} to {column_name}", drawn)


def draw_patches(
    plan: Float[np.ndarray, "rows patches"],
    rows: Sequence[str],
    grid: tuple[int, int],
    image: Image.Image | None = None,
    across: int = 5,
) -> str:
    """One small picture per word as SVG: the patches of the image its mass went to.

    A patch is the darker the larger its share of the word, and as dark as it gets for the largest share of all words.

    Args:
        plan: the mass moved from each row to each patch, patches row by row.
        rows: the words of the caption.
        grid: how many rows and columns of patches there are.
        image: drawn beneath, its middle cut to the shape of the grid as CLIP's image processor does.
        across: how many pictures stand in a line.
    """
    high, wide = grid
    _check(plan, rows, range(high * wide))
    shares = _shares(plan)
    darkest = shares.max(initial=0.0) or 1.0
    tall = TILE * high / wide
    side = TILE / wide
    drawn = []
    beneath = ""
    if image is not None:
        uri = _jpeg(image, grid)
        beneath = f'<use href="#{_anchor(uri)}" opacity="0.55"/>'
        drawn.append(f'<defs><image id="{_anchor(uri)}" width="{TILE}" height="{tall:.2f}" href="{uri}"/></defs>')
    for line, row in enumerate(rows):
        x, y = 12 + line % across * (TILE + 14), 12 + line // across * (tall + 34)
        drawn.append(f'<text x="{x}" y="{y + FONT:.1f}"><title>{_text(row)}</title>{_text(_short(row, TILE))}</text>')
        drawn.append(f'<g transform="translate({x} {y + 20:.2f})">{beneath}')
        for place in range(high * wide):
            share = float(shares[line, place])
            told = f"{row} → row {place // wide + 1}, column {place % wide + 1}: {share:.1%} of the word"
            drawn.append(
                f'<rect class="mass" x="{place % wide * side:.2f}" y="{place // wide * side:.2f}" width="{side:.2f}" '
                f'height="{side:.2f}" fill-opacity="{0.85 * share / darkest:.3f}"><title>{_text(told)}</title></rect>'
            )
        drawn.append(f'<rect class="empty" width="{TILE}" height="{tall:.2f}"/></g>')
    lines = -(-len(rows) // across)
    width = 24 + max(min(len(rows), across), 1) * (TILE + 14) - 14
    return _svg(width, 12 + lines * (tall + 34), "Transport plan: words to patches", drawn)


def _check(plan: Float[np.ndarray, "rows columns"], rows: Sequence[str], columns: Sequence[object]) -> None:
    if plan.shape != (len(rows), len(columns)):
        raise RewardError(
            f"a plan of shape {plan.shape} does not fit {len(rows)} rows and {len(columns)} columns: give one name each"
        )
    if not (np.isfinite(plan) & (plan >= 0)).all():
        raise RewardError(f"a plan holds masses of 0 or more, got {plan.min()}")


def _shares(plan: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """The part of each row's mass that goes to each column; 0 in a row without mass."""
    mass = plan.sum(axis=1, keepdims=True)
    shares: Float[np.ndarray, "rows columns"] = np.divide(plan, mass, out=np.zeros_like(plan), where=mass > 0)
    return shares


def _cell(x: float, y: float, share: float, told: str) -> str:
    side = CELL - GAP
    box = f'x="{x:.1f}" y="{y:.1f}" width="{side}" height="{side}" rx="3"'
    number = ""
    if share >= 0.005:
        side_of_ink = "number on" if share > TURN else "number"
        number = (
            f'<text class="{side_of_ink}" x="{x + side / 2:.1f}" y="{y + side / 2 + 4:.1f}">{100 * share:.0f}</text>'
        )
    return (
        f'<g><title>{_text(told)}</title><rect class="surface" {box}/><rect class="mass" {box} '
        f'fill-opacity="{share:.3f}"/><rect class="empty" {box}/>{number}</g>'
    )


def _svg(width: float, height: float, title: str, drawn: Sequence[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="rewards-plan" role="img" {size}>',
            f"<title>{_text(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="surface" width="{width:.0f}" height="{height:.0f}"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def _text(text: str) -> str:
    """Text as XML holds it: escaped, and without the characters it cannot hold."""
    return html.escape(FORBIDDEN.sub("\ufffd", text))


def _short(text: str, room: float | None = None) -> str:
    letters = LONGEST_LABEL if room is None else int(room / LETTER)
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _width(texts: Sequence[str]) -> float:
    """The room the longest text takes; Chinese, Japanese and Korean characters are twice as wide."""
    return max(
        (sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text) * LETTER for text in texts),
        default=0.0,
    )


def _anchor(uri: str) -> str:
    """A name for the image that differs between the images of a page."""
    return f"image-{hashlib.blake2b(uri.encode(), digest_size=6).hexdigest()}"


def _jpeg(image: Image.Image, grid: tuple[int, int]) -> str:
    """The middle of the image, as tall to its width as the grid, as a data URI."""
    high, wide = grid
    side = min(image.width / wide, image.height / high)
    width, height = side * wide, side * high
    left, top = (image.width - width) / 2, (image.height - height) / 2
    shrink = min(1.0, SHOWN / max(width, height))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    middle = image.convert("RGB").resize(size, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
    file = io.BytesIO()
    middle.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
