"""Requests as a browser, and as one that should not, sends them: what is answered, refused and written."""

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from annotating import Serve, WriteRun, ask, lines_of, session_of
from PIL import Image

from rlcap.annotation.images import Open, images_in
from rlcap.annotation.server import Server
from rlcap.errors import UserError

STATE = {"tab": "t"}


@pytest.fixture
def server(tmp_path: Path, serve: Serve) -> Server:
    return serve(session_of(tmp_path / "j.jsonl"))


def answer(number: int, choice: object = "left", seconds: object = 1.5) -> dict[str, Any]:
    return {"tab": "t", "number": number, "answer": choice, "seconds": seconds}


def test_the_page_names_no_run_and_forbids_what_is_outside(server: Server) -> None:
    for name in ("", "page.css", "page.js"):
        status, content, headers = ask(server.address, name)
        assert status == 200
        assert b"://" not in content  # no address of another place
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;")
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert ask(server.address, "state", STATE)[1]["state"]["question"].keys() == {
        *("number", "image", "pictured", "left", "right")
    }


def test_a_judgement_is_on_the_disk_when_the_browser_is_told(server: Server, tmp_path: Path) -> None:
    status, reply, _ = ask(server.address, "answer", answer(2, "right"))
    assert (status, reply["error"], reply["state"]["judged"]) == (200, "", 1)
    assert [row["seconds"] for row in lines_of(tmp_path / "j.jsonl")] == [1.5]
    status, reply, _ = ask(server.address, "answer", answer(2))
    assert (status, reply["state"]["judged"]) == (409, 1)
    assert "judged already" in reply["error"]
    status, reply, _ = ask(server.address, "undo", {"tab": "t", "number": 2})
    assert (status, reply["state"]["judged"], reply["state"]["question"]["number"]) == (200, 0, 2)
    assert lines_of(tmp_path / "j.jsonl") == []


def test_requests_at_once_write_one_line(server: Server, tmp_path: Path) -> None:
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(ask(server.address, "answer", answer(1))[0])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 7
    assert len(lines_of(tmp_path / "j.jsonl")) == 1


def test_other_pages_and_hosts_are_refused(server: Server, tmp_path: Path) -> None:
    place = f"127.0.0.1:{server.server_port}"
    refused: list[tuple[dict[str, str | None], int]] = [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": None}, 403),
        ({"Origin": f"https://{place}"}, 403),
        ({"Origin": f"http://localhost:{server.server_port}"}, 403),  # another page on this machine
        ({"Origin": f"http://127.0.0.1:{server.server_port + 1}"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),  # a name made to point here
        ({"Host": f"127.0.0.1.evil.example:{server.server_port}"}, 403),
        ({"Host": None}, 403),
        ({"Content_Type": "text/plain"}, 415),  # what a form can send
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
    ]
    for headers, expected in refused:
        assert ask(server.address, "answer", answer(0), **headers)[0] == expected, headers
    for host in ("evil.example", f"[::1].evil:{server.server_port}", ""):
        assert ask(server.address, "", Host=host)[0] == 403
    for path in ("", "x" * 22 + "/", "%C3%A9/", "//evil/"):
        address = f"http://{place}/"
        assert ask(address, path)[0] == 404
        assert ask(address, f"{path}answer", answer(0))[0] == 404
    assert ask(server.address.rstrip("/"), "")[0] == 404
    assert lines_of(tmp_path / "j.jsonl") == []
    tunnelled = {"Host": "localhost:9000", "Origin": "http://localhost:9000"}  # as through ssh -L 9000:...
    assert ask(server.address, "answer", answer(0), **tunnelled)[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        answer(5),
        answer(-1),
        {**answer(0), "number": True},
        {**answer(0), "number": "0"},
        answer(0, "both"),
        answer(0, ["left"]),
        answer(0, seconds=-1),
        answer(0, seconds="1"),
        answer(0, seconds=1e9),
        {**answer(0), "tab": ""},
        {**answer(0), "tab": "t" * 65},
        b'{"tab": "t", "number": 0, "answer": "left", "seconds": NaN}',
        b'{"tab": "t", "number": 0, "answer": "left", "seconds": 1' + b"0" * 400 + b"}",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 4000,
    ],
    ids=range(17),
)
def test_what_the_page_would_not_send_is_refused(server: Server, tmp_path: Path, body: Any) -> None:
    assert ask(server.address, "answer", body)[0] == 400
    assert lines_of(tmp_path / "j.jsonl") == []


