"""`rlcap score` as a user has it: captions in every form, rewards of a run's configuration, human judgements."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy import stats

from rewards.bleu import Bleu
from rewards.cider import CiderD
from rewards.composite import Term
from rewards.scoring.files import read_candidates
from rlcap import cli
from rlcap.commands.shared import Parser

PHOTOS, EACH = 12, 3
OWN = """
from rewards import Reward

def letters(captions):
    return [len(caption) for caption in captions]

def constant(captions):
    return [1.0 for caption in captions]

class Never(Reward):
    def __call__(self, candidates):
        raise AssertionError("scored before all was checked")

def brightness(captions, images):
    return [float(image.getpixel((0, 0))[0]) for image in images]
"""
WORDS = ["a dog runs", "a black dog runs on grass", "two men", "a man rides a horse", "red", "a cat sleeps on a bed"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with references, human judgements, photos and rewards of the user's own."""
    rng = np.random.default_rng(0)
    references = {f"p{image}": [WORDS[image % 6], WORDS[(image + 1) % 6]] for image in range(PHOTOS)}
    (tmp_path / "references.json").write_text(json.dumps(references))
    (tmp_path / "photos").mkdir()
    lines = ["image,caption,expert1,expert2,note"]
    for image in range(PHOTOS):
        Image.new("RGB", (2, 2), (image * 20, 0, 0)).save(tmp_path / "photos" / f"p{image}.png")
        for caption in rng.permutation(6)[:EACH]:
            good = WORDS[caption] in references[f"p{image}"]
            marks = rng.integers(1, 4, size=2) + good
            lines.append(f"p{image}.jpg,{WORDS[caption]},{marks[0]},{marks[1]},{'own' if good else ''}")
    (tmp_path / "human.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "score_rewards_of_a_test.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("score_rewards_of_a_test", None)
    return tmp_path


def run(*arguments: object) -> None:
    cli.main(["score", *map(str, arguments), "--resamples", "50"])


def rows_of(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(Path(path).read_text())))


