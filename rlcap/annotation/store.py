"""The file of judgements: one JSON object a line, on the disk before anyone is told that it was saved.

::

    {"image": "42", "chosen": "a dog", "rejected": "a cat", "runs": {"chosen": ["a"], "rejected": ["b"]}, "seconds": 3}
    {"image": "43", "tied": ["a man", "a boy"], "runs": {"tied": [["a"], ["b"]]}, "seconds": 5}

A named rater stands in ``"rater"``. There are no other lines: what was undone is gone, what was skipped was never
there. ``runs`` are lists, since several runs may say the same.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlcap.annotation.pairs import Key, question_key
from rlcap.errors import UserError

_LONGEST_LOOK = 1e9

Runs = tuple[tuple[str, ...], tuple[str, ...]]


class NotSavedError(UserError):
    """Why a judgement is not in the file, in one line."""


class JudgedAlreadyError(NotSavedError):
    """The rater has judged this pair before, in another tab or another session."""


@dataclass(frozen=True)
class Judgement:
    """What a rater made of an image's two captions.

    Attributes:
        image: its id.
        first: the better caption, or the left one of a tie.
        second: the other.
        tied: neither is better.
        runs: which runs gave the first caption, and which the second.
        seconds: how long the rater looked at them; None where the file does not say.
        rater: who it was, if named.
    """

    image: str
    first: str
    second: str
    tied: bool
    runs: Runs = ((), ())
    seconds: float | None = None
    rater: str | None = None

    @property
    def key(self) -> tuple[str | None, Key]:
        """Of what a file holds one judgement at most."""
        return self.rater, question_key(self.image, self.first, self.second)

    def as_line(self) -> bytes:
        """Its line of the file."""
        row: dict[str, Any] = {"image": self.image}
        if self.tied:
            row |= {"tied": [self.first, self.second], "runs": {"tied": list(map(list, self.runs))}}
        else:
            chosen, rejected = map(list, self.runs)
            row |= {"chosen": self.first, "rejected": self.second, "runs": {"chosen": chosen, "rejected": rejected}}
        row["seconds"] = self.seconds
        if self.rater is not None:
            row["rater"] = self.rater
        try:
            return json.dumps(row, ensure_ascii=False).encode() + b"\n"
        except UnicodeEncodeError:  # half a surrogate pair, which JSON may hold and UTF-8 may not
            return json.dumps(row).encode() + b"\n"


def read_judgement(where: str, line: bytes) -> Judgement:
    """The judgement of a line.

    Raises:
        UserError: if it holds none.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    row = row if isinstance(row, dict) else {}
    tied = "tied" in row
    texts = row["tied"] if tied else [row.get("chosen"), row.get("rejected")]
    captions = [text for text in texts if isinstance(text, str)] if isinstance(texts, list) else []
    image, seconds, rater = row.get("image"), row.get("seconds"), row.get("rater")
    if not isinstance(image, str | int) or len(captions) != 2 or len(texts) != 2:
        raise UserError(f"{where} is no judgement of two captions: mend it, or choose another --output")
    timed = isinstance(seconds, int | float) and 0 <= seconds <= _LONGEST_LOOK
    return Judgement(
        str(image),
        captions[0],
        captions[1],
        tied,
        _runs(row.get("runs"), tied),
        float(seconds) if timed and seconds is not None else None,
        rater if isinstance(rater, str) else None,
    )


def _runs(value: object, tied: bool) -> Runs:
    named = value if isinstance(value, Mapping) else {}
    sides = named.get("tied") if tied else [named.get("chosen"), named.get("rejected")]
    first, second = sides if isinstance(sides, Sequence) and len(sides) == 2 else ((), ())
    return _names(first), _names(second)


