"""One method's scores of images against another's: a dot for each image, above the diagonal where the one is higher.

Thousands of dots would weigh megabytes as shapes. They are counted on a fine grid and embedded as one small picture of
how much of each of its pixels they cover, which masks an area in the method's colour: the colour still is the page's.
"""

import base64
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from rlcap.reporting.drawing.svg import INK, MUTED, RULE, Figure, Mark
from rlcap.reporting.drawing.words import limits, ticked, ticks
from rlcap.reporting.tables import number

_WIDTH, _LEFT, _SIDE, _TOP, _FOOT = 360, 44, 300, 22, 40
# Pixels of the picture for each unit of the drawing; radius of a dot in pixels, and how much it hides.
_FINE, _RADIUS, _OPACITY = 2.5, 6.0, 0.42
# Differences within rounding are none.
_EQUAL = 1e-9


@dataclass(frozen=True)
class Sides:
    """On how many images one method's score is higher than, the same as and lower than another's."""

    above: int
    on: int
    below: int


def sides(across: Float[np.ndarray, " images"], up: Float[np.ndarray, " images"]) -> Sides:
    """How many images lie above, on and below the diagonal."""
    apart = up - across
    on = np.isclose(up, across, rtol=_EQUAL, atol=_EQUAL)
    return Sides(int((~on & (apart > 0)).sum()), int(on.sum()), int((~on & (apart < 0)).sum()))


def draw_scatter(
    slug: str,
    metric: str,
    across: tuple[int, Mark, Float[np.ndarray, " images"]],
    up: tuple[int, Mark, Float[np.ndarray, " images"]],
) -> Figure:
    """The dots of all images, the diagonal, and the means of both methods as dashed lines.

    Args:
        slug: the figure's file name.
        metric: what is compared.
        across: the place, the mark and the scores of the method whose scores lie along the horizontal axis.
        up: those of the other.
    """
    (first, first_mark, xs), (second, second_mark, ys) = across, up
    low, high = limits([float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())], 0.04)
    scale = _SIDE / (high - low)
    right, bottom = _LEFT + _SIDE, _TOP + _SIDE
    counted = sides(xs, ys)
    drawn = []
    for tick in ticks(low, high):
        x, y = _LEFT + (tick - low) * scale, bottom - (tick - low) * scale
        drawn.append(
            f'<path d="M {x:.1f} {_TOP} V {bottom} M {_LEFT} {y:.1f} H {right}" stroke="{RULE}" stroke-width="0.7"/>'
            f'<text x="{x:.1f}" y="{bottom + 15}" font-size="10" text-anchor="middle" fill="{MUTED}">'
            f"{ticked(tick)}</text>"
            f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" font-size="10" text-anchor="end" fill="{MUTED}">'
            f"{ticked(tick)}</text>"
        )
    box = f'x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}"'
    covered = _png(coverage((xs - low) * scale, (high - ys) * scale))
    drawn += [
        f'<path d="M {_LEFT} {bottom} L {right} {_TOP}" stroke="{MUTED}" stroke-width="1"/>',
        f'<mask id="dots" maskUnits="userSpaceOnUse" {box}><image {box} xlink:href="{covered}"/></mask>',
        f'<rect {box} fill="{second_mark.colour}" mask="url(#dots)"/>',
        f'<path d="M {_LEFT + (float(xs.mean()) - low) * scale:.1f} {bottom} V {_TOP}" '
        f'stroke="{first_mark.colour}" stroke-width="1.2" stroke-dasharray="4 3"/>',
        f'<path d="M {_LEFT} {bottom - (float(ys.mean()) - low) * scale:.1f} H {right}" '
        f'stroke="{second_mark.colour}" stroke-width="1.2" stroke-dasharray="4 3"/>',
        f'<text x="{_LEFT + 6}" y="{_TOP + 14}" font-size="11" fill="{INK}">{counted.above:,} above</text>',
        f'<text x="{right - 6}" y="{bottom - 8}" font-size="11" text-anchor="end" fill="{INK}">'
        f"{counted.below:,} below</text>",
        f'<text x="{right - 6}" y="{bottom + 31}" font-size="11" text-anchor="end" fill="{first_mark.colour}">'
        f"{first + 1} →</text>",
        f'<text x="{_LEFT}" y="{bottom + 31}" font-size="11" fill="{MUTED}">{counted.on:,} on the diagonal</text>',
        f'<text x="{_LEFT - 4}" y="{_TOP - 7}" font-size="11" fill="{second_mark.colour}">↑ {second + 1}</text>',
    ]
    return Figure(
        slug, f"{second + 1} {second_mark.label} against {first + 1} {first_mark.label}", "Image by image",
        "\n".join(drawn), _WIDTH, _TOP + _SIDE + _FOOT,
        (first_mark.numbered(first), second_mark.numbered(second)),
        f"{metric} of {len(xs):,} images, {second_mark.label} against {first_mark.label}: higher on {counted.above:,}, "
        f"the same on {counted.on:,}, lower on {counted.below:,}; means {number(float(ys.mean()))} and "
        f"{number(float(xs.mean()))}",
    )  # fmt: skip


def coverage(
    across: Float[np.ndarray, " images"], down: Float[np.ndarray, " images"]
) -> UInt8[np.ndarray, "pixels pixels"]:
    """How much of each pixel the dots hide, 255 being all of it; each hides a part of what the others left."""
    size = round(_SIDE * _FINE)
    columns, rows = ((places * _FINE).astype(np.int64).clip(0, size - 1) for places in (across, down))
    dots = np.zeros((size, size), np.int32)
    reach = int(np.ceil(_RADIUS))
    disc: Bool[np.ndarray, "side side"] = np.hypot(*np.ogrid[-reach : reach + 1, -reach : reach + 1]) <= _RADIUS
    for below, right in np.argwhere(disc) - reach:
        y, x = rows + below, columns + right
        inside = (y >= 0) & (y < size) & (x >= 0) & (x < size)
        np.add.at(dots, (y[inside], x[inside]), 1)
    # 32 shades are as good to the eye, and a third of the bytes.
    return (np.round((1 - (1 - _OPACITY) ** dots) * 31) / 31 * 255).astype(np.uint8)


def _png(pixels: UInt8[np.ndarray, "rows columns"]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