def test_a_body_of_no_or_great_length_is_refused(server: Server) -> None:
    assert ask(server.address, "answer", b" " * 4097)[0] == 413
    assert ask(server.address, "delete", STATE)[0] == 400


def test_images_come_from_the_table_alone(
    tmp_path: Path, serve: Serve, write_run: WriteRun, thumbnails: Callable[[Path], dict[str, Open]]
) -> None:
    found = thumbnails(write_run("old", without=("photo/2",)))
    session = session_of(tmp_path / "j.jsonl")
    (tmp_path / "old" / "evaluation" / "test" / "images" / "photo%2F3.jpg").write_bytes(b"\xff\xd8 cut off")
    server = serve(session, found)
    answers = {}
    for number, question in enumerate(session.questions.asked):
        status, content, headers = ask(server.address, f"image/{number}")
        answers[question.image] = status
        if status == 200:
            assert headers["Content-Type"] == "image/jpeg"
            assert Image.open(io.BytesIO(content)).size == (96, 64)
    assert answers == {"photo/1": 200, "photo/2": 404, "photo/3": 404, "photo/4": 200, "photo/5": 200}
    for name in ("image/5", "image/-1", "image/", "image/0/..", "image/../page.css", "../page.css", "image/%2e%2e/x"):
        assert ask(server.address, name)[0] == 404
    for name in ("page.py", "server.py", "image//etc/hostname", "%2e%2e/server.py"):
        assert ask(server.address, name)[0] == 404


def test_an_error_of_the_file_is_told_and_nothing_is_counted(server: Server, tmp_path: Path) -> None:
    ask(server.address, "answer", answer(0))
    away = (tmp_path / "j.jsonl").rename(tmp_path / "away")
    for name, body in (("answer", answer(1)), ("undo", answer(0)), ("state", STATE)):
        status, reply, _ = ask(server.address, name, body)
        assert (status, reply["state"]["judged"]) == (500, 1)
        assert reply["error"] == "j.jsonl was removed, so nothing is saved: put it back, or start again"
        assert reply["state"]["question"]["number"] == 1
    away.rename(tmp_path / "j.jsonl")
    assert ask(server.address, "answer", answer(1))[1]["state"]["judged"] == 2


def test_a_port_that_is_taken_or_none_is_refused(server: Server) -> None:
    with pytest.raises(UserError, match=f"cannot use port {server.server_port}: Address already in use"):
        Server(server.session, {}, server.server_port)
    with pytest.raises(UserError, match="--port must be between"):
        Server(server.session, {}, 65536)
    assert server.server_address[0] == "127.0.0.1"


def test_images_of_a_folder_by_name_stem_number_and_place(tmp_path: Path) -> None:
    (tmp_path / "val2014").mkdir()
    for name in ("a.png", "COCO_x_000000000042.jpg", "val2014/000000000007.jpg", "val2014/b.jpg", "secret.txt"):
        Image.new("RGB", (8, 6)).save(tmp_path / name, "PNG")
    outside = tmp_path.parent / f"{tmp_path.name}.png"
    Image.new("RGB", (8, 6)).save(outside)
    ids = ["a", "a.png", "42", "7", "b", "val2014/b.jpg", "secret.txt", "secret", f"../{outside.name}", str(outside)]
    found = images_in(tmp_path, ids)
    assert list(found) == ids[:6]
    assert {image().size for image in found.values()} == {(8, 6)}
