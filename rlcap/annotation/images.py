"""The picture of each image id, from a table made at the start: no request names a file."""

import io
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from PIL import Image, ImageOps

from rewards.scoring.files import IMAGE_SUFFIXES, ByImage

Open = Callable[[], Image.Image]
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
_WIDEST = 1600
_MOST_PIXELS = 120_000_000


def images_in(folder: Path, ids: Iterable[str]) -> dict[str, Open]:
    """What opens each image of a folder and of the folders in it: files named by id, or by number as COCO's are."""
    top = sorted(folder.iterdir())
    inner = [file for inside in top if inside.is_dir() for file in sorted(inside.iterdir())]
    files: dict[str, Path] = {}
    for file in (*top, *inner):
        if file.suffix.lower() in IMAGE_SUFFIXES:
            files.setdefault(file.name, file)
    by_name = ByImage(files)
    numbers = {name.rpartition(".")[0][-12:]: file for name, file in reversed(files.items())}
    found: dict[str, Open] = {}
    for image in ids:
        path = by_name.get(image) or (numbers.get(image.zfill(12)) if image.isdecimal() else None)
        relative = PurePosixPath(image)
        if path is None and len(relative.parts) > 1 and not relative.is_absolute() and ".." not in relative.parts:
            whole = folder / image
            path = whole if whole.suffix.lower() in IMAGE_SUFFIXES and whole.is_file() else None
        if path is not None:
            found[image] = partial(open_file, path)
    return found


def thumbnails_in(folders: Sequence[Path], ids: Iterable[str]) -> dict[str, Open]:
    """What opens the thumbnail of each image that an evaluation kept."""
    found: dict[str, Open] = {}
    for image in ids:
        paths = (folder / f"{quote(image, safe='', errors='replace')}.jpg" for folder in folders)
        path = next((path for path in paths if path.is_file()), None)
        if path is not None:
            found[image] = partial(open_file, path)
    return found


def open_file(path: Path) -> Image.Image:
    """The image of a file in RGB, upright.

    Raises:
        OSError: if it is missing, or no image.
        ValueError: if it is damaged or too large.
    """
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > _MOST_PIXELS:
            raise ValueError(f"{path.name} has {image.width} x {image.height} pixels")
        image.draft("RGB", (_WIDEST, _WIDEST))
        return ImageOps.exif_transpose(image).convert("RGB")


def as_jpeg(image: Image.Image) -> bytes:
    """The image as a JPEG file that no screen is too small for; comments and profiles stay behind."""
    shown = image.convert("RGB")
    shown.thumbnail((_WIDEST, _WIDEST))
    shown.info.clear()
    content = io.BytesIO()
    shown.save(content, "JPEG", quality=92, subsampling=0)
    return content.getvalue()
