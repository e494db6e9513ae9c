"""Reading files that may be missing, damaged or hostile, and writing files that are whole or absent."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO

from rlcap.errors import UserError

LONGEST_KEY = 200
_LARGEST_SCORE = 1e100


class ReportError(UserError):
    """Why no report can be made, in one line."""


class SourceError(Exception):
    """Why a file of a run folder is left out, such as ``is missing``."""


@dataclass(frozen=True)
class Source:
    """A file of a run folder.

    Attributes:
        folder: the run folder, which a link must not lead out of.
        name: the file's path in it, as notes call it.
    """

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self.folder / self.name

    @contextmanager
    def open(self, most: int | None = None) -> Iterator[BinaryIO]:
        """The open file, of at most so many bytes.

        A link out of the run folder is not followed: a folder from elsewhere could show a file of its reader's.

        Raises:
            SourceError: if there is no such file, or none that may be read.
        """
        try:
            if not self.path.resolve(strict=True).is_relative_to(self.folder.resolve()):
                raise SourceError("is a link out of the run folder and was left out")
            # a pipe would be waited for without end
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError as error:
            dangling = os.path.lexists(self.path)
            raise SourceError("is a link to nothing" if dangling else "is missing") from error
        except (OSError, RuntimeError, ValueError) as error:  # a RuntimeError is a loop of links
            raise SourceError(f"cannot be read: {getattr(error, 'strerror', None) or 'its path is none'}") from error
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise SourceError("cannot be read: it is no file")
        with os.fdopen(descriptor, "rb") as file:
            if most is not None and found.st_size > most:
                raise SourceError(f"is larger than {most >> 20} MiB and was left out")
            yield file

    def fingerprint(self) -> tuple[str, int, int, int] | None:
        """The file's path, size, time of change and number, which change when it does; None where there is no file."""
        try:
            path = self.path.resolve(strict=True)
            found = path.stat()
        except (OSError, RuntimeError, ValueError):
            return None
        return str(path), found.st_size, found.st_mtime_ns, found.st_ino


def as_number(value: object) -> float | None:
    """The value as a finite number, or None if it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def as_score(value: object) -> float | None:
    """The value as a number that sums and squares of many like it do not overflow, or None if it is not one."""
    number = as_number(value)
    return None if number is None or abs(number) > _LARGEST_SCORE else number


def as_count(value: object) -> int | None:
    """The value as a whole number, or None if it is not one."""
    number = as_number(value)
    return None if number is None or number != int(number) else int(number)


def as_mapping(value: object) -> dict[str, Any]:
    """The value if it is a mapping, its keys as text; an empty mapping if it is anything else."""
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; False too where nobody may look."""
    try:
        return path.is_dir()
    except OSError:
        return False


def write_aside(path: Path, content: str | bytes) -> None:
    """Write a file under another name and rename it, so that a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
