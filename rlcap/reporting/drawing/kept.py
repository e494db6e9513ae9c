"""Drawings kept for the next report: those whose numbers are the same are not drawn again."""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from rlcap.reporting.reading.files import write_aside

# What draws: a change of it makes all that was kept stale.
_SOURCES = ("bands.py", "canvas.py", "curves.py", "line_ends.py", "svg.py")


class Drawings:
    """A folder of drawings by the digest of what is drawn.

    Args:
        folder: where they lie, made if need be; None keeps nothing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._used: set[str] = set()

    def drawing(self, parts: Iterable[object], draw: Callable[[], str]) -> str:
        """What was drawn of these parts, drawn now if it was not kept.

        Args:
            parts: all that the drawing depends on: arrays, and what ``repr`` tells apart.
            draw: draws it.
        """
        if self.folder is None:
            return draw()
        digest = hashlib.blake2b(_code(), digest_size=16)
        for part in parts:
            content = np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else repr(part).encode()
            digest.update(f"{type(part).__name__} {len(content)} ".encode() + content)
        path = self.folder / f"drawing-{digest.hexdigest()}.svg"
        self._used.add(path.name)
        with suppress(OSError, UnicodeDecodeError):  # it is drawn instead, and kept again
            checksum, _, kept = path.read_bytes().partition(b"\n")
            if checksum == _checksum(kept):
                return kept.decode()
        drawn = draw()
        with suppress(OSError):  # a full disk costs time alone
            write_aside(path, (_checksum(drawn.encode()) + b"\n" + drawn.encode()))
        return drawn

    def drop_unused(self) -> None:
        """Remove the drawings that nobody asked for since this folder was opened."""
        if self.folder is not None:
            with suppress(OSError):
                for path in list(self.folder.glob("drawing-*.svg")):
                    if path.name not in self._used:
                        path.unlink(missing_ok=True)


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()


@cache
def _code() -> bytes:
    """A digest of what draws."""
    import matplotlib

    digest = hashlib.blake2b(matplotlib.__version__.encode())
    for name in _SOURCES:
        digest.update(files(__package__).joinpath(name).read_bytes())
    return digest.digest()
