"""Data sets in Karpathy's format: COCO, Flickr30k and Flickr8k with the splits that captioning papers compare on.

Karpathy and Fei-Fei 2015, https://cs.stanford.edu/people/karpathy/deepimagesent/: ``{"images": [{"filename", "split",
"sentences": [{"raw", ...}], "imgid", "filepath"?, "cocoid"?}]}``.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlcap.data.base import SUFFIXES, CaptionDataset, Record
from rlcap.data.metadata import is_plain
from rlcap.types import UserError

OWN = frozenset(["filename", "filepath", "cocoid", "imgid", "split", "sentences", "sentids"])
"""The format's own fields of an image."""
JOINED = {"restval": "train"}  # COCO: the part of val2014 that is neither val nor test, trained on as usual


class Karpathy(CaptionDataset):
    """Images and captions of a Karpathy-format file.

    References are the raw captions. The image id is COCO's (``cocoid``) where there is one, as its evaluation expects,
    else the file name without its ending. COCO's ``restval`` belongs to ``train``. An image is looked for under its
    name in the file and, when it is not there, under the same name with another ending, since people convert images.
    Other fields of an image that are scalars or lists of strings are its metadata.

    Args:
        annotations: the JSON file, gzipped when it ends in ``.gz``.
        images: the folder of the images, with the sub-folders the file names (``filepath``), if any.
    """

    def __init__(self, annotations: Path | str, images: Path | str) -> None:
        self.annotations = Path(annotations)
        self.images = Path(images)
        if not self.images.is_dir():
            raise UserError(f"images: no folder {self.images}")
        finder = _Finder(self.images)
        splits: dict[str, list[Record]] = {}
        seen: set[str] = set()
        for number, entry in enumerate(_read(self.annotations)):
            try:
                record = _record(entry, finder)
                split = JOINED.get(entry["split"], entry["split"])
            except (KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{self.annotations}: image number {number} is not in Karpathy's format: {error!r}"
                ) from error
            if record.image_id in seen:
                raise UserError(
                    f"{self.annotations}: image number {number} has the id {record.image_id!r} of an earlier one"
                )
            if not record.references:
                raise UserError(f"{self.annotations}: image {record.image_id!r} has no caption")
            seen.add(record.image_id)
            splits.setdefault(split, []).append(record)
        self._splits = {split: tuple(records) for split, records in splits.items()}

    def records(self, split: str) -> Sequence[Record]:
        """The images of a split, in the file's order."""
        if split not in self._splits:
            raise UserError(f"no split {split!r} in {self.annotations}; there are {', '.join(self._splits)}")
        return self._splits[split]


def _read(path: Path) -> Sequence[Any]:
    """The entries of the file."""
    try:
        content = path.read_bytes()
        found = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    except FileNotFoundError as error:
        raise UserError(f"annotations: no file {path}") from error
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"cannot read annotations {path}: {error}") from error
    entries = found.get("images") if isinstance(found, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UserError(
            f'{path} is not in Karpathy\'s format: it must hold {{"images": [...]}} with at least one image'
        )
    return entries


def _record(entry: Mapping[str, Any], finder: "_Finder") -> Record:
    name = entry["filename"]
    image_id = str(entry["cocoid"]) if "cocoid" in entry else Path(name).stem
    references = tuple(raw for sentence in entry["sentences"] if (raw := sentence["raw"].strip()))
    metadata = {key: value for key, value in entry.items() if key not in OWN and is_plain(value)}
    return Record(image_id, references, finder.find(Path(entry.get("filepath", "")) / name), metadata)


class _Finder:
    """Finds images by name; lists each folder once, since asking for 123,287 files one by one takes its time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._listed: dict[Path, tuple[frozenset[str], Mapping[str, str]]] = {}

    def find(self, name: Path) -> Path:
        """The image's path; a missing image keeps the path it should have, so that opening it says which it is."""
        path = self.folder / name
        if path.parent not in self._listed:
            found = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
            images = [file for file in reversed(found) if file.suffix.lower() in SUFFIXES]  # of many, the first stays
            self._listed[path.parent] = (
                frozenset(file.name for file in found),
                {file.stem: file.name for file in images},
            )
        names, by_stem = self._listed[path.parent]
        return path if path.name in names else path.with_name(by_stem.get(path.stem, path.name))
