"""Captions, references and images as files hold them.

Captions are COCO results (``[{"image_id": 42, "caption": "a dog"}, ...]``), JSON lines such as ``predictions.jsonl`` of
an evaluation, a CSV or TSV file with the columns ``image_id`` (or ``image``) and ``caption``, or plain text with one
caption per line. References are ``{"42": ["a dog", ...]}``, COCO annotations (``{"annotations": [{"image_id": 42,
"caption": "a dog"}, ...]}``), a Karpathy-format file, JSON lines, CSV or TSV with a row per reference, or plain text
files of which line i belongs to line i of the captions. Any of them may be gzipped. Image ids are numbers or text and
are compared as text, with or without the ending of an image's file.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

from rewards.base import Candidates, OpenedWhenRead, RewardError
from rewards.scoring.result import open_image
from rewards.scoring.tables import (
    Caption,
    captions_of_json_lines,
    captions_of_object,
    captions_of_table,
    kind,
    read_bytes,
    read_lines,
)

RESULTS = '[{"image_id": ..., "caption": "..."}, ...]'
REFERENCES = '{"<image id>": ["...", ...]} or COCO annotations, {"annotations": [{"image_id": ..., "caption": "..."}]}'
IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
TEXT = ".txt"
TABLES = {".csv": captions_of_table, ".tsv": captions_of_table, ".jsonl": captions_of_json_lines}

_T = TypeVar("_T")


class ByImage(Generic[_T]):
    """Something for each image, found by its id, with or without the folder and the ending of the image's file."""

    def __init__(self, known: Mapping[str, _T]) -> None:
        self.known = known
        stems = [_stem(image) for image in known]
        times = Counter(stems)
        self.by_stem = {stem: image for stem, image in zip(stems, known, strict=True) if times[stem] == 1}

    def id_of(self, image: str) -> str | None:
        """The id as it is known; None if it is not."""
        return image if image in self.known else self.by_stem.get(_stem(image))

    def get(self, image: str) -> _T | None:
        """What belongs to the image."""
        known = self.id_of(image)
        return None if known is None else self.known[known]


def _stem(image: str) -> str:
    path = PurePosixPath(image)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else image


# --- captions


def read_candidates(
    captions: Path | Sequence[Caption],
    references: Path | Sequence[Path] | None = None,
    images: Path | None = None,
    name: str | None = None,
) -> Candidates:
    """The captions of one file with the references and images that belong to them; an image may have several captions.

    Args:
        captions: the file, or its captions.
        references: the file of references, or several plain text files; None leaves those beside the captions, if any.
        images: the folder of the images, which are opened when a reward reads them.
        name: what errors call the captions; None is their file.

    Raises:
        RewardError: if a file is missing or not what it should be, or if a caption's image has no references or file.
    """
    name = name or (str(captions) if isinstance(captions, Path) else "the list of captions")
    rows = read_captions(captions) if isinstance(captions, Path) else captions
    if not rows:
        raise RewardError(f"{name} holds no captions: give at least one, as in {RESULTS}")
    ids = [row.image for row in rows]
    own: list[Sequence[str]] | None = [row.references for row in rows if row.references is not None]
    if references is None:
        own = own if own and len(own) == len(rows) else None
    else:
        paths = [references] if isinstance(references, Path) else list(references)
        ids, own = _with_references(name, rows, paths, isinstance(captions, Path) and kind(captions) == TEXT)
    ended = [row.ended for row in rows if row.ended is not None]
    return Candidates(
        [row.text for row in rows],
        references=own,
        image_ids=ids,
        images=None if images is None else images_of(ids, images),
        ended=ended if len(ended) == len(rows) else None,
    )


def read_captions(path: Path) -> list[Caption]:
    """The captions of a file, in its order.

    Raises:
        RewardError: naming the line or caption that is not as it should be.
    """
    if kind(path) == TEXT:
        return [Caption(str(line), text.strip()) for line, text in enumerate(read_lines(path), start=1)]
    if kind(path) in TABLES:
        return TABLES[kind(path)](path)
    return _captions(path, _read_json(path), RESULTS)


