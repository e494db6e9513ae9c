"""``rlcap fetch spice``: from a site on this machine that speaks HTTP, from a folder, and without a network."""

import io
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from shell import environment_of

from rewards.base import RewardError
from rewards.java import fetch
from rewards.java.fetch import CONTENT, copy_corenlp, download_corenlp
from rewards.spice import CORENLP

CLASSES, MODELS = CORENLP
ARCHIVE = "corenlp.zip"


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    """A folder of two small jars that hold what the real ones are recognised by."""
    folder = tmp_path / "jars"
    folder.mkdir()
    for jar in CORENLP:
        with zipfile.ZipFile(folder / jar, "w") as file:
            file.writestr(CONTENT[jar] + ("parser" if jar == MODELS else ""), jar * 5000)
    return folder


@dataclass
class Site:
    """Serves files, from any byte on.

    Attributes:
        files: content by name.
        asked: the files asked for, each with the byte it was asked from.
        breaks_off: names of which only the first 1000 bytes are sent.
        ignores_ranges: whether it sends every file from the start.
    """

    files: dict[str, bytes]
    url: str = ""
    asked: list[tuple[str, int]] = field(default_factory=list)
    breaks_off: set[str] = field(default_factory=set)
    ignores_ranges: bool = False


@pytest.fixture
def site(jars: Path) -> Iterator[Site]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("stanford-corenlp-full/README.txt", "read me")
        for jar in CORENLP:
            file.writestr(f"stanford-corenlp-full/{jar}", (jars / jar).read_bytes())
    served = Site({ARCHIVE: packed.getvalue()})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            ranged = self.headers.get("Range")
            start = int(ranged.removeprefix("bytes=").removesuffix("-")) if ranged else 0
            served.asked.append((name, start))
            if name not in served.files:
                return self.send_error(404)
            if served.ignores_ranges:
                ranged, start = None, 0
            if start >= len(served.files[name]):
                return self.send_error(416)
            content = served.files[name][start:]
            self.send_response(206 if ranged else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:1000] if name in served.breaks_off else content)
            return None

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/"
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


def ignore(file: str, have: int, total: int) -> None:
    """No progress is shown."""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def test_both_jars_are_downloaded_once(site: Site, jars: Path, tmp_path: Path) -> None:
    target, shown = tmp_path / "new" / "spice", []
    made = download_corenlp(target, lambda *progress: shown.append(progress), site.url + ARCHIVE)
    assert made == [target / jar for jar in CORENLP]
    assert contents(target) == contents(jars)
    size = len(site.files[ARCHIVE])
    assert shown == [(ARCHIVE, size, size)]

    site.asked.clear()
    download_corenlp(target, ignore, site.url + ARCHIVE)
    assert site.asked == []

    (target / CLASSES).write_bytes(b"damaged")
    download_corenlp(target, ignore, site.url + ARCHIVE)
    assert contents(target) == contents(jars)


@pytest.mark.parametrize("ignores_ranges", [False, True])
def test_a_download_that_broke_off_goes_on(site: Site, jars: Path, tmp_path: Path, ignores_ranges: bool) -> None:
    site.breaks_off = {ARCHIVE}
    with pytest.raises(RewardError, match=f"broke off after 1000 of {len(site.files[ARCHIVE])} bytes"):
        download_corenlp(tmp_path / "spice", ignore, site.url + ARCHIVE)
    assert not (tmp_path / "spice" / CLASSES).exists()
    site.breaks_off, site.ignores_ranges = set(), ignores_ranges
    download_corenlp(tmp_path / "spice", ignore, site.url + ARCHIVE)
    assert (ARCHIVE, 1000) in site.asked
    assert contents(tmp_path / "spice") == contents(jars)


