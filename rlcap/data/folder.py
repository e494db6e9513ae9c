"""Your own photos: a folder of images and a table of captions."""

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rlcap.data.base import SUFFIXES, CaptionDataset, Record
from rlcap.data.metadata import is_plain
from rlcap.types import UserError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class _Row:
    """What one line of the table says."""

    line: int
    image: str
    captions: tuple[str, ...]
    split: str | None
    metadata: Mapping[str, Any]


@dataclass
class _Entry:
    """What all lines say of one image."""

    split: str | None
    captions: dict[str, int] = field(default_factory=dict)  # and the line of each
    metadata: dict[str, Any] = field(default_factory=dict)


class Folder(CaptionDataset):
    """A folder of images with captions from a CSV or JSONL file.

    A CSV file begins with the header ``image,caption`` or ``image,caption,split`` and has one row per caption; an image
    with several captions has several rows. A line of a JSONL file is ``{"image": ..., "caption": ...}`` or
    ``{"image": ..., "captions": [...]}``, with or without ``"split"``. ``image`` is the file's name in the folder, and
    the image id; images of the folder that the table does not name are left alone.

    Without splits in the table each image is given one by its name and the seed, so it stays where it is when images
    are added; only when a split would have been empty is it lent an image. Fewer images than splits all go to train.

    Args:
        images: the folder.
        captions: the table, ``.csv`` or ``.jsonl``; None for images alone, which are all in ``test``, to be captioned.
        val_fraction: share of images to validate on, when the table gives no splits.
        test_fraction: share of images to test on, when the table gives no splits.
        seed: of the splits.
        metadata: further columns, or keys, to keep as each image's metadata, such as ``[category]``; reports group
            images by them. A value is a number, a text or, in JSONL, a list of texts; it may be missing.
    """

    def __init__(
        self,
        images: Path | str,
        captions: Path | str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        metadata: list[str] | None = None,
    ) -> None:
        if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
            raise UserError(
                "val_fraction and test_fraction must be 0 or more and leave some images to train on, "
                f"got {val_fraction} and {test_fraction}"
            )
        folder = Path(images)
        if not folder.is_dir():
            raise UserError(f"images: no folder {folder}")
        if captions is None:
            self._source = folder
            names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
            if not names:
                raise UserError(f"images: no images in {folder}; those ending in {', '.join(SUFFIXES)} count")
            self._splits = {"test": tuple(Record(name, (), folder / name) for name in names)}
            return
        self._source = Path(captions)
        entries = _entries(self._source, folder, metadata or [])
        splits = {name: entry.split for name, entry in entries.items() if entry.split is not None}
        if not splits:
            splits = assign_splits(list(entries), val_fraction, test_fraction, seed)
        self._splits = {
            split: tuple(
                Record(name, tuple(entry.captions), folder / name, entry.metadata)
                for name, entry in entries.items()
                if splits[name] == split
            )
            for split in SPLITS
            if split in splits.values()
        }

    def records(self, split: str) -> Sequence[Record]:
        """The images of a split, in the table's order."""
        if split not in self._splits:
            raise UserError(f"no split {split!r} in {self._source}; there are {', '.join(self._splits)}")
        return self._splits[split]


def assign_splits(names: Sequence[str], val_fraction: float, test_fraction: float, seed: int) -> dict[str, str]:
    """A split for each name, from the name and the seed, with no split that was asked for empty if it can be helped."""
    shares = {"test": test_fraction, "val": val_fraction, "train": 1 - val_fraction - test_fraction}
    wanted = [split for split, share in shares.items() if share > 0]
    if len(names) < len(wanted):
        return dict.fromkeys(names, "train")
    places = {name: _place(f"{seed} {name}") for name in names}
    splits = {
        name: "test" if place < test_fraction else "val" if place < test_fraction + val_fraction else "train"
        for name, place in places.items()
    }
    for split in wanted:
        members = list(splits.values())
        if split not in members:
            fullest = max(wanted, key=members.count)
            lent = min((name for name in names if splits[name] == fullest), key=places.__getitem__)
            splits[lent] = split
    return splits


