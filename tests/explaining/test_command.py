"""``rlcap explain`` as a user has it: a run with captions to explain, its transport rewards, and what is refused."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import yaml
from PIL import Image
from text_encoders import build_bert
from tiny_models import build_clip

from rewards.scene_graph import graph_from
from rewards.transport import TokenTransport
from rlcap import cli
from rlcap.data.shapes import Shapes
from rlcap.policies.backbone_decoder import DecoderSettings
from rlcap.policies.tiny import TinyViT
from rlcap.reward_models.visual_semantic import TinyDualEncoder

OWN = '''
from rlcap.data.shapes import Shapes
from rlcap.policies.base import Policy
from rlcap.policies.tiny import TinyViT


class Unplaced(TinyViT):
    """A policy that does not say where its regions lie."""

    encode_grid = Policy.encode_grid


class Interrupted(Shapes):
    """Ctrl-C at the second image."""

    opened = 0

    def open_image(self, record):
        self.opened += 1
        if self.opened == 2:
            raise KeyboardInterrupt
        return super().open_image(record)
'''
REFERENCES = ("a red circle", "a small blue star above a square")


def small_policy(kind: type[TinyViT] = TinyViT) -> TinyViT:
    torch.manual_seed(0)
    decoder = DecoderSettings(width=16, layers=1, heads=2, min_count=1)
    policy = kind(encoder_width=16, encoder_layers=1, heads=2, decoder=decoder)
    policy.prepare([[*REFERENCES, "the dog"]])
    return policy


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (tmp_path / "own_parts.py").write_text(OWN)
    yield tmp_path
    sys.modules.pop("own_parts", None)


@pytest.fixture
def run(here: Path) -> Path:
    """A run folder whose policy knows words but has learned nothing."""
    return write_run(here / "run", small_policy())


def write_run(folder: Path, policy: Any, **config: Any) -> Path:
    policy.save(folder / "checkpoints" / "3" / policy.kind)
    settings = {"data": tiny.DATA, "evaluation": {"decoding": {"max_length": 6}}}
    (folder / "config.yaml").write_text(yaml.safe_dump({**settings, **config}))
    return folder


def rows_in(folder: Path) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "explanations.jsonl").read_text().splitlines()]
    return {row["image_id"]: row for row in rows}


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 2) -> str:
    """The last line on standard error of a command that fails."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        cli.main(["explain", *map(str, arguments)])
    assert end.value.code == status
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_run_is_explained(run: Path) -> None:
    cli.main(["explain", str(run), "--count", "3"])
    folder = run / "explanations" / "test"
    header = json.loads((folder / "explanations.json").read_text())
    assert (header["version"], header["split"], header["step"], header["decoding"]) == (1, "test", 3, "greedy")
    assert set(header["methods"]) == {"relevance", "gradient_attention"}
    rows = rows_in(folder)
    assert list(rows) == ["test-00000", "test-00004", "test-00007"]  # evenly over 8: 0, 3.5 (to even), 7
    for image_id, row in rows.items():
        assert row["caption"].split() == row["words"]
        assert len(row["words"]) in range(1, 7)  # max_length of the run's own decoding
        assert (row["grid"], row["box"]) == ([4, 4], [0.0, 0.0, 1.0, 1.0])
        for method in ("relevance", "gradient_attention"):
            maps = np.array(row[method])
            assert maps.shape == (len(row["words"]), 16)
            assert set(maps.max(axis=1)) <= {0.0, 1.0}
            assert maps.min() >= 0
        assert np.array(row["relevance"]).any()
        assert len(row["strength"]) == len(row["probability"]) == len(row["words"])
        assert all(0 < probability <= 1 for probability in row["probability"])
        assert len(graph_from(row["scene_graph"]).objects) == len(row["scene_graph"]["objects"])
        assert graph_from(row["reference_graph"]).objects
        assert row["transport"] == []
        with Image.open(folder / "images" / f"{image_id}.jpg") as picture:
            assert picture.size == (64, 64)
    assert sorted(path.name for path in folder.iterdir()) == ["explanations.json", "explanations.jsonl", "images"]