def test_a_whole_download_that_was_not_unpacked_is_no_obstacle(site: Site, jars: Path, tmp_path: Path) -> None:
    target = tmp_path / "spice"
    target.mkdir()
    (target / f"{ARCHIVE}.part").write_bytes(site.files[ARCHIVE])
    download_corenlp(target, ignore, site.url + ARCHIVE)
    assert contents(target) == contents(jars)


@pytest.mark.parametrize("content", [b"<html>sign in</html>", b"PK\x03\x04 and no more"], ids=["page", "broken"])
def test_what_is_no_archive_leaves_nothing(site: Site, tmp_path: Path, content: bytes) -> None:
    site.files[ARCHIVE] = content
    with pytest.raises(RewardError, match="gave no whole archive of CoreNLP"):
        download_corenlp(tmp_path / "spice", ignore, site.url + ARCHIVE)
    assert contents(tmp_path / "spice") == {}


def test_an_archive_that_is_gone(site: Site, tmp_path: Path) -> None:
    site.files.clear()
    with pytest.raises(RewardError, match="answers 404"):
        download_corenlp(tmp_path / "spice", ignore, site.url + ARCHIVE)
    assert not (tmp_path / "spice").exists()


def test_without_a_network_nothing_is_written(tmp_path: Path) -> None:
    with socket.socket() as closed:  # a port that nobody listens to
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(RewardError, match=r"cannot read .*refused.*--jars"):
        download_corenlp(tmp_path / "spice", ignore, f"http://127.0.0.1:{port}/{ARCHIVE}")
    assert not (tmp_path / "spice").exists()


def test_jars_are_copied_whole(jars: Path, tmp_path: Path) -> None:
    assert copy_corenlp(jars, tmp_path / "spice") == [tmp_path / "spice" / jar for jar in CORENLP]
    assert contents(tmp_path / "spice") == contents(jars)


def test_wrong_jars_are_not_copied(jars: Path, tmp_path: Path) -> None:
    target = tmp_path / "spice"
    models, content = jars / MODELS, (jars / MODELS).read_bytes()
    models.write_bytes((jars / CLASSES).read_bytes())
    with pytest.raises(RewardError, match="holds no edu/stanford/nlp/models/"):
        copy_corenlp(jars, target)
    models.write_bytes(content[:-30])
    with pytest.raises(RewardError, match="is no whole jar"):
        copy_corenlp(jars, target)
    at = content.index(MODELS.encode() * 2)
    models.write_bytes(content[:at] + b"x" + content[at + 1 :])
    with pytest.raises(RewardError, match="is damaged at"):
        copy_corenlp(jars, target)
    models.unlink()
    with pytest.raises(RewardError, match=f"holds no {MODELS}"):
        copy_corenlp(jars, target)
    assert not target.exists()


def run(place: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = environment_of(place) | {"RLCAP_CACHE": str(place / "cache")} | variables
    command = [sys.executable, "-m", "rlcap.cli", "fetch", *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=60)


def test_the_command_copies_to_where_spice_looks(jars: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "spice", "--jars", str(jars))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "cache" / "spice" / jar) for jar in CORENLP]
    assert "RLCAP_SPICE" not in done.stderr
    done = run(tmp_path, "spice", "--jars", str(jars), "--output", "elsewhere")
    assert done.returncode == 0, done.stderr
    assert f"set RLCAP_SPICE to {tmp_path / 'elsewhere'}" in done.stderr


def test_the_command_without_a_network(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{closed.getsockname()[1]}"  # every way out leads to nobody
    done = run(tmp_path, "spice", https_proxy=proxy, HTTPS_PROXY=proxy, no_proxy="", NO_PROXY="")
    assert (done.returncode, done.stdout) == (2, "")
    told, error = done.stderr.splitlines()
    assert told == f"from {fetch.ARCHIVE} into {tmp_path / 'cache' / 'spice'}"
    assert error.startswith(f"rlcap fetch: error: cannot read {fetch.ARCHIVE}")
    assert not (tmp_path / "cache").exists()
