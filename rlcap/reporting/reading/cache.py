"""What was parsed of run folders, kept for the next report: arrays as .npz, all else as JSON, nothing pickled."""

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from rlcap.reporting.reading.files import Source, is_folder, write_aside

VERSION = 1  # of what is kept: a change of it, or of what is read, makes all that was kept stale
_NAME = re.compile(r"[a-z]+-[0-9a-f]{32}\.(npz|json)")
# What a file that is cut, changed or another program's makes its readers raise.
_DAMAGED = (OSError, ValueError, LookupError, TypeError, EOFError, RecursionError, NotImplementedError)
_DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error)

T = TypeVar("T")
Pack = Callable[[T, list[str], str], bytes]
Unpack = Callable[[bytes, str], tuple[T, list[str]]]


class Cache:
    """A folder of what was parsed, by the path, size, time of change and number of the file it was parsed from.

    Args:
        folder: where it lies, made if need be; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._used: set[str] = set()

    def remembered(
        self,
        source: Source,
        name: str,
        read: Callable[[Source, list[str]], T],
        pack: Pack[T],
        unpack: Unpack[T],
        notes: list[str],
    ) -> T:
        """What the source holds, read anew if it changed; what is wrong with it is added to the notes.

        Args:
            source: the file.
            name: of the file in the cache: a kind, ``.``, and its ending.
            read: reads the source.
            pack: makes bytes of what was read, of the notes and of the source's key.
            unpack: the opposite; raises if the key is another.
            notes: what is wrong with the source is added here.
        """
        before = source.fingerprint()
        if self.folder is None or before is None:
            return read(source, notes)
        key = digest_of([VERSION, name, source.name, *before])
        kind, _, ending = name.partition(".")
        kept = self.folder / f"{kind}-{key}.{ending}"
        with suppress(*_DAMAGED, *_DAMAGED_ZIP):  # it is read from its source instead, and written again
            value, own = unpack(kept.read_bytes(), key)
            self._used.add(kept.name)
            notes += own
            return value
        own = []
        value = read(source, own)
        notes += own
        if source.fingerprint() == before:  # otherwise it was written to meanwhile
            self.write(kept.name, pack(value, own, key))
        return value

    def read(self, name: str) -> bytes:
        """A file of the cache, which is in use from then on."""
        content = b"" if self.folder is None else (self.folder / name).read_bytes()
        self._used.add(name)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Keep a file."""
        self._used.add(name)
        if self.folder is not None:
            with suppress(OSError):  # a full disk costs time alone
                write_aside(self.folder / name, content)

    def drop_unused(self) -> None:
        """Remove what was kept of sources that nobody asked for since this cache was opened."""
        if self.folder is None or not is_folder(self.folder):
            return
        for path in list(self.folder.iterdir()):
            if _NAME.fullmatch(path.name) and path.name not in self._used:
                with suppress(OSError):  # it is tried again next time
                    path.unlink(missing_ok=True)


def digest_of(value: Any) -> str:
    """The digest of a value that JSON can hold."""
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()


def pack_json(value: Any, notes: list[str], key: str) -> bytes:
    """A digest, and as JSON the value, the notes and the key."""
    content = json.dumps({"key": key, "notes": notes, "value": value}).encode()
    return _checksum(content) + content


def unpack_json(content: bytes, key: str) -> tuple[Any, list[str]]:
    """The value and the notes that were packed.

    Raises:
        ValueError: if they are damaged or of another key.
    """
    checksum, rest = content[: len(_checksum(b""))], content[len(_checksum(b"")) :]
    if checksum != _checksum(rest):
        raise ValueError("the checksum is another")
    held = json.loads(rest)
    if held["key"] != key:
        raise ValueError("the key is another")
    return held["value"], held["notes"]


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode() + b"\n"
