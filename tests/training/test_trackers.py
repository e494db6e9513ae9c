"""What trackers are told, read back from the files that they write."""

import io
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import tiny
from accelerate.utils import LoggerType
from markdown import markdown
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlcap.cli import main
from rlcap.data.base import CaptionDataset, Record
from rlcap.training.trackers import flattened, spread

STEPS = 4
BLOCK = 32768
HOSTILE = "<script>alert(1)</script> | **bold** `code` ![x](http://a.b/c.png)\n# heading \u202e"


class HostileShapes(CaptionDataset):
    """Shapes whose first reference tries to be more than text."""

    def __init__(self) -> None:
        from rlcap.data.shapes import Shapes

        self.shapes = Shapes(train=16, val=5, test=5)

    def records(self, split: str) -> list[Record]:
        hostile = HOSTILE if split != "train" else "a red circle"
        return [
            Record(f"{each.image_id}|<b>", (hostile, *each.references), metadata=each.metadata)
            for each in self.shapes.records(split)
        ]

    def open_image(self, record: Record) -> Image.Image:
        image_id = record.image_id.removesuffix("|<b>")
        own = next(
            each
            for split in ("train", "val", "test")
            for each in self.shapes.records(split)
            if each.image_id == image_id
        )
        return self.shapes.open_image(own).resize((600, 300))


def config(*trackers: str, **training: Any) -> dict[str, Any]:
    made = tiny.experiment(
        tiny.SELF_CRITICAL, trackers=list(trackers), evaluate_every=2, checkpoint_every=2, **training
    )
    made["data"] = {"class_path": f"{__name__}.HostileShapes"}
    made["training"] |= {"steps": STEPS, "images_per_batch": 4}
    return made


def train(folder: Path, made: dict[str, Any]) -> Path:
    file = tiny.write(folder / "config.yaml", made)
    main(["train", "--config", str(file), "--output", str(folder / "run")])
    return folder / "run"


def events(run: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run / "rlcap"), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    return accumulator.Reload()


def logged(run: Path, tag: str) -> dict[int, float]:
    return {event.step: event.value for event in events(run).Scalars(tag)}


def written(run: Path, key: str) -> dict[int, float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row[key] for row in rows if key in row}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("tensorboard"), config("tensorboard", tracker_samples=3))


