"""Tables of captions in text files: CSV and TSV with a header, JSON lines, and plain text with a caption per line."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewards.base import RewardError

GZIP_MAGIC = b"\x1f\x8b"
IMAGE_COLUMNS = ("image_id", "image", "filename", "file_name", "img")
CAPTION_COLUMNS = ("caption", "candidate", "text")


@dataclass(frozen=True)
class Caption:
    """A caption as a file holds it.

    Attributes:
        image: the image id.
        text: the caption.
        references: the references beside it, if any.
        ended: whether its policy closed it itself, where the file says.
    """

    image: str
    text: str
    references: tuple[str, ...] | None = None
    ended: bool | None = None


def read_bytes(path: Path) -> bytes:
    """What a file holds, unpacked if it is gzipped.

    Raises:
        RewardError: if it is missing, unreadable or a damaged gzip file.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RewardError(f"there is no file {path}: check the path") from None
    except OSError as error:
        raise RewardError(f"cannot read {path}: {error.strerror}") from error
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise RewardError(f"{path} is no whole gzip file ({error}): copy it again") from error


def read_text(path: Path) -> str:
    """The text of a file; a byte order mark is left out.

    Raises:
        RewardError: also if it is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RewardError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from error


def kind(path: Path) -> str:
    """The ending of a file's name in small letters, not counting ``.gz``."""
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def read_lines(path: Path) -> list[str]:
    """The lines of a plain text file; a caption may be empty, and the last line may lack its end."""
    lines = read_text(path).replace("\r\n", "\n").split("\n")  # not splitlines: a caption may hold U+2028
    return lines[:-1] if lines[-1] == "" else lines


def read_table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header of a CSV or TSV file, and each row with its line; what separates cells shows in the header.

    Raises:
        RewardError: naming the line that is not as it should be.
    """
    text = read_text(path)
    first = text.partition("\n")[0]
    separator = "\t" if kind(path) == ".tsv" else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        if not any(header):
            raise RewardError(f"{path} is empty: it must begin with a header, such as image_id,caption")
        for name in header:
            if header.count(name) > 1:
                raise RewardError(f"{path}, line 1: two columns are called {name!r}: rename one")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                named = "a tab" if separator == "\t" else repr(separator)
                raise RewardError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells under {len(header)} columns (a caption that "
                    f'holds {named} must stand in "quotes")'
                )
            rows.append((reader.line_num, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}))
    except csv.Error as error:
        raise RewardError(f"{path}, line {reader.line_num}: {error}") from error
    return header, rows


def column_of(path: Path, header: Sequence[str], names: Sequence[str]) -> str:
    """The first column of one of these names, however they are capitalised.

    Raises:
        RewardError: if there is none.
    """
    found = {column.lower(): column for column in reversed(header)}
    for name in names:
        if name in found:
            return found[name]
    raise RewardError(f"{path} has no column {' or '.join(names)}, only {', '.join(header)}: rename one in its header")


def captions_of_table(path: Path) -> list[Caption]:
    """The captions of a CSV or TSV file with a column of image ids and one of captions."""
    header, rows = read_table(path)
    image, caption = (column_of(path, header, names) for names in (IMAGE_COLUMNS, CAPTION_COLUMNS))
    captions = []
    for line, cells in rows:
        if not cells[image]:
            raise RewardError(f"{path}, line {line}: {image} is empty: name the image")
        captions.append(Caption(cells[image], cells[caption]))
    return captions


def captions_of_json_lines(path: Path) -> list[Caption]:
    """The captions of a file with an object per line, such as predictions.jsonl of an evaluation."""
    captions = []
    for line, content in enumerate(read_lines(path), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RewardError(f"{path}, line {line}: not JSON ({error}): mend it there") from error
        captions += captions_of_object(f"{path}, line {line}", row)
    return captions


def captions_of_object(where: str, row: object) -> list[Caption]:
    """The caption, or the ``captions``, of an object with an image id.

    Raises:
        RewardError: if it has none; the message begins with where it is.
    """
    cells: Mapping[str, Any] = row if isinstance(row, dict) else {}
    image = cells.get("image_id", cells.get("image"))
    texts = cells["captions"] if isinstance(cells.get("captions"), list) else [cells.get("caption")]
    known = isinstance(image, int | str) and not isinstance(image, bool)
    captions = [text for text in texts if isinstance(text, str)]
    if not known or len(captions) < len(texts):
        shown = json.dumps(row, ensure_ascii=False)
        shown = shown if len(shown) <= 80 else f"{shown[:79]}…"
        raise RewardError(
            f'{where} is {shown}, without an image_id or a caption: write {{"image_id": ..., "caption": "..."}}'
        )
    references, ended = cells.get("references"), cells.get("ended")
    if references is not None and not (
        isinstance(references, list) and all(isinstance(reference, str) for reference in references)
    ):
        raise RewardError(f"{where}: the references of image {str(image)!r} are no list of captions: write a list")
    own = None if references is None else tuple(references)
    closed = ended if isinstance(ended, bool) else None
    return [Caption(str(image), text, own, closed) for text in captions]
