"""Which part of an image its pixel values show, whatever the image processor does to resize, crop or pad it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rlcap.models import ProcessImages

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as shares of the image's width and height."""

SNAP = 0.004  # what eight bits and resampling leave unsure


def shown_box(process_images: ProcessImages, size: tuple[int, int]) -> Box:
    """The part of images of a size, width and height, that the pixel values show; beyond 0 or 1 where it is padded.

    It is found out by looking at pictures that grow lighter from left to right, or from top to bottom: pixel values
    are of the first degree in brightness, and so tell where in the image they are from.
    """
    width, height = size
    dark, light, across, down = (
        values.mean(axis=0, dtype=np.float64)  # over channels
        for values in process_images(
            [
                Image.new("RGB", size, (0, 0, 0)),
                Image.new("RGB", size, (255, 255, 255)),
                Image.fromarray(_ramp(width, height)).convert("RGB"),
                Image.fromarray(_ramp(height, width).T.copy()).convert("RGB"),
            ]
        ).numpy()
    )
    rows, columns = (slice(side // 4, side - side // 4) for side in dark.shape)  # the edges may be padding
    range_ = (light - dark)[rows, columns]
    left, right = _ends((across - dark)[rows, columns] / range_, columns, dark.shape[1], axis=0)
    top, bottom = _ends((down - dark)[rows, columns] / range_, rows, dark.shape[0], axis=1)
    return left, top, right, bottom


def _steps(side: int) -> NDArray[np.float64]:
    """Where each pixel's middle is, as a share of the side."""
    return (np.arange(side) + 0.5) / side


def _ramp(long: int, across: int) -> NDArray[np.uint8]:
    """Rows that grow lighter, rounded up or down in turn, so that their mean is finer than the 256 steps of each."""
    golden = 0.5 * (5**0.5 - 1)  # whose multiples are spread evenly, however many
    dither = np.arange(across)[:, None] * golden % 1
    return np.floor(255 * _steps(long)[None] + dither).clip(max=255).astype(np.uint8)


def _ends(shares: NDArray[np.float64], pixels: slice, side: int, axis: int) -> tuple[float, float]:
    """Where the first pixel begins and the last one ends, from where those in the middle are."""
    slope, start = np.polyfit(_steps(side)[pixels], shares.mean(axis=axis), 1)
    first, last = (round(float(end), 3) for end in (start, start + slope))
    return (0.0 if abs(first) < SNAP else first), (1.0 if abs(last - 1) < SNAP else last)