def _names(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


class JudgementFile:
    """Appends judgements to a file and takes them out again.

    Several processes may share the file: each holds the lock while it writes, and first reads what others wrote.

    Args:
        path: the file; made if there is none.

    Raises:
        UserError: if it cannot be written or holds anything but judgements.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()  # a renamed file replaces the target of a link, not the link
        self.judgements: dict[tuple[str | None, Key], Judgement] = {}
        self._seen: tuple[int, int, int] | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666))
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}: choose another --output") from error
        self.refresh()

    def refresh(self) -> None:
        """Read what other processes wrote."""
        with self._saving(), self._locked() as file:
            self._read(file)

    def append(self, judgement: Judgement) -> None:
        """Write a judgement; it is on the disk when this returns.

        Raises:
            JudgedAlreadyError: if the file holds one of the same rater and pair.
            NotSavedError: if it could not be written; the file is then what it was.
        """
        with self._saving(), self._locked() as file:
            self._read(file)
            if judgement.key in self.judgements:
                raise JudgedAlreadyError("this pair was judged already, in another tab or session")
            length = os.fstat(file).st_size
            try:
                _write(file, judgement.as_line())
                os.fsync(file)
            except OSError:
                os.ftruncate(file, length)  # half a line
                raise
            self.judgements[judgement.key] = judgement
            self._seen = _identity(file)

    def remove(self, rater: str | None, key: Key) -> Judgement | None:
        """Take a judgement out of the file, which is written anew beside itself and renamed; None if it holds none.

        Raises:
            NotSavedError: if that failed; the file is then what it was.
        """
        with self._saving(), self._locked() as file:
            self._read(file)
            judgement = self.judgements.get((rater, key))
            if judgement is None:
                return None
            kept = [
                line
                for number, line in _lines(_content(file))
                if read_judgement(self._where(number), line).key != (rater, key)
            ]
            self._replace(b"".join(line + b"\n" for line in kept), os.fstat(file).st_mode)
            self._seen = None
        self.refresh()
        return judgement

    def _replace(self, content: bytes, mode: int) -> None:
        aside = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        try:
            file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                _write(file, content)
                os.fchmod(file, mode & 0o7777)
                os.fsync(file)
            finally:
                os.close(file)
            aside.replace(self.path)
        finally:
            aside.unlink(missing_ok=True)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name
        finally:
            os.close(folder)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The open file while no other process writes it."""
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_APPEND)  # not made anew: a removed file is an error
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                if self.path.stat().st_ino == os.fstat(file).st_ino:  # else replaced while this waited
                    yield file
                    return
            finally:
                os.close(file)

    @contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise NotSavedError(
                f"{self.path.name} was removed, so nothing is saved: put it back, or start again"
            ) from error
        except OSError as error:
            raise NotSavedError(f"cannot write {self.path.name}, so nothing is saved: {error.strerror}") from error

    def _read(self, file: int) -> None:
        if self._seen == _identity(file):
            return
        self._mend(file)
        judgements: dict[tuple[str | None, Key], Judgement] = {}
        for number, line in _lines(_content(file)):
            judgement = read_judgement(self._where(number), line)
            judgements.pop(judgement.key, None)  # the later of two counts, and as late
            judgements[judgement.key] = judgement
        self.judgements, self._seen = judgements, _identity(file)

    def _mend(self, file: int) -> None:
        """End the last line, or take it out if a stopped writer left half of one: nobody was told that it was saved."""
        content = _content(file)
        begin = content.rfind(b"\n") + 1
        last = content[begin:]
        if not last:
            return
        try:
            read_judgement("", last)
        except UserError:
            start = b'{"image": '
            if last.startswith(start) or start.startswith(last):  # ours; anything else is not touched
                os.ftruncate(file, begin)
            return
        _write(file, b"\n")

    def _where(self, number: int) -> str:
        return f"{self.path.name}, line {number}"


def _identity(file: int) -> tuple[int, int, int]:
    known = os.fstat(file)
    return known.st_ino, known.st_size, known.st_mtime_ns


def _content(file: int) -> bytes:
    parts, place = [], 0
    while part := os.pread(file, 1 << 20, place):
        parts.append(part)
        place += len(part)
    return b"".join(parts)


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers; a caption may hold what other splitters end lines at."""
    return ((number, line) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip())


def _write(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]
