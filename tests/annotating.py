"""Runs to judge, a session of them, and a server that answers while a test runs."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from PIL import Image

from rlcap.annotation.images import Open, thumbnails_in
from rlcap.annotation.pairs import make_questions
from rlcap.annotation.server import Server
from rlcap.annotation.session import Session
from rlcap.annotation.store import JudgementFile

WriteRun = Callable[..., Path]
Serve = Callable[..., Server]


def captions_of(run: str, images: int = 6) -> dict[str, str]:
    """Captions that name their run, but for the first image, of which all runs say the same."""
    own = {f"photo/{place}": f"{run} sees thing {place}" for place in range(images)}
    return own | {"photo/0": "a thing"}


def lines_of(path: Path) -> list[dict[str, Any]]:
    content = path.read_text(encoding="utf-8")
    assert content == "" or content.endswith("\n")
    return [json.loads(line) for line in content.split("\n")[:-1]]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Writes a run folder with captions and, for all images but those named, thumbnails."""

    def write(name: str, captions: Mapping[str, str] | None = None, without: tuple[str, ...] = ()) -> Path:
        test = tmp_path / name / "evaluation" / "test"
        (test / "images").mkdir(parents=True)
        rows = captions_of(name) if captions is None else captions
        text = "".join(json.dumps({"image_id": image, "caption": caption}) + "\n" for image, caption in rows.items())
        (test / "predictions.jsonl").write_text(text)
        for place, image in enumerate(rows):
            if image not in without:
                picture = Image.new("RGB", (96, 64), (40 * place % 256, 120, 200))
                picture.save(test / "images" / f"{quote(image, safe='')}.jpg")
        return tmp_path / name

    return write


def session_of(path: Path, *runs: str, rater: str | None = None, seed: int = 0) -> Session:
    """A session about runs whose captions name them."""
    captions = {run: captions_of(run) for run in runs or ("old", "new")}
    return Session(list(captions), make_questions(captions, seed), JudgementFile(path), rater)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server of a session in this process; it ends with the test."""
    servers: list[tuple[Server, threading.Thread]] = []

    def start(session: Session, images: Mapping[str, Open] | None = None) -> Server:
        server = Server(session, images or {})
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def thumbnails() -> Callable[[Path], dict[str, Open]]:
    """What opens the thumbnails of a run."""
    return lambda run: thumbnails_in([run / "evaluation" / "test" / "images"], captions_of(run.name))


def ask(
    address: str, name: str, body: Mapping[str, Any] | bytes | None = None, **headers: str | None
) -> tuple[int, Any, Mapping[str, str]]:
    """Status, content and headers of the answer to a request, made as the page makes it but for the headers given."""
    place = urlsplit(address)
    assert place.hostname is not None
    connection = HTTPConnection(place.hostname, place.port, timeout=10)
    own: dict[str, str | None] = {"Host": place.netloc}
    if body is not None:
        own |= {"Origin": f"http://{place.netloc}", "Content-Type": "application/json"}
    own |= {key.replace("_", "-"): value for key, value in headers.items()}
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.putrequest("GET" if body is None else "POST", place.path + name, skip_host=True)
        for key, value in own.items():
            if value is not None:
                connection.putheader(key, value)
        if content is not None:
            connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(content)
        answer = connection.getresponse()
        read = answer.read()
        kind = answer.headers.get_content_type()
        return answer.status, json.loads(read) if kind == "application/json" else read, dict(answer.headers)
    finally:
        connection.close()
