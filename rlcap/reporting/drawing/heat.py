"""How much each part of an image counted, as a small half-transparent picture to lay over it."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from PIL import Image

from rlcap.reporting.drawing.svg import INK, MUTED, Figure
from rlcap.reporting.drawing.words import fit, safe
from rlcap.reporting.reading.explanations import Box

# Shades of the overlay; more are no use to the eye, and each weighs four bytes in every picture.
_SHADES = 24
# Cells are drawn with about so many pixels, from which the viewer goes on.
_PIXELS = 40
# How much of the image the least and the most relevant parts hide: both dark and light pictures show through.
_LEAST, _MOST = 0.42, 0.7
_ACROSS, _CELL, _GAP, _FOOT = 6, 132, 10, 34


@dataclass(frozen=True)
class Picture:
    """An image as a data: URI, empty where it cannot be shown, and its size in pixels."""

    uri: str
    width: int
    height: int

    @property
    def shape(self) -> str:
        """Its size as the view box of a drawing."""
        return f"0 0 {self.width} {self.height}"


def upsampled(heat: Float[np.ndarray, "rows columns"], pixels: int = _PIXELS) -> Float[np.ndarray, "_high _wide"]:
    """The grid with about so many pixels on its longer side, bilinear between the middles of its cells."""
    factor = max(1, -(-pixels // max(heat.shape)))
    size = heat.shape[1] * factor, heat.shape[0] * factor
    grid = Image.fromarray(heat.astype(np.float32))
    return np.asarray(grid.resize(size, Image.Resampling.BILINEAR), np.float64)


def overlay(heat: Float[np.ndarray, "rows columns"]) -> str:
    """The grid, from 0 to 1, as a data: URI of a PNG: dark where nothing counted, yellow where the most did."""
    colours, opacity = _shades()
    shade = np.round(upsampled(heat).clip(0, 1) * (_SHADES - 1)).astype(np.uint8)
    picture = Image.fromarray(shade)
    picture.putpalette(colours)
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=opacity, optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


@lru_cache(maxsize=1)
def _shades() -> tuple[bytes, bytes]:
    """Red, green and blue of each shade, and how much it hides."""
    from matplotlib import colormaps

    steps = np.linspace(0, 1, _SHADES)
    colours = np.round(colormaps["inferno"](0.9 * steps)[:, :3] * 255).astype(np.uint8)
    opacity = np.round((_LEAST + (_MOST - _LEAST) * steps) * 255).astype(np.uint8)
    return colours.tobytes(), opacity.tobytes()


def placed(picture: Picture, box: Box) -> str:
    """Where a part of a picture lies in it, as attributes of an SVG element."""
    left, top, right, bottom = box
    return (
        f'x="{left * picture.width:.2f}" y="{top * picture.height:.2f}" '
        f'width="{(right - left) * picture.width:.2f}" height="{(bottom - top) * picture.height:.2f}"'
    )


def draw_strip(
    slug: str, title: str, picture: Picture, box: Box, overlays: Sequence[str], words: Sequence[tuple[str, str]]
) -> Figure:
    """The picture once for each word, with its overlay, and below it the word and a number, as a file of its own.

    Args:
        slug: the figure's file name.
        title: what the caption is.
        picture: beneath.
        box: the part of the picture that the overlays are of.
        overlays: of each word.
        words: each with what stands below it.
    """
    tall = _CELL * picture.height / picture.width
    drawn = []
    if picture.uri:
        image = f'<image id="picture" width="{picture.width}" height="{picture.height}" xlink:href="{picture.uri}"/>'
        drawn.append(f"<defs>{image}</defs>")
    for place, ((word, detail), over) in enumerate(zip(words, overlays, strict=True)):
        x, y = place % _ACROSS * (_CELL + _GAP) + 12, place // _ACROSS * (tall + _FOOT + _GAP) + 6
        beneath = '<use xlink:href="#picture"/>' if picture.uri else ""
        drawn.append(
            f'<svg x="{x:.1f}" y="{y:.1f}" width="{_CELL}" height="{tall:.1f}" viewBox="{picture.shape}">{beneath}'
            f'<image {placed(picture, box)} preserveAspectRatio="none" xlink:href="{over}"/></svg>'
            f'<text x="{x:.1f}" y="{y + tall + 15:.1f}" font-size="12" fill="{INK}">'
            f"{safe(fit(word, _CELL, 12), 60)}</text>"
            f'<text x="{x:.1f}" y="{y + tall + 28:.1f}" font-size="10" fill="{MUTED}">{safe(detail, 40)}</text>'
        )
    lines = -(-len(words) // _ACROSS)
    width = 24 + min(max(len(words), 1), _ACROSS) * (_CELL + _GAP) - _GAP
    height = round(12 + lines * (tall + _FOOT + _GAP))
    return Figure(slug, title, "Explanations", "\n".join(drawn), width, height, (), f"Which parts counted: {title}")
