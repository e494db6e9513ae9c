"""Drawings kept for the next report: those whose numbers are the same are not drawn again."""

import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from rlcap.reporting.reading.keep import Keep

# What draws: a change of it makes all that was kept stale.
_SOURCES = ("bands.py", "canvas.py", "curves.py", "line_ends.py", "svg.py")


class Drawings:
    """Drawings by the digest of what is drawn.

    Args:
        folder: where they lie, made if need be; None keeps nothing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._kept = Keep(folder, r"drawing-[0-9a-f]{32}\.svg")

    def drawing(self, parts: Iterable[object], draw: Callable[[], str]) -> str:
        """What was drawn of these parts, drawn now if it was not kept.

        Args:
            parts: all that the drawing depends on: arrays, and what ``repr`` tells apart.
            draw: draws it.
        """
        if self._kept.folder is None:
            return draw()
        digest = hashlib.blake2b(_code(), digest_size=16)
        for part in parts:
            content = np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else repr(part).encode()
            digest.update(f"{type(part).__name__} {len(content)} ".encode() + content)
        name = f"drawing-{digest.hexdigest()}.svg"
        kept = self._kept.read(name)
        if kept is not None:
            return kept.decode()
        drawn = draw()
        self._kept.write(name, drawn.encode())
        return drawn

    def drop_unused(self) -> None:
        """Remove the drawings that nobody asked for since this folder was opened."""
        self._kept.drop_unused()


@cache
def _code() -> bytes:
    """A digest of what draws."""
    import matplotlib

    digest = hashlib.blake2b(matplotlib.__version__.encode())
    for name in _SOURCES:
        digest.update(files(__package__).joinpath(name).read_bytes())
    return digest.digest()
