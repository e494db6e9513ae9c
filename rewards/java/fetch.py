"""Fetches what the package may not carry: the parser of SPICE, Stanford CoreNLP 3.6.0 (GPL), from its authors' site."""

import shutil
import zipfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from uuid import uuid4

from rewards.base import RewardError
from rewards.spice import CORENLP

ARCHIVE = "https://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"  # which is version 3.6.0
# What a jar must hold to be the right one.
CONTENT = dict(
    zip(CORENLP, ("edu/stanford/nlp/pipeline/StanfordCoreNLP.class", "edu/stanford/nlp/models/"), strict=True)
)
WAIT = 30.0  # seconds for an answer
BLOCK = 1 << 20

Progress = Callable[[str, int, int], None]
"""Told the file, how many of its bytes there are by now, and how many there will be."""


def download_corenlp(folder: Path, progress: Progress, archive: str = ARCHIVE) -> list[Path]:
    """CoreNLP's jars in a folder, taken out of the archive that its authors offer; whole ones are left alone.

    Nothing is written before the site has answered. A download that breaks off is taken up again by the next. Every
    file in the archive and in the jars is checked against its own checksum.

    Raises:
        RewardError: if the site cannot be reached, or gives something else.
    """
    if all(_is_whole(folder / jar) for jar in CORENLP):
        return [folder / jar for jar in CORENLP]
    path = folder / f"{archive.rpartition('/')[2]}.part"
    _download(archive, path, progress)
    try:
        with zipfile.ZipFile(path) as file:
            for jar in CORENLP:
                _take_out(file, jar, folder)
    except (zipfile.BadZipFile, EOFError, KeyError) as error:
        raise RewardError(f"{archive} gave no whole archive of CoreNLP ({error}): run the command again") from error
    finally:
        path.unlink(missing_ok=True)
    return [folder / jar for jar in CORENLP]


def _take_out(archive: zipfile.ZipFile, jar: str, folder: Path) -> None:
    (member,) = [name for name in archive.namelist() if name.rpartition("/")[2] == jar] or [jar]

    def fill(aside: Path) -> None:
        with archive.open(member) as packed, aside.open("wb") as file:
            shutil.copyfileobj(packed, file, BLOCK)

    _write(folder / jar, fill)
    if not _is_whole(folder / jar):
        (folder / jar).unlink()
        raise KeyError(f"its {jar} is another file")


def _is_whole(path: Path) -> bool:
    try:
        check_jar(path)
    except RewardError:
        return False
    return True


def copy_corenlp(jars: Path, folder: Path) -> list[Path]:
    """CoreNLP's jars, checked and copied from one folder into another.

    Every file in them is checked against its own checksum.

    Raises:
        RewardError: if one is missing or not what it should be; nothing is copied then.
    """
    for jar in CORENLP:
        path = jars / jar
        if not path.is_file():
            raise RewardError(f"{jars} holds no {jar}: name the folder of both jars of CoreNLP 3.6.0")
        check_jar(path)
    for jar in CORENLP:
        _write(folder / jar, lambda aside, jar=jar: shutil.copyfile(jars / jar, aside))  # type: ignore[misc]
    return [folder / jar for jar in CORENLP]


def check_jar(path: Path) -> None:
    """Nothing; an error if the file is no whole jar, or the wrong one."""
    expected = CONTENT[path.name]
    try:
        with zipfile.ZipFile(path) as jar:
            if not any(name.startswith(expected) for name in jar.namelist()):
                raise RewardError(f"{path} holds no {expected}: it is not {path.name}")
            broken = jar.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise RewardError(f"{path} is no whole jar ({error}): download it anew") from error
    if broken is not None:
        raise RewardError(f"{path} is damaged at {broken}: download it anew")


def _download(url: str, path: Path, progress: Progress) -> None:
    have = path.stat().st_size if path.is_file() else 0
    with _open(url, start=have) as answer:
        if answer.status != 206:  # the site sends it from the start
            have = 0
        total = have + int(answer.headers.get("Content-Length") or 0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab" if have else "wb") as file:
                while block := answer.read(BLOCK):
                    file.write(block)
                    have += len(block)
                    progress(path.stem, have, total)
        except (HTTPException, TimeoutError, ConnectionError) as error:
            raise _unreachable(url, error) from error
        except OSError as error:
            raise _unwritable(path.parent, error) from error
    if have < total:
        raise RewardError(f"{url} broke off after {have} of {total} bytes: run the command again to go on")


def _open(url: str, start: int = 0) -> Any:
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        return urlopen(request, timeout=WAIT)
    except HTTPError as error:
        if error.code == 416 and start:  # there is no more than what we have, which was no whole archive
            return _open(url)
        raise RewardError(f"{url} answers {error.code} ({error.reason}): copy the jars by hand with --jars") from error
    except (URLError, HTTPException, OSError) as error:
        raise _unreachable(url, error) from error


def _unreachable(url: str, error: Exception) -> RewardError:
    reason = getattr(error, "reason", None) or error or type(error).__name__
    return RewardError(
        f"cannot read {url} ({reason}): fetch on a machine with network access, and give its folder with --jars"
    )


def _unwritable(folder: Path, error: OSError) -> RewardError:
    return RewardError(f"cannot write to {folder} ({error.strerror}): name another folder with --output")


def _write(path: Path, fill: Callable[[Path], object]) -> None:
    """Make a file whole or not at all."""
    aside = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(aside)
        aside.replace(path)
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    finally:
        aside.unlink(missing_ok=True)