def test_tensorboard_has_the_numbers_and_the_settings(run: Path) -> None:
    for key in ("loss/policy", "val/CIDEr-D", "reward/cider_d"):
        assert logged(run, key) == pytest.approx(written(run, key), rel=1e-6)
    assert list(logged(run, "val/CIDEr-D")) == [0, 2, 4]
    scores = json.loads((run / "evaluation/test/scores.json").read_text())["scores"]
    assert logged(run, "test/BLEU-1") == pytest.approx({STEPS: scores["BLEU-1"]["value"]}, rel=1e-6)

    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    (started,) = [
        content for tag, content in events(run).summary_metadata.items() if tag == "_hparams_/session_start_info"
    ]
    settings = HParamsPluginData.FromString(started.plugin_data.content).session_start_info.hparams
    assert settings["training.steps"].number_value == STEPS
    assert settings["algorithm.class_path"].string_value == tiny.SELF_CRITICAL["class_path"]
    assert [path.name for path in (run / "rlcap").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(("split", "steps"), [("val", [0, 2, 4]), ("test", [4])])
def test_tensorboard_shows_the_same_images_and_what_is_said_of_them(run: Path, split: str, steps: list[int]) -> None:
    found = events(run)
    assert [tag for tag in found.Tags()["images"] if tag.startswith(split)] == [
        f"{split}/samples/{number}" for number in (1, 2, 3)
    ]
    for number in (1, 2, 3):
        (image,) = found.Images(f"{split}/samples/{number}")
        assert Image.open(io.BytesIO(image.encoded_image_string)).size == (256, 128) == (image.width, image.height)

    tables = found.Tensors(f"{split}/samples/text_summary")
    assert [table.step for table in tables] == steps
    predictions = [
        json.loads(line) for line in (run / f"evaluation/{split}/predictions.jsonl").read_text().splitlines()
    ]
    shown = tables[-1].tensor_proto.string_val[0].decode()
    columns, _, *rows = shown.splitlines()
    for row, place in zip(rows, (0, 2, 4), strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert predictions[place]["caption"] in cells[1]
        assert float(cells[3]) == pytest.approx(predictions[place]["scores"]["CIDEr-D"], abs=5e-5)
    # what TensorBoard makes of it, before it cleans the HTML
    shown_cells = re.findall(r"<td>(.*?)</td>", markdown(shown, extensions=["tables"]))
    assert len(shown_cells) == len(rows) * len(columns.strip("|").split("|"))
    assert not any("<" in cell for cell in shown_cells)
    assert [unescape(cell) for cell in shown_cells].count(" ".join(HOSTILE.split()).replace("\u202e", "\ufffd")) == 3


def test_a_resumed_run_goes_on_with_its_log(tmp_path: Path) -> None:
    whole = train(tmp_path, config("tensorboard", keep_checkpoints=9))
    steps = logged(whole, "loss/policy")
    shutil.rmtree(whole / "checkpoints" / str(STEPS))  # as if killed before it was written
    (whole / "checkpoints/best.json").unlink()
    main(["train", "--resume", str(whole)])
    found = events(whole)
    assert [event.step for event in found.Scalars("loss/policy")] == sorted(steps)  # 3 and 4 once, not twice
    tables = {(event.step, event.tensor_proto.string_val[0]) for event in found.Tensors("val/samples/text_summary")}
    assert sorted(step for step, _ in tables) == [0, 2, 4]  # the accumulator drops no text; that of 4 is the same again


def test_no_samples_where_they_are_switched_off(tmp_path: Path) -> None:
    found = events(train(tmp_path, config("tensorboard", tracker_samples=0)))
    assert found.Tags()["images"] == []
    assert found.Tags()["tensors"] == []
    assert found.Scalars("val/CIDEr-D")


def transactions(file: Path) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format after a header of 7 bytes."""
    content = file.read_bytes()
    assert content[:4] == b":W&B"
    place, record = 7, b""
    while place + 7 <= len(content):
        if place % BLOCK > BLOCK - 7:  # too little of the block is left for a header
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part of one
            yield record
            record = b""


@pytest.mark.slow
def test_wandb_keeps_everything_in_the_run_folder(tmp_path: Path) -> None:
    from wandb.proto import wandb_internal_pb2

    home = tmp_path / "home"
    home.mkdir()
    file = tiny.write(tmp_path / "config.yaml", config("wandb", tracker_samples=3))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "XDG"))}
    environment |= {"WANDB_MODE": "offline", "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    environment["WANDB_BASE_URL"] = f"http://127.0.0.1:{server.getsockname()[1]}"
    run = tmp_path / "run"
    for arguments in (["--config", str(file), "--output", str(run)], ["--resume", str(run), "--training.steps=6"]):
        command = [sys.executable, "-m", "rlcap.cli", "train", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        if "--config" in arguments:
            said = (run / "evaluation/test/predictions.jsonl").read_text()

    with server, pytest.raises(BlockingIOError):  # nobody has called
        server.accept()
    first, second = sorted((run / "wandb").glob("offline-run-*"))
    own = json.loads((run / "wandb.json").read_text())["id"]
    assert {folder.name.rpartition("-")[2] for folder in (first, second)} == {own}
    assert [path for path in home.rglob("*") if path.is_file()] == []

    history: dict[tuple[int, str], Any] = {}
    settings = {}
    for data in transactions(first / f"run-{own}.wandb"):
        record = wandb_internal_pb2.Record.FromString(data)
        for item in record.history.item:
            history[record.history.step.num, item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        settings |= {item.key: json.loads(item.value_json) for item in record.config.update}
        if record.HasField("run"):
            assert (record.run.display_name, record.run.project) == ("run", "rlcap")
    assert settings["training.steps"] == STEPS
    losses = {step: value for (step, key), value in history.items() if key == "loss/policy"}
    assert losses == pytest.approx(
        {step: value for step, value in written(run, "loss/policy").items() if step <= STEPS}
    )

    table = json.loads((first / "files" / history[STEPS, "test/samples/path"]).read_text())
    assert table["columns"][:4] == ["image", "image_id", "caption", "reference"]
    predictions = [json.loads(line) for line in said.splitlines()]
    assert [row[1] for row in table["data"]] == [predictions[place]["image_id"] for place in (0, 2, 4)]
    assert [row[2] for row in table["data"]] == [predictions[place]["caption"] for place in (0, 2, 4)]
    assert history[STEPS, "test/images/captions"] == [row[2] for row in table["data"]]
    assert sorted(step for step, key in history if key == "val/samples/path") == [0, 2, 4]
    for name in history[STEPS, "test/images/filenames"]:
        assert Image.open(io.BytesIO((first / "files" / name).read_bytes())).size == (256, 128)


def test_a_tracker_that_is_not_installed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("accelerate.tracking._available_trackers", [LoggerType.TENSORBOARD])
    file = tiny.write(tmp_path / "config.yaml", config("wandb"))
    with pytest.raises(SystemExit):
        main(["train", "--config", str(file), "--output", str(tmp_path / "run")])
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .endswith("training.trackers names 'wandb', which is not installed; there are ['tensorboard']")
    )
    assert not (tmp_path / "run").exists()


def test_settings_are_named_as_the_command_line_names_them() -> None:
    nested = {"policy": {"class_path": "a.B", "init_args": {"width": 3, "names": ["x", 1], "none": None}}, "on": True}
    assert flattened(nested) == {
        "policy.class_path": "a.B",
        "policy.init_args.width": 3,
        "policy.init_args.names": '["x", 1]',
        "on": True,
    }


@pytest.mark.parametrize(("count", "places"), [(0, []), (1, [0]), (3, [0, 4, 9]), (20, list(range(10)))], ids=str)
def test_samples_are_spread_evenly(count: int, places: list[int]) -> None:
    assert spread(range(10), count) == places


def test_a_reward_model_shows_the_captions_it_scored(tmp_path: Path) -> None:
    made = tiny.judged(tiny.PREFERENCES["bradley_terry"], trackers=["tensorboard"], tracker_samples=2)
    made["training"] |= {"steps": 1}
    run = train(tmp_path, made)
    (table,) = events(run).Tensors("test/samples/text_summary")
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in table.tensor_proto.string_val[0].decode().splitlines()
    ]
    predictions = [json.loads(line) for line in (run / "evaluation/test/predictions.jsonl").read_text().splitlines()]
    assert rows[0] == ["image", "caption", "reference", "score"]
    for row, prediction in zip(rows[2:], (predictions[0], predictions[-1]), strict=True):
        assert row == [row[0], prediction["caption"], "", f"{prediction['score']:.4f}"]


@pytest.mark.slow
def test_wandb_without_a_login_is_one_line(tmp_path: Path) -> None:
    file = tiny.write(tmp_path / "config.yaml", config("wandb"))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "XDG"))}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "rlcap.cli", "train", "--config", str(file), "--output", str(tmp_path / "run")]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2
    assert re.search(r"^rlcap train: error: wandb cannot start: .*WANDB_MODE=offline", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr
