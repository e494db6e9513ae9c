"""What was parsed of run folders, kept for the next report: arrays as .npz, all else as JSON, nothing pickled."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rlcap.reporting.reading.files import Source
from rlcap.reporting.reading.keep import Keep

VERSION = 2  # of what is kept: a change of it, or of what is read, makes all that was kept stale

T = TypeVar("T")
Pack = Callable[[T, list[str]], bytes]
Unpack = Callable[[bytes], tuple[T, list[str]] | None]


class Cache:
    """What was parsed, by the path, size, time of change and number of the file it was parsed from.

    Args:
        folder: where it lies, made if need be; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.kept = Keep(folder, r"[a-z]+-[0-9a-f]{32}\.(npz|json)")

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
            pack: makes bytes of what was read and of the notes.
            unpack: the opposite; None where another file that it takes is gone.
            notes: what is wrong with the source is added here.
        """
        before = source.fingerprint()
        if self.kept.folder is None or before is None:
            return read(source, notes)
        kind, _, ending = name.partition(".")
        file = f"{kind}-{digest_of([VERSION, name, source.name, *before])}.{ending}"
        content = self.kept.read(file)
        found = None if content is None else unpack(content)
        if found is not None:
            value, own = found
            notes += own
            return value
        own = []
        value = read(source, own)
        notes += own
        if source.fingerprint() == before:  # otherwise it was written to meanwhile
            self.kept.write(file, pack(value, own))
        return value

    def drop_unused(self) -> None:
        """Remove what was kept of sources that nobody asked for since this cache was opened."""
        self.kept.drop_unused()


def digest_of(value: Any) -> str:
    """The digest of a value that JSON can hold."""
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()


def pack_json(value: Any, notes: list[str]) -> bytes:
    """The value and the notes as JSON."""
    return json.dumps({"notes": notes, "value": value}).encode()


def unpack_json(content: bytes) -> tuple[Any, list[str]]:
    """The value and the notes that were packed."""
    held = json.loads(content)
    return held["value"], held["notes"]