def _place(text: str) -> float:
    """A number in [0, 1) that follows from the text, spread evenly over texts."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def _entries(table: Path, folder: Path, metadata: Sequence[str]) -> dict[str, _Entry]:
    """What the table says of each image, in the order in which it names them first."""
    entries: dict[str, _Entry] = {}
    for row in _rows(table, metadata):
        where = f"{table}, line {row.line}"
        name = PurePosixPath(row.image).as_posix()
        if row.split not in (None, *SPLITS):
            raise UserError(f"{where}: split must be train, val or test, got {row.split!r}")
        if name not in entries:
            if not (folder / name).is_file():
                raise UserError(f"{where}: no image {row.image!r} in {folder}")
            if (next(iter(entries.values()), row).split is None) != (row.split is None):
                raise UserError(f"{where}: some lines have a split and some have none: give all a split, or none")
        entry = entries.setdefault(name, _Entry(row.split))
        if entry.split != row.split:
            raise UserError(
                f"{where}: image {row.image!r} is in split {row.split!r} here and in {entry.split!r} before"
            )
        for key, value in row.metadata.items():
            if entry.metadata.setdefault(key, value) != value:
                before = entry.metadata[key]
                raise UserError(f"{where}: image {row.image!r} has {key} {value!r} here and {before!r} before")
        for caption in row.captions:
            if caption in entry.captions:
                raise UserError(
                    f"{where}: image {row.image!r} has the same caption in line {entry.captions[caption]}: {caption!r}"
                )
            entry.captions[caption] = row.line
    if not entries:
        raise UserError(f"{table} is empty: it must name at least one image with a caption")
    return entries


def _rows(table: Path, metadata: Sequence[str]) -> Iterator[_Row]:
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    if table.suffix.lower() not in readers:
        raise UserError(f"captions must be a .csv or .jsonl file, got {table}")
    try:
        text = table.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"captions: no file {table}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read captions {table}: {error} (it must be UTF-8 text)") from error
    return readers[table.suffix.lower()](table, text, metadata)


def _csv_rows(table: Path, text: str, metadata: Sequence[str]) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if not header:
            raise UserError(f"{table} is empty: it must begin with the header image,caption")
        _check_names(f"{table}, line 1: the header", header, ("image", "caption"), ("split", *metadata))
        for cells in reader:
            where = f"{table}, line {reader.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise UserError(
                    f"{where}: {len(cells)} cells under {len(header)} columns "
                    '(a caption that holds a comma must stand in "quotes")'
                )
            row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            for name, cell in row.items():
                if not cell and name not in metadata:
                    raise UserError(f"{where}: {name} is empty")
            known = {name: _number(row[name]) for name in metadata if row.get(name)}
            yield _Row(reader.line_num, row["image"], (row["caption"],), row.get("split"), known)
    except csv.Error as error:
        raise UserError(f"{table}, line {reader.line_num}: {error}") from error


def _number(cell: str) -> int | float | str:
    """What a cell holds: a number if it can be read as a finite one, else the text."""
    for kind in (int, float):
        try:
            number = kind(cell)
        except ValueError:
            continue
        if math.isfinite(number):
            return number
    return cell


def _jsonl_rows(table: Path, text: str, metadata: Sequence[str]) -> Iterator[_Row]:
    for line, content in enumerate(text.split("\n"), start=1):  # not splitlines: a caption may hold U+2028
        if not content.strip():
            continue
        where = f"{table}, line {line}"
        try:
            row = json.loads(content)
        except ValueError as error:
            raise UserError(f"{where}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f'{where}: must be {{"image": ..., "caption": ...}}, got {content.strip()[:60]}')
        caption = "captions" if "captions" in row else "caption"
        _check_names(where, list(row), ("image", caption), ("split", *metadata))
        captions = row[caption] if caption == "captions" else [row[caption]]
        if not isinstance(captions, list) or not captions:
            raise UserError(f"{where}: captions must be a list of at least one, got {captions!r}")
        for name, value in [("image", row["image"]), *((caption, each) for each in captions), *_given_split(row)]:
            if not isinstance(value, str) or not value.strip():
                raise UserError(f"{where}: {name} must be text, got {value!r}")
        split = row["split"].strip() if "split" in row else None
        known = {name: row[name] for name in metadata if row.get(name) is not None}
        for name, value in known.items():
            if not is_plain(value):
                raise UserError(f"{where}: {name} must be a number, a text or a list of texts, got {value!r}")
        yield _Row(line, row["image"].strip(), tuple(each.strip() for each in captions), split, known)


def _given_split(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [("split", row["split"])] if "split" in row else []


def _check_names(where: str, names: Sequence[str], needed: Sequence[str], allowed: Sequence[str]) -> None:
    """Makes sure that columns, or keys, are those expected, each once."""
    expected = f"expected {', '.join(needed)} and perhaps {', '.join(allowed)}"
    for name in names:
        if name not in (*needed, *allowed):
            raise UserError(f"{where}: unknown {name!r}; {expected} (metadata names further ones to keep)")
        if names.count(name) > 1:
            raise UserError(f"{where}: {name!r} twice; {expected}")
    for name in needed:
        if name not in names:
            raise UserError(f"{where}: {name!r} is missing; {expected}")
