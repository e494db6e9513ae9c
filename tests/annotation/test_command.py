"""``rlcap annotate`` as a user has it: from run folders to a file and a summary, stopped by Ctrl-C and gone on with."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from annotating import WriteRun, ask, captions_of, lines_of

from rlcap import cli
from rlcap.commands.annotate import images_of_data

# Ends with 3 if what judging does not need was loaded.
CODE = (
    "import sys; from rlcap.cli import main; main(sys.argv[1:]); "
    "sys.exit(3 if {'torch', 'transformers', 'matplotlib'} & set(sys.modules) else 0)"
)


def start(folder: Path, *arguments: object) -> tuple[subprocess.Popen[str], str]:
    """The running command, and the address it prints."""
    command = [sys.executable, "-c", CODE, "annotate", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def stop(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed on standard output and error once interrupted."""
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=20)
    assert process.returncode == 0, error
    return output, error


def test_judging_stopping_and_going_on(write_run: WriteRun, tmp_path: Path) -> None:
    for name in ("old", "new"):
        write_run(name, without=("photo/4",) if name == "old" else ("photo/4", "photo/5"))
    process, address = start(tmp_path, "old", "new", "--output", "j.jsonl", "--rater", "ann")
    state = ask(address, "state", {"tab": "t"})[1]["state"]
    missing = []
    for _ in range(4):
        question = state["question"]
        if not question["pictured"]:
            missing.append(question["image"])
        better = "left" if question["left"].startswith("new") else "right"
        body = {"tab": "t", "number": question["number"], "answer": better, "seconds": 1}
        state = ask(address, "answer", body)[1]["state"]
    output, error = stop(process)
    rows = lines_of(tmp_path / "j.jsonl")
    assert {row["rater"] for row in rows} == {"ann"}
    assert output.splitlines() == [
        f"4 judged now; 4 in {tmp_path}/j.jsonl",
        "new over old: 4 of 4 decided, 100.0% [51.0%, 100.0%], 0 tied",  # Wilson: 4 / (4 + 1.96 ** 2) = 0.51
    ]
    assert "5 pairs of captions; judged already: 0; left out as identical: 1; without an image: 1\n" in error

    process, address = start(tmp_path, "old", "new", "--output", "j.jsonl", "--rater", "ann")
    later = ask(address, "state", {"tab": "other"})[1]["state"]
    assert (later["judged"], later["total"], later["question"]) == (4, 5, state["question"])
    assert {*missing, *([] if later["question"]["pictured"] else [later["question"]["image"]])} == {"photo/4"}
    _, error = stop(process)
    assert "judged already: 4;" in error
    assert lines_of(tmp_path / "j.jsonl") == rows


def test_images_that_only_the_data_set_has_are_opened_by_it(
    write_run: WriteRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlcap.annotation import Choice, prepare_session

    names = [f"test-{place:05d}" for place in range(4)] + ["elsewhere"]
    for run in ("old", "new"):
        folder = write_run(run, {name: f"{run} {name}" for name in names}, without=tuple(names[1:]))
        shapes = {"class_path": "rlcap.data.shapes.Shapes", "init_args": {"train": 1, "val": 1, "test": 3}}
        settings = shapes if run == "old" else {"class_path": "rlcap.data.shapes.Gone"}
        (folder / "config.yaml").write_text(yaml.safe_dump({"data": settings}))
    monkeypatch.chdir(tmp_path)
    folders = [Path("old"), Path("new")]

    def sizes(choice: Choice) -> dict[str, tuple[int, int]]:
        images = prepare_session(folders, Path("j.jsonl"), choice, lambda *asked: images_of_data("x", *asked))[1]
        return {name: images[name]().size for name in sorted(images)}

    # The thumbnail of the first, and what Shapes draws of the next two; neither set has more.
    assert sizes(Choice()) == {names[0]: (96, 64), names[1]: (64, 64), names[2]: (64, 64)}
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "old/evaluation/test/images" / f"{names[0]}.jpg").rename(photos / f"{names[3]}.jpg")
    assert list(sizes(Choice(images=photos))) == [names[0], names[3]]  # the other run still has its thumbnail

    folder_set = {"class_path": "rlcap.data.folder.Folder", "init_args": {"images": "photos"}}
    Path("old/config.yaml").write_text(yaml.safe_dump({"data": folder_set}))
    Path("new/config.yaml").unlink()
    assert names[3] in sizes(Choice())


MISTAKES: dict[str, tuple[Sequence[str], str]] = {
    "one run": (["old"], "name at least two run folders, got 1"),
    "the same run": (["old", "old"], "is given more than once"),
    "no such run": (["old", "none"], "none holds no captions of the split 'test'"),
    "no such split": (["old", "new", "--split", "val"], "old holds no captions of the split 'val'"),
    "nothing differs": (["old", "copy/old"], "nothing to judge in runs/old, copy/old: all their captions are the same"),
    "nothing shared": (["old", "far"], "nothing to judge in old, far: they share no image"),
    "two captions": (["old", "twice"], "names image '1' twice"),
    "no folder": (["old", "new", "--images", "none"], "--images: there is no folder none"),
    "no question": (["old", "new", "--questions", "0"], "--questions must be at least 1, got 0"),
    "no rater": (["old", "new", "--rater", " "], "--rater is empty"),
    "no port": (["old", "new", "--port", "70000"], "--port must be between 0 (a free one) and 65535, got 70000"),
    "other file": (["old", "new", "--output", "notes.txt"], "notes.txt, line 1 is no judgement of two captions"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(
    mistake: str,
    write_run: WriteRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, message = MISTAKES[mistake]
    for name in ("old", "new"):
        write_run(f"runs/{name}", captions_of(name), without=tuple(captions_of(name)))
    write_run("runs/copy/old", captions_of("old"))
    write_run("runs/far", {"x": "y"})
    twice = write_run("runs/twice") / "evaluation/test/predictions.jsonl"
    twice.write_text(2 * (json.dumps({"image_id": 1, "caption": "a"}) + "\n"))
    (tmp_path / "runs/notes.txt").write_text("mine\n")
    monkeypatch.chdir(tmp_path / "runs")
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as end:
        cli.main(["annotate", *arguments])
    output, error = capsys.readouterr()
    assert (end.value.code, output) == (2, "")
    assert message in error.splitlines()[-1]
    assert error.splitlines()[-1].startswith("rlcap annotate: error: ")