def test_captions_in_every_form_get_the_same_scores(place: Path) -> None:
    captions = [("p0", "a dog runs on grass"), ("p3", "a man, and a horse"), ("p5", "a cat")]
    references = json.loads((place / "references.json").read_text())
    Path("c.json").write_text(json.dumps([{"image_id": image, "caption": text} for image, text in captions]))
    Path("c.jsonl").write_text(
        "".join(
            json.dumps({"image_id": image, "caption": text, "references": references[image]}) + "\n"
            for image, text in captions
        )
    )
    with Path("c.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *((f"{image}.jpg", text) for image, text in captions)])
    Path("c.txt").write_text("".join(f"{text}\n" for _, text in captions))
    for number in (0, 1):
        Path(f"r{number}.txt").write_text("".join(f"{references[image][number]}\n" for image, _ in captions))
    forms: list[tuple[str, list[str]]] = [
        ("c.json", ["references.json"]),
        ("c.jsonl", []),
        ("c.csv", ["references.json"]),
        ("c.txt", ["r0.txt", "r1.txt"]),
    ]
    for name, others in forms:
        given = ["--references", *others] if others else []
        run("--candidates", name, *given, "--rewards", "CIDEr-D", "BLEU-2", "--output", f"{name}.out")
    results = [json.loads(Path(f"{name}.out").read_text()) for name, _ in forms]
    assert all(result["scores"] == results[0]["scores"] for result in results)
    candidates = read_candidates(Path("c.json"), Path("references.json"))
    assert results[0]["scores"]["CIDEr-D"]["value"] == CiderD("corpus", eos=False).corpus(candidates)
    assert results[0]["scores"]["BLEU-2"]["value"] == Bleu(2).corpus(candidates)
    low, high = results[0]["scores"]["BLEU-2"]["interval"]
    assert low <= Bleu(2).corpus(candidates) <= high


@pytest.mark.usefixtures("place")
def test_a_users_reward_needs_no_references_and_a_table_holds_its_scores() -> None:
    Path("c.txt").write_text('a dog\nsays "hi", again\n')
    run("--candidates", "c.txt", "--rewards", "score_rewards_of_a_test.letters", "--csv", "new/table.csv")
    assert rows_of("new/table.csv") == [
        {"image_id": "1", "caption": "a dog", "score_rewards_of_a_test.letters": "5.0"},
        {"image_id": "2", "caption": 'says "hi", again', "score_rewards_of_a_test.letters": "16.0"},
    ]
    Path("p.csv").write_text("image,caption\np3,x\np1.jpg,y\n")
    brightness = "score_rewards_of_a_test.brightness"
    run("--candidates", "p.csv", "--images", "photos", "--rewards", brightness, "--csv", "bright.csv")
    assert [row[brightness] for row in rows_of("bright.csv")] == ["60.0", "20.0"]


def test_rewards_of_a_runs_configuration_and_their_sum(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {
        "training": {"steps": 3},
        "rewards": {
            "cider": {"weight": 1.0, "reward": {"class_path": "rewards.cider.CiderD", "init_args": {"eos": False}}},
            "bleu": {"weight": 0.5, "reward": {"class_path": "rewards.Bleu", "init_args": {"order": 1}}},
        },
    }
    Path("config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    Path("c.csv").write_text("image,caption\np3,a man rides a horse\np1,a dog on grass\n")
    arguments = ["--candidates", "c.csv", "--references", "references.json", "--config", "config.yaml"]
    run(*arguments, "--training_references", "references.json", "--output", "s.json", "--rewards", "ROUGE-L")
    scores = json.loads(Path("s.json").read_text())["scores"]
    assert list(scores) == ["ROUGE-L", "cider", "bleu"]
    run(*arguments, "--training_references", "references.json", "--output", "t.json")
    scores = json.loads(Path("t.json").read_text())["scores"]
    assert list(scores) == ["cider", "bleu", "total"]
    assert scores["total"]["value"] == pytest.approx(scores["cider"]["value"] + 0.5 * scores["bleu"]["value"])
    reward = CiderD(eos=False)
    reward.prepare(list(json.loads((place / "references.json").read_text()).values()))
    assert scores["cider"]["value"] == reward.corpus(read_candidates(Path("c.csv"), Path("references.json")))
    assert "total" in capsys.readouterr().out


@pytest.mark.usefixtures("place")
def test_scores_against_human_judgements(capsys: pytest.CaptureFixture[str]) -> None:
    human = ["--against", "human.csv", "--references", "references.json", "--rewards", "CIDEr-D", "ROUGE-L"]
    run(*human, "--output", "s.json", "--fit_weights")
    out = capsys.readouterr().out
    written = json.loads(Path("s.json").read_text())
    judged, rows = written["agreement"], rows_of("human.csv")
    assert (judged["columns"], judged["ratings"]) == (["expert1", "expert2"], 2 * PHOTOS * EACH)
    scores = [row["scores"]["CIDEr-D"] for row in written["captions"]]
    x, y = np.repeat(scores, 2), [float(row[column]) for row in rows for column in ("expert1", "expert2")]
    own = judged["rewards"]["CIDEr-D"]
    assert own["tau_b"]["value"] == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert own["tau_b"]["interval"][0] < own["tau_b"]["value"] < own["tau_b"]["interval"][1]
    heading = f"agreement with human.csv (expert1, expert2): {2 * PHOTOS * EACH} ratings of {PHOTOS * EACH} captions"
    assert heading in out
    low, high = own["tau_b"]["interval"]
    assert f"CIDEr-D      {own['tau_b']['value']:.3f} [{low:.3f}, {high:.3f}]" in out

    block = yaml.safe_load(out.partition("# learned weights")[2].partition("\n")[2])["rewards"]
    learned = {name: weight for name, weight in judged["weights"]["weights"].items() if weight}
    assert {name: term["weight"] for name, term in block.items()} == pytest.approx(learned, rel=1e-3)
    Path("learned.yaml").write_text(yaml.safe_dump({"rewards": block}))  # what was printed can be trained on
    parser = Parser()
    parser.add_argument("--rewards", type=dict[str, Term])
    terms = parser.instantiate(parser.parse_object(yaml.safe_load(Path("learned.yaml").read_text()))).rewards
    assert all(isinstance(term, Term) for term in terms.values())


@pytest.mark.usefixtures("place")
def test_judgements_are_joined_by_image_and_caption_and_chosen() -> None:
    captions = [(row["image"], row["caption"]) for row in rows_of("human.csv")]
    kept = captions[::2]
    with Path("c.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image_id", "caption"), ("p0", "not judged"), *kept])
    letters = ["--rewards", "score_rewards_of_a_test.letters", "--against", "human.csv"]

    def judged(*arguments: str) -> Any:
        run(*letters, *arguments, "--output", "s.json")
        found = json.loads(Path("s.json").read_text())["agreement"]
        Path("s.json").unlink()
        return found

    assert judged("--candidates", "c.csv", "--rating", "expert2")["ratings"] == len(kept)
    assert judged("--candidates", "c.csv")["captions"] == len(kept)
    own = [row for row in rows_of("human.csv") if row["note"] == "own"]
    assert 0 < len(own) < len(captions)
    others = len(captions) - len(own)
    assert judged("--where", "note=")["captions"] == others
    assert judged("--skip_own_references", "--references", "references.json")["captions"] == others


def the_line(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main(["score", *arguments])
    output, error = capsys.readouterr()
    assert (stop.value.code, output, error.count("\n")) == (2, "", 1)
    return error


HUMAN = ["--against", "human.csv", "--rewards", "score_rewards_of_a_test.letters"]
MISTAKES = {
    "nothing": ([], "there are no captions: name a file with --candidates, or one of judgements with --against"),
    "weights of nothing": (["--candidates", "r.csv", "--fit_weights"], "--fit_weights speaks of human judgements"),
    "no references": (["--against", "human.csv"], "reward 'CIDEr-D' compares with references, and there are none"),
    "no rating": ([*HUMAN, "--rating", "mark"], "human.csv has no column 'mark' of ratings, only image, caption"),
    "rating is text": ([*HUMAN, "--rating", "caption"], "human.csv, line 2: caption is '"),
    "no such rows": ([*HUMAN, "--where", "note=none"], "holds no rating in expert1, expert2 where note=none"),
    "no such column": ([*HUMAN, "--where", "own=1"], "condition 'own=1' names no column of human.csv"),
    "nothing judged": (["--candidates", "r.csv", *HUMAN], "none has the same image id"),
    "other captions": (["--candidates", "p.csv", *HUMAN], "none has the same text"),
    "constant": (
        ["--against", "human.csv", "--rewards", "score_rewards_of_a_test.constant"],
        "reward 'score_rewards_of_a_test.constant': all 72 scores are 1: nothing is ranked",
    ),
    "missing photo": (["--candidates", "r.csv", "--images", "photos", *HUMAN], "no image of 'x' in photos"),
    "no rewards": (["--candidates", "r.csv", "--config", "empty.yaml"], "empty.yaml names no rewards"),
    "untrained": (["--candidates", "r.csv", "--config", "train.yaml"], "compares with references"),
    "resamples": (["--candidates", "r.csv", "--resamples", "0"], "--resamples must be at least 1, got 0"),
    "csv exists": ([*HUMAN, "--output", "new.json", "--csv", "human.csv"], "human.csv exists: choose another --csv"),
    "no column": (["--against", "plain.csv"], "called rating or the like: name those of ratings with --rating, of wor"),
    "no other column": (["--against", "r.csv"], "no column of r.csv is called rating or the like: add one of ratings"),
    "judged, no references": (
        ["--against", "human.csv", "--references", "strange.json"],
        "human.csv holds captions of 12 images without references in strange.json, the first of image 'p0.jpg' (an "
        "image there is '1000'): name images alike in both",
    ),
    "commas": (["--candidates", "r.csv", "--rewards", "BLEU-1,METEOR"], "by spaces, not commas: BLEU-1 METEOR"),
    "unprepared": (
        ["--candidates", "p.csv", "--references", "references.json", "--config", "order.yaml"],
        "reward 'c': CiderD(document_frequencies='train') has no document frequencies yet: call prepare(references) "
        "with the training references (rlcap score: --training_references), or set document_frequencies to 'corpus'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.usefixtures("place")
def test_a_mistake(mistake: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.csv").write_text("image_id,caption\nx,a dog\n")
    Path("p.csv").write_text("image_id,caption\np0,never seen\n")
    Path("plain.csv").write_text("image_id,caption,worker_id\nx,a dog,3\n")
    Path("empty.yaml").write_text("training: {steps: 3}\n")
    Path("train.yaml").write_text("rewards: {c: {reward: {class_path: rewards.cider.CiderD}}}\n")
    Path("strange.json").write_text('{"1000": ["a dog"]}')
    Path("order.yaml").write_text(
        "rewards:\n"
        "  never: {reward: {class_path: score_rewards_of_a_test.Never}}\n"
        "  c: {reward: {class_path: rewards.Cached, init_args: {reward: {class_path: rewards.cider.CiderD}}}}\n"
    )
    arguments, message = MISTAKES[mistake]
    assert message in the_line(arguments, capsys)
    assert not Path("new.json").exists()


def test_the_whole_command_in_a_shell(place: Path) -> None:
    command = [sys.executable, "-m", "rlcap.cli", "score", "--against", "human.csv", "--references", "references.json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, "--rewards", "BLEU-1"], cwd=place, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].startswith("BLEU-1 ")
    assert sorted(path.name for path in place.iterdir()) == [
        "human.csv",
        "photos",
        "references.json",
        "score_rewards_of_a_test.py",
    ]
