"""What a source of captioned images must offer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from rlcap.types import UserError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""What the names of image files end in."""


class UnreadableImageError(UserError):
    """An image that is missing or cannot be decoded; the message names its path."""


@dataclass(frozen=True)
class Record:
    """One image of a split.

    Attributes:
        image_id: unique in its data set.
        references: its reference captions as people wrote them.
        path: where the image lies; None for images made in memory.
        metadata: whatever else is known of it, such as its scene graph. What is plain is written beside its caption
            (:func:`rlcap.data.metadata.plain_metadata`), and reports group images by it: ``objects``, the objects in
            it (a list of names, or of mappings with a ``name``, as CHAIR reads them; or how many there are),
            ``categories``, what kinds of things they are (a list of strings), and any other scalar or list of strings.
    """

    image_id: str
    references: tuple[str, ...]
    path: Path | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class CaptionDataset(ABC):
    """A source of images with reference captions, divided into splits (usually train, val, test).

    Attributes:
        synonyms: groups of words that mean the same in it, besides those of WordNet.
    """

    synonyms: Sequence[Sequence[str]] = ()

    @abstractmethod
    def records(self, split: str) -> Sequence[Record]:
        """The images of a split, in a fixed order.

        Raises:
            UserError: if there is no such split; the message names those there are.
        """

    def open_image(self, record: Record) -> Image.Image:
        """The record's image in RGB. Called in the loader's worker processes.

        Raises:
            UnreadableImageError: if it is missing or corrupt.
        """
        if record.path is None:
            raise UnreadableImageError(f"image {record.image_id} has no path; its data set must override open_image")
        return read_image(record.path)


def read_image(path: Path) -> Image.Image:
    """The image of a file in RGB, upright, fully decoded (a truncated file is an error here, not later)."""
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "no such file" if not path.exists() else str(error) or type(error).__name__
        raise UnreadableImageError(f"cannot read image {path}: {reason}") from error