def _with_references(
    name: str, rows: Sequence[Caption], paths: Sequence[Path], by_line: bool
) -> tuple[list[str], list[Sequence[str]]]:
    """Image ids as the references have them, and the references of each caption."""
    if by_line != all(kind(path) == TEXT for path in paths):
        raise RewardError(
            f"{name} and {paths[0]} do not belong together line by line: plain text captions (.txt) go with plain text "
            "references, which no other captions do"
        )
    if by_line:
        lines = [read_lines(path) for path in paths]
        for path, column in zip(paths, lines, strict=True):
            if len(column) != len(rows):
                raise RewardError(
                    f"{path} has {len(column)} lines for the {len(rows)} captions of {name}: line i must be a "
                    "reference of caption i"
                )
        return [row.image for row in rows], [
            tuple(filter(None, map(str.strip, own))) for own in zip(*lines, strict=True)
        ]
    known: dict[str, list[str]] = {}
    for path in paths:
        for image, captions in read_references(path).items():
            known.setdefault(image, []).extend(captions)
    found = ByImage({image: captions for image, captions in known.items() if captions})
    ids = [found.id_of(row.image) for row in rows]
    missing = list(dict.fromkeys(row.image for row, image in zip(rows, ids, strict=True) if image is None))
    if missing:
        count = f"{len(missing)} images" if len(missing) > 1 else "an image"
        other = next(iter(found.known), None)
        there = "" if other is None else f" (an image there is {other!r})"
        strangers = other is not None and set(ids) == {None}
        remedy = "name images alike in both" if strangers else "add references, or leave the captions out"
        raise RewardError(
            f"{name} holds captions of {count} without references in {', '.join(map(str, paths))}, the first of image "
            f"{missing[0]!r}{there}: {remedy}"
        )
    known_ids = [image for image in ids if image is not None]
    return known_ids, [found.known[image] for image in known_ids]


# --- references


def read_references(path: Path, training: bool = False) -> dict[str, list[str]]:
    """The reference captions of each image.

    Args:
        path: the file.
        training: leave out the validation and test images of a Karpathy-format file.

    Raises:
        RewardError: if the file is missing or holds something else.
    """
    references: dict[str, list[str]] = {}
    if kind(path) in (*TABLES, TEXT):
        for row in read_captions(path):
            own = references.setdefault(row.image, [])
            own += [row.text] if row.references is None else [text for text in row.references if text not in own]
        return references
    content = _read_json(path)
    if not isinstance(content, dict):
        raise RewardError(f"{path} holds {_kind(content)} where references are {REFERENCES}")
    if "annotations" in content:
        for row in _captions(path, content["annotations"], REFERENCES):
            references.setdefault(row.image, []).append(row.text)
        return references
    if isinstance(content.get("images"), list) and content["images"] and isinstance(content["images"][0], dict):
        return _karpathy(path, content["images"], training)
    for image, captions in content.items():
        if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
            raise RewardError(f"{path}: the references of image {image!r} are no list of captions: write {REFERENCES}")
        references[image] = captions
    return references


def _karpathy(path: Path, entries: Iterable[Any], training: bool) -> dict[str, list[str]]:
    """Raw captions by COCO's id where there is one, else by the name of the image's file without its ending."""
    references = {}
    for number, entry in enumerate(entries):
        try:
            image = str(entry["cocoid"]) if "cocoid" in entry else _stem(entry["filename"])
            captions = [raw for sentence in entry["sentences"] if (raw := sentence["raw"].strip())]
            split = entry["split"]
        except (KeyError, TypeError, AttributeError) as error:
            raise RewardError(
                f"{path}: image number {number} is not in Karpathy's format ({error!r}): it needs filename, split and "
                "sentences with raw"
            ) from error
        if not training or split in ("train", "restval"):
            references[image] = captions
    return references


# --- images


def images_of(ids: Sequence[str], folder: Path) -> OpenedWhenRead:
    """The images of these ids in a folder: files of that name, or of that name without its ending, or COCO's.

    Raises:
        RewardError: if there is no such folder, or if an image has no file; the message counts them.
    """
    if not folder.is_dir():
        raise RewardError(f"there is no folder {folder}: give the folder of the images")
    files = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    # COCO_val2014_000000000042.jpg and 000000000042.jpg are image 42.
    numbers = {stem.rpartition("_")[2].lstrip("0"): name for name in files if (stem := _stem(name))[-12:].isdigit()}
    by_name = ByImage({name: name for name in files})
    inside = folder.resolve()

    def file_of(image: str) -> str | None:
        path = (folder / image).resolve()
        if path.is_file() and path.is_relative_to(inside):  # an id may hold folders, but not lead out of this one
            return image
        return by_name.get(image) or numbers.get(image)

    found = {image: file_of(image) for image in dict.fromkeys(ids)}
    missing = [image for image, name in found.items() if name is None]
    if missing:
        others = f" nor of {len(missing) - 1} others" if len(missing) > 1 else ""
        raise RewardError(f"no image of {missing[0]!r}{others} in {folder}: add files named by image id, such as x.jpg")
    return OpenedWhenRead([partial(open_image, folder / str(found[image])) for image in ids])


# --- JSON


def _read_json(path: Path) -> Any:
    content = read_bytes(path)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RewardError(f"{path} is not valid JSON ({error}): mend it there") from error


def _captions(path: Path, rows: object, shape: str) -> list[Caption]:
    """The caption of each row."""
    if not isinstance(rows, list):
        raise RewardError(f"{path} holds {_kind(rows)} where a list of captions should be: write {shape}")
    captions = []
    for place, row in enumerate(rows, start=1):
        captions += captions_of_object(f"{path}: caption {place}", row)
    return captions


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null", bool: "true or false"}
    return names.get(type(value), "a number")
