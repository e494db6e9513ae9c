"""Thumbnails as small pictures within a page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from rlcap.reporting.reading.files import Source, SourceError

_MOST_PIXELS = 40_000_000
_MOST_BYTES = 2**25
# The widest side in pixels and the quality of JPEG, tried one after the other until all pictures fit.
SIZES = ((320, 82), (320, 68), (256, 68), (208, 62), (160, 55))


@dataclass(frozen=True)
class Pictures:
    """A data: URI for each image, empty where there is no picture, and what was done to make them fit."""

    uris: tuple[str, ...]
    note: str = ""


def embed(thumbnails: Sequence[Sequence[Source]], megabytes: float) -> Pictures:
    """Of each image the first thumbnail that can be read, together of at most so many megabytes.

    Pictures become smaller and coarser until all fit; where even the smallest do not, the first images have one.
    """
    most = int(megabytes * 1e6)
    for widest, quality in SIZES:
        uris = _up_to(thumbnails, widest, quality, most)
        if len(uris) == len(thumbnails):
            note = f"Pictures are at most {widest} pixels wide and high, in JPEG of quality {quality}"
            coarser = (widest, quality) != SIZES[0] and any(uris)
            return Pictures(tuple(uris), f"{note}, to fit into {megabytes:g} MB." if coarser else "")
    shown = sum(map(bool, uris))
    return Pictures(
        (*uris, *[""] * (len(thumbnails) - len(uris))),
        f"Into {megabytes:g} MB fit the pictures of the first {shown:,} images, at most {widest} pixels wide and high.",
    )


def _up_to(thumbnails: Sequence[Sequence[Source]], widest: int, quality: int, most: int) -> list[str]:
    """The pictures of the first images, as many as fit."""
    uris: list[str] = []
    size = 0
    for sources in thumbnails:
        found = (picture_uri(source, widest, quality) for source in sources)
        uri = next((uri for uri in found if uri), "")
        size += len(uri)
        if size > most:
            break
        uris.append(uri)
    return uris


def picture_uri(source: Source, widest: int = SIZES[0][0], quality: int = SIZES[0][1]) -> str:
    """The image of a file, decoded and written anew as a small JPEG in a data: URI; empty if it cannot be read."""
    try:
        with source.open(_MOST_BYTES) as file, Image.open(file, formats=("JPEG", "PNG", "WEBP")) as image:
            if image.width * image.height > _MOST_PIXELS:
                return ""
            small = image.convert("RGB")
    except (SourceError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
    small.thumbnail((widest, widest))
    small.info.clear()  # comments and profiles stay behind
    content = io.BytesIO()
    small.save(content, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")
