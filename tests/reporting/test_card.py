"""Model cards: read by Hugging Face's own reader, true to the run, safe to show, and never over somebody's work."""

import json
import re
import shutil
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import captioners
import numpy as np
import pytest
import tiny
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from rlcap.cli import main
from rlcap.models import model_folder
from rlcap.policies import Policy, load_policy
from rlcap.reporting.card import unedited
from rlcap.reporting.origin import Origin, origin_of, without_folders

HOSTILE = {
    "html": "<script>alert(1)</script><img src=x onerror=y>",
    "pipes": "a | b || c |\n| d",
    "backticks": "`code` ``` fence\n```\n~~~",
    "override": "a man \u202egnidir\u202c a \u2067horse",
    "rule": "---\nlicense: evil\n---",
    "markdown": "**bold** _it_ [link](http://a.b) ![x](http://a.b/c.png) # no\\",
    "comment": "--> <!-- Written by rlcap card; SHA-256 of the text above: " + "0" * 64 + " -->",
    "entities": "&lt;b&gt; &#124; &amp;",
    "surrogate": "half \ud800 a pair \x00\x1b",
    "long": "word " * 2000,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run, and one that started from it; tests only read them."""
    folder = tmp_path_factory.mktemp("runs")
    first, second = folder / "cross-entropy", folder / "self-critical"
    made = tiny.experiment(tiny.TEACHER_FORCING, evaluate_every=3)
    train(made, folder, first)
    made = tiny.experiment(tiny.SELF_CRITICAL, evaluate_every=3)
    made["policy"] = {"class_path": "rlcap.policies.load_policy", "init_args": {"directory": str(first)}}
    made["rewards"]["short"] = {"weight": 0.25, "reward": {"class_path": "rewards.bleu.Bleu"}}
    train(made, folder, second)
    return first, second


def train(made: dict[str, Any], folder: Path, run: Path) -> None:
    main(["train", "--config", str(tiny.write(folder / "config.yaml", made)), "--output", str(run)])


@pytest.fixture
def copied(runs: tuple[Path, Path], tmp_path: Path) -> Path:
    return shutil.copytree(runs[1], tmp_path / "copied")


def card_of(run: Path) -> Path:
    return model_folder(run, Policy) / "README.md"


def scores_of(run: Path) -> dict[str, dict[str, Any]]:
    scores: dict[str, dict[str, Any]] = json.loads((run / "evaluation/test/scores.json").read_text())["scores"]
    return scores


def cells_of(text: str) -> list[list[str]]:
    """The rows of a card's tables as a Markdown reader shows them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text.partition("\n---\n\n")[2])
    rows: list[list[str]] = []
    for before, token in pairwise(tokens):
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline" and before.type in ("td_open", "th_open"):
            assert all(child.type in ("text", "text_special") for child in token.children or ())
            rows[-1].append("".join(child.content for child in token.children or ()))
    return rows


def test_training_writes_a_card_that_the_hub_reads(runs: tuple[Path, Path]) -> None:
    for run in runs:
        card = ModelCard.load(card_of(run))
        data, written = card.data, card.data.to_dict()
        assert (written["library_name"], data.pipeline_tag, data.base_model) == ("rlcap", "image-to-text", None)
        assert (data.model_name, data.language) == (run.name, None)
        assert ("reinforcement-learning" in data.tags) == (run.name == "self-critical")
        found = {each.metric_name: (each.metric_value, each.metric_args["signature"]) for each in data.eval_results}
        assert found == {name: (score["value"], score["signature"]) for name, score in scores_of(run).items()}
        assert {(each.dataset_name, each.dataset_split) for each in data.eval_results} == {("Shapes", "test")}
        assert {each.metric_type for each in data.eval_results} == {"cider", "bleu", "rouge"}
        assert isinstance(load_policy(str(card_of(run).parent)), Policy)


def test_it_tells_how_the_policy_was_trained(runs: tuple[Path, Path]) -> None:
    settings = {row[0]: row[1] for row in cells_of(card_of(runs[1]).read_text()) if len(row) == 2}
    step = json.loads((runs[1] / "evaluation/test/scores.json").read_text())["step"]
    assert settings["started from"] == "cross-entropy"
    assert settings["algorithm"].startswith("SelfCritical (samples_per_image 2")
    assert settings["rewards"] == "1 × cider_d (CiderD), 0.25 × short (Bleu)"
    assert settings["steps"] == f"6; these weights are of step {step}"
    assert "seed" in settings
    assert "rewards" not in {row[0] for row in cells_of(card_of(runs[0]).read_text())}


def test_it_tells_the_difference_from_the_run_it_started_from(runs: tuple[Path, Path]) -> None:
    rows = {row[0]: row[2] for row in cells_of(card_of(runs[1]).read_text()) if len(row) == 4}
    before, after = (scores_of(run) for run in runs)
    difference = after["CIDEr-D"]["value"] - before["CIDEr-D"]["value"]
    said, low, high = map(float, re.findall(r"[+-]\d+\.\d+", rows["CIDEr-D"]))
    assert said == pytest.approx(difference, abs=5e-5)
    assert low <= said <= high
    lines = [(run / "evaluation/test/predictions.jsonl").read_text().splitlines() for run in runs]
    each = np.array([[json.loads(line)["scores"]["CIDEr-D"] for line in own] for own in lines])
    # Student's interval of paired differences; the bootstrap's variance has a relative error of about 1/sqrt(2 * 2000)
    half = 2.364624 * (each[1] - each[0]).std(ddof=1) / np.sqrt(8)  # 7 degrees of freedom
    assert (high - low) / 2 == pytest.approx(half, rel=0.1, abs=1e-4)


def test_what_cannot_be_compared_is_not(
    runs: tuple[Path, Path], copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copied / "evaluation/test/scores.json"
    summary = json.loads(file.read_text())
    summary["scores"]["BLEU-1"]["value"] += 0.1  # as of a corpus: no mean over its images
    summary["scores"]["CIDEr-D"]["signature"] += "|other"
    file.write_text(json.dumps(summary))
    main(["card", str(copied), "--baseline", str(runs[0])])
    rows = {row[0]: row[2] for row in cells_of(card_of(copied).read_text()) if len(row) == 4}
    assert [rows["BLEU-1"], rows["CIDEr-D"]] == ["", ""]
    assert rows["ROUGE-L"]

    for score in summary["scores"].values():
        score["signature"] = "other"
    file.write_text(json.dumps(summary))
    with pytest.raises(SystemExit):
        main(["card", str(copied), "--baseline", str(runs[0])])
    assert "share no metric scored alike" in capsys.readouterr().err


def test_no_machine_path_is_in_it(runs: tuple[Path, Path]) -> None:
    for run in runs:
        text = card_of(run).read_text()
        assert str(run.parent) not in text
        assert re.findall(r"(?<![\w.])/(?:\w+/)+", unescape(text)) == []


def test_a_card_edited_by_hand_is_kept(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = card_of(copied)
    main(["card", str(copied)])
    assert unedited(card.read_text())
    edited = card.read_text().replace("# copied", "# My captioner")
    card.write_text(edited)
    with pytest.raises(SystemExit) as stop:
        main(["card", str(copied)])
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert stop.value.code == 2
    assert line.endswith(f"{card} was written or edited by hand and stays as it is: name another file with --output")
    main(["train", "--resume", str(copied)])  # measures the test split again
    assert card.read_text() == edited
    main(["card", str(copied), "--output", str(copied / "other.md")])
    assert unedited((copied / "other.md").read_text())


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_captions_stay_text(copied: Path, kind: str) -> None:
    place = copied / "evaluation/test"
    rows = [json.loads(line) for line in (place / "predictions.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {"caption": HOSTILE[kind], "references": [HOSTILE[kind]]}
    (place / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = json.loads((place / "scores.json").read_text())
    name, signature = HOSTILE[kind][:150], f"{HOSTILE[kind]}|v:1"
    summary["scores"][name] = {"value": 0.5, "signature": signature}
    (place / "scores.json").write_text(json.dumps(summary))
    main(["card", str(copied)])

    text = card_of(copied).read_text(encoding="utf-8")
    assert unedited(text)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", text)
    card = ModelCard.load(card_of(copied))
    assert card.data.license is None
    assert [each.metric_value for each in card.data.eval_results if each.metric_name not in scores_of_plain()] == [0.5]
    parsed = MarkdownIt("commonmark").enable("table").parse(card.text)
    assert {
        token.type for token in parsed if token.type == "html_block" and "Written by rlcap" not in token.content
    } == set()
    assert sum(token.type == "html_block" for token in parsed) == 1
    assert sum(token.type == "heading_open" for token in parsed) == 6
    shown = [row[0] for row in cells_of(text) if len(row) == 2 and row[0] == row[1]]
    expected = " ".join(HOSTILE[kind].split())
    expected = re.sub("[\u202a-\u202e\u2066-\u2069\ud800\x00\x1b]", "\ufffd", expected)
    assert shown == [expected if len(expected) <= 300 else f"{expected[:299]}…"] * 5


def scores_of_plain() -> set[str]:
    return {"CIDEr-D", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L"}


def test_a_checkpoint_of_transformers_says_how_to_load_it(tmp_path: Path) -> None:
    (tmp_path / "blip").mkdir()
    captioners.build_blip(tmp_path / "blip")
    made = tiny.experiment(tiny.TEACHER_FORCING, precision="no")
    made["policy"] = {"class_path": "rlcap.policies.blip.Blip", "init_args": {"checkpoint": str(tmp_path / "blip")}}
    made["training"] |= {"steps": 1}
    train(made, tmp_path, tmp_path / "run")
    text = card_of(tmp_path / "run").read_text()
    (code,) = re.findall(r"```python\n(from transformers.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace('"."', repr(str(card_of(tmp_path / "run").parent))), names)
    assert type(names["model"]).__name__ == "BlipForConditionalGeneration"
    assert "An image captioner (Blip), started from blip, and" in text
    assert str(tmp_path) not in text


def config(class_path: str, **arguments: Any) -> dict[str, Any]:
    return {"policy": {"class_path": class_path, "init_args": arguments}}


def test_where_a_policy_comes_from(tmp_path: Path) -> None:
    hub = "Salesforce/blip-image-captioning-base"
    assert origin_of(config("rlcap.policies.tiny.TinyViT")) == Origin()
    assert origin_of(config("rlcap.policies.blip.Blip", checkpoint=hub)) == Origin(hub, hub)
    inner = config("rlcap.policies.blip.Blip", checkpoint=hub)["policy"]
    assert origin_of(config("rlcap.policies.lora.LoRA", policy=inner)) == Origin(hub, hub)
    for local in (str(tmp_path), "/nowhere/blip", "runs/blip", "../blip", "blip"):
        assert origin_of(config("rlcap.policies.blip.Blip", checkpoint=local)) == Origin(Path(local).name)

    first, second = tmp_path / "first", tmp_path / "second"
    for run, made in ((first, {"policy": inner}), (second, config("rlcap.policies.load_policy", directory=str(first)))):
        run.mkdir()
        tiny.write(run / "config.yaml", made)
    for place in (second, second / "checkpoints/7", second / "checkpoints/7/policy"):
        found = origin_of(config("rlcap.policies.load_policy", directory=str(place)))
        assert found == Origin("second", hub, second)


def test_folders_are_left_out_of_texts() -> None:
    assert without_folders("df:/home/me/data/df.json|v:1") == "df:df.json|v:1"
    assert without_folders("model ~/m/clip, C:\\Users\\me\\x.pt") == "model clip, x.pt"
    same = "CIDEr-D|df:coco-train2014|Salesforce/blip|http://a.b/c|1/2"
    assert without_folders(same) == same


def test_a_run_without_results_says_how_to_get_them(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["card", str(copied), "--split", "other"])
    assert "rlcap evaluate" in capsys.readouterr().err