def test_what_is_there_is_replaced_only_on_request(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run / "explanations" / "test"
    cli.main(["explain", str(run), "--images", "test-00002", "test-00001"])
    assert list(rows_in(folder)) == ["test-00002", "test-00001"]
    assert "holds explanations already: add --overwrite" in refused(capsys, run, "--images", "test-00005")
    assert list(rows_in(folder)) == ["test-00002", "test-00001"]
    cli.main(["explain", str(run), "--images", "test-00005", "--overwrite"])
    assert list(rows_in(folder)) == ["test-00005"]
    assert [path.name for path in (folder / "images").iterdir()] == ["test-00005.jpg"]
    assert [path.name for path in folder.parent.iterdir()] == ["test"]
    (run / "mine").mkdir()
    (run / "mine" / "notes.txt").touch()
    message = refused(capsys, run, "--output", run / "mine", "--overwrite")
    assert "exists and holds no explanations: choose another --output" in message


def test_best_and_worst_are_by_the_runs_own_scores(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cli.main(["explain", str(run), "--choose", "worst", "--count", "1", "--output", "spread"])
    assert list(rows_in(Path("spread"))) == ["test-00000"]
    place = run / "evaluation" / "test"
    place.mkdir(parents=True)
    scores = {"test-00001": 0.3, "test-00006": 0.9, "test-00003": 0.1}
    lines = [json.dumps({"image_id": image, "scores": {"CIDEr-D": score}}) for image, score in scores.items()]
    (place / "predictions.jsonl").write_text("\n".join(lines) + "\n")
    for choose, expected in {"best": ["test-00006", "test-00001"], "worst": ["test-00003", "test-00001"]}.items():
        cli.main(["explain", str(run), "--choose", choose, "--count", "2", "--output", choose])
        assert list(rows_in(Path(choose))) == expected


def test_transport_rewards_show_their_plans(here: Path) -> None:
    text, clip = build_bert(here / "bert"), str(build_clip(here / "clip"))
    token = {"class_path": "rewards.transport.TokenTransport", "init_args": {"checkpoint": text}}
    wrapped = {"class_path": "rewards.Clipped", "init_args": {"low": 0, "reward": token}}
    patch = {"class_path": "rewards.patch_transport.PatchTransport", "init_args": {"checkpoint": clip}}
    run = write_run(
        here / "run",
        small_policy(),
        rewards={"words": {"reward": wrapped}, "cider": {"reward": {"class_path": "rewards.cider.CiderD"}}},
        evaluation={"metrics": {"patches": patch, "same": token}},
    )
    cli.main(["explain", str(run), "--count", "1", "--split", "val"])
    (row,) = rows_in(run / "explanations" / "val").values()
    assert [plan["reward"] for plan in row["transport"]] == ["words", "patches"]
    words, patches = row["transport"]
    assert np.array(words["plan"]).shape == (len(words["tokens"]), len(words["targets"]))
    assert np.array(words["plan"]).sum() == pytest.approx(1, abs=1e-3)  # rounded to 5 digits
    record = Shapes(**tiny.DATA["init_args"]).records("val")[0]  # type: ignore[arg-type]
    reward = TokenTransport(text)
    each = {reference: reward.alignment(row["caption"], reference).reward for reference in record.references}
    assert words["reference"] in record.references
    assert 1 - words["cost"] == pytest.approx(max(each.values()), abs=1e-4)
    assert np.array(patches["plan"]).shape == (len(patches["tokens"]), patches["grid"][0] * patches["grid"][1])
    assert patches["box"] == [0, 0, 1, 1]
    cli.main(["explain", str(run), "--count", "1", "--split", "val", "--transport", "false", "--overwrite"])
    assert next(iter(rows_in(run / "explanations" / "val").values()))["transport"] == []


def test_a_mistake_is_one_line_and_nothing_is_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(here / "run", small_policy())
    own = pytest.importorskip("own_parts")
    unplaced = write_run(here / "unplaced", small_policy(own.Unplaced))
    torch.manual_seed(0)
    judge = TinyDualEncoder(**{"image_size": 32})
    judge.prepare([REFERENCES])
    judged = write_run(here / "judge", judge)
    for arguments, message in (
        ([run, "--images", "test-00001", "none"], "the split 'test' has no image 'none'"),
        ([run, "--split", "dev"], "no split 'dev' in Shapes"),
        ([run, "--count", 0], "--count must be at least 1, got 0"),
        ([judged], "holds a reward model: explained are captions of policies"),
        ([unplaced], "Unplaced does not say where its regions lie in an image"),
        ([here / "nowhere"], "nowhere does not exist"),
        ([run / "checkpoints" / "3", "--choose", "nicest"], "nicest"),
    ):
        said = refused(capsys, *arguments)
        assert said.startswith("rlcap explain: error: "), said
        assert message in said
    assert not list(here.rglob("explanations"))
    assert not list(here.rglob("*.partial"))


def test_an_interrupted_command_leaves_nothing_half_written(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted = ["--data", "own_parts.Interrupted", "--output"]
    assert refused(capsys, run, *interrupted, "made/test", status=130) == "rlcap explain: interrupted"
    assert not Path("made").exists()
    cli.main(["explain", str(run), "--output", "made/test", "--count", "1"])
    before = (Path("made/test") / "explanations.jsonl").read_bytes()
    refused(capsys, run, *interrupted, "made/test", "--overwrite", status=130)
    assert (Path("made/test") / "explanations.jsonl").read_bytes() == before
    assert [path.name for path in Path("made").iterdir()] == ["test"]
