"""Files that save work and may be gone at any time: each is checked before it is believed."""

import hashlib
import re
from contextlib import suppress
from pathlib import Path

from rlcap.reporting.reading.files import is_folder, write_aside


class Keep:
    """A folder of files by name, each behind a digest of its name and content.

    What is read is to the bit what was written under that name; a file that is missing, cut, changed, another program's
    or in the place of another counts as not there.

    Args:
        folder: where it lies, made if need be; None keeps nothing.
        names: a regular expression of the files' names; others in the folder are left alone.
    """

    def __init__(self, folder: Path | None, names: str) -> None:
        self.folder = folder
        self._names = re.compile(names)
        self._used: set[str] = set()

    def read(self, name: str) -> bytes | None:
        """What was written under a name, in use from then on; None where that is not there."""
        if self.folder is None:
            return None
        try:
            checksum, _, content = (self.folder / name).read_bytes().partition(b"\n")
        except OSError:
            return None
        if checksum != _checksum(name, content):
            return None
        self._used.add(name)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in use from then on; one that cannot be written is done without."""
        self._used.add(name)
        if self.folder is not None:
            with suppress(OSError):  # a full disk costs time alone
                write_aside(self.folder / name, _checksum(name, content) + b"\n" + content)

    def drop_unused(self) -> None:
        """Remove the files that nobody read or wrote since this folder was opened."""
        if self.folder is None or not is_folder(self.folder):
            return
        for path in list(self.folder.iterdir()):
            if self._names.fullmatch(path.name) and path.name not in self._used:
                with suppress(OSError):  # it is tried again next time
                    path.unlink(missing_ok=True)


def _checksum(name: str, content: bytes) -> bytes:
    return hashlib.blake2b(name.encode() + b"\n" + content, digest_size=16).hexdigest().encode()
