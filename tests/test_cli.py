"""The command line as a user has it: commands on files, a tiny run from training to report, one line for a mistake."""

import gzip
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import yaml
from PIL import Image
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from rewards.tokenize import ptb_tokenize
from rlcap import __version__, cli

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
OWN_REWARDS = '''
import numpy as np

from rewards import Reward


def brevity(captions):
    return [1.0 / (1 + len(caption.split())) for caption in captions]


def broken(captions):
    return [1 / len(caption[:0]) for caption in captions]


def short(captions):
    return [1.0]


def brightness(captions, images):
    return [0.0 for _ in captions]


class Brevity(Reward):
    """1 for a caption of few words.

    Args:
        words: more are too many.
    """

    def __init__(self, words: int = 3) -> None:
        self.words = words

    def __call__(self, candidates):
        return np.array([float(len(caption.split()) <= self.words) for caption in candidates.captions])
'''
BROKEN_LINE = 1 + OWN_REWARDS.splitlines().index("    return [1 / len(caption[:0]) for caption in captions]")
CAPTIONS = [(1, "a dog runs on grass"), (2, "a man rides a horse"), (3, "a cat."), (1, "the dog sleeps")]
REFERENCES = {
    "1": ["A dog runs over the grass.", "the brown dog runs"],
    "2": ["a man rides a brown horse", "a rider on a horse"],
    "3": ["A cat sleeps on a bed.", "the cat lies down"],
}
OWN_FUNCTION = {"class_path": "rewards.FunctionReward", "init_args": {"function": "my_rewards.brevity"}}


def rlcap(*arguments: object, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """The finished command, run in a folder."""
    command = [sys.executable, "-m", "rlcap.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stderr
    return done


def scores_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "scores.json").read_text())  # type: ignore[no-any-return]


def write_files(folder: Path) -> Path:
    """A folder with captions, references, the user's own rewards and images."""
    results = [{"image_id": image, "caption": caption} for image, caption in CAPTIONS]
    (folder / "captions.json").write_text(json.dumps(results))
    (folder / "references.json").write_text(json.dumps(REFERENCES))
    (folder / "my_rewards.py").write_text(OWN_REWARDS)
    Image.new("RGB", (50, 40), "red").save(folder / "red.png")
    (folder / "corrupt.png").write_bytes((folder / "red.png").read_bytes()[:40])
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, which tests only read."""
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undoes what a command run in this process leaves behind, and which the next may not find."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("my_rewards", None)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("my_rewards", None)


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: None) -> Path:
    """The folder as working directory of commands run in this process."""
    monkeypatch.chdir(folder)
    return folder


# --- without a command


def test_help_names_every_command_and_starts_without_torch(folder: Path) -> None:
    code = (
        "import sys; from rlcap.cli import main; main(sys.argv[1:]); "
        "sys.exit([name for name in ('torch', 'transformers', 'accelerate') if name in sys.modules] or 0)"
    )
    score = ["score", "--candidates", "captions.json", "--references", "references.json", "--output", "light.json"]
    write_run(folder / "light")
    report = ["report", "light", "--output", "light-report"]
    for arguments in (["--help"], ["--version"], score, report):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
        )
        assert done.returncode == 0, (arguments, done.stderr)
        if arguments == ["--help"]:
            assert all(f"\n  {command}" in done.stdout for command in cli.COMMANDS)
        if arguments == ["--version"]:
            assert done.stdout == f"rlcap {__version__}\n"


def write_run(run: Path) -> None:
    """The least that a report can be made of."""
    test = run / "evaluation" / "test"
    test.mkdir(parents=True)
    row = {"image_id": "1", "caption": "a dog", "ended": True, "references": ["a dog"], "scores": {"CIDEr-D": 1.0}}
    (test / "predictions.jsonl").write_text(json.dumps(row) + "\n")
    (test / "scores.json").write_text(json.dumps({"scores": {"CIDEr-D": {"value": 1.0, "signature": "x"}}}))


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    assert stop.value.code in (0, None)
    assert capsys.readouterr().out.startswith(f"usage: rlcap {command}")


# --- rlcap score


def official(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """The numbers of pycocoevalcap, each caption an image of its own."""
    res = {row: ptb_tokenize([caption]) for row, caption in enumerate(captions)}
    gts = {row: ptb_tokenize(list(own)) for row, own in enumerate(references)}
    bleu = Bleu(4).compute_score(gts, res, verbose=0)[0]
    return {
        "CIDEr-D": float(Cider().compute_score(gts, res)[0]),
        **{f"BLEU-{order}": bleu[order - 1] for order in (1, 2, 3, 4)},
        "ROUGE-L": float(Rouge().compute_score(gts, res)[0]),
    }


def test_score_with_all_rewards_and_the_users_own(folder: Path, tmp_path: Path) -> None:
    one_each = [{"image_id": image, "caption": caption} for image, caption in CAPTIONS[:3]]
    (tmp_path / "captions.json.gz").write_bytes(gzip.compress(json.dumps(one_each).encode()))
    (tmp_path / "my_rewards.py").write_text(OWN_REWARDS)
    rewards = ["CIDEr-D", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "my_rewards.brevity", "my_rewards.Brevity"]
    files = ["--candidates", "captions.json.gz", "--references", folder / "references.json", "--output", "new/s.json"]
    done = rlcap("score", *files, "--rewards", *rewards, cwd=tmp_path)
    assert done.stderr == ""

    written = json.loads((tmp_path / "new" / "s.json").read_text())
    assert list(written["scores"]) == rewards
    expected = official([caption for _, caption in CAPTIONS[:3]], list(REFERENCES.values()))
    for name, value in expected.items():
        assert written["scores"][name]["value"] == pytest.approx(value, rel=1e-6, abs=1e-9), name
    brevity = [1 / 6, 1 / 6, 1 / 3]
    assert [row["scores"]["my_rewards.brevity"] for row in written["captions"]] == brevity
    assert written["scores"]["my_rewards.brevity"]["value"] == pytest.approx(np.mean(brevity))
    own = written["scores"]["my_rewards.Brevity"]
    assert own == {"value": 1 / 3, "interval": [0.0, 1.0], "signature": "Brevity|v:0.1.0"}
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == rewards
    low, high = written["scores"]["CIDEr-D"]["interval"]
    shown = [f"{expected['CIDEr-D']:.4f}", f"[{low:.4f},", f"{high:.4f}]"]
    assert lines[0].split()[1:] == [*shown, "CIDEr-D|df:corpus|tok:ptb|eos:no|refs:2|v:0.1.0"]


def test_score_of_the_official_example(real_data: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gold = json.loads((real_data / "coco" / "fakecap_gold.json").read_text())
    results = [{"image_id": item["image_id"], "caption": item["caption"]} for item in gold["items"]]
    annotations = [
        {"image_id": item["image_id"], "caption": caption} for item in gold["items"] for caption in item["raw_refs"]
    ]
    (here / "fake.json").write_text(json.dumps(results))
    (here / "annotations.json").write_text(json.dumps({"images": [], "annotations": annotations}))
    cli.main(["score", "--candidates", "fake.json", "--references", "annotations.json", "--output", "official.json"])
    scores = json.loads((here / "official.json").read_text())["scores"]
    names = {"CIDEr-D": "CIDEr", "ROUGE-L": "ROUGE_L", **{f"BLEU-{order}": f"Bleu_{order}" for order in (1, 2, 3, 4)}}
    for name, official_name in names.items():  # published with three decimals
        assert scores[name]["value"] == pytest.approx(gold["official_scores"][official_name], abs=5.01e-4), name
    exact = official([item["caption"] for item in gold["items"]], [item["raw_refs"] for item in gold["items"]])
    for name, value in exact.items():
        assert scores[name]["value"] == pytest.approx(value, rel=1e-6), name
    assert "CIDEr-D" in capsys.readouterr().out


# --- mistakes


def the_line(arguments: Sequence[object], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error that a mistake is answered with."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    output, error = capsys.readouterr()
    assert (stop.value.code, output) == (2, "")
    assert error.count("\n") == 1
    assert error.endswith("\n")
    assert error.startswith(f"rlcap {arguments[0]}: error: ")
    return error


FILES = ["--candidates", "captions.json", "--references", "references.json", "--output", "unwritten.json"]
SCORE_MISTAKES = {
    "missing file": (["--candidates", "none.json"], "there is no file none.json"),
    "bad JSON": (["--references", "my_rewards.py"], "my_rewards.py is not valid JSON"),
    "wrong shape": (["--candidates", "references.json"], "references.json holds an object where a list"),
    "unknown reward": (["--rewards", "CIDER"], "no reward is called 'CIDER': give one of CIDEr-D, BLEU-1"),
    "no module": (["--rewards", "nowhere.brevity"], "cannot import the reward 'nowhere.brevity'"),
    "no function": (["--rewards", "my_rewards.nothing"], "has no attribute 'nothing'"),
    "raises": (["--rewards", "my_rewards.broken"], "'my_rewards.broken' failed: ZeroDivisionError"),
    "wrong length": (["--rewards", "my_rewards.short"], "function my_rewards.short gave shape (1,) for 4 captions"),
    "images": (
        ["--rewards", "my_rewards.brightness"],
        "looks at images, and there are none: give images (rlcap score: --images)",
    ),
    "output exists": (["--output", "captions.json"], "captions.json exists: choose another --output"),
    "unknown option": (["--reward", "CIDEr-D"], "unrecognized arguments: --reward CIDEr-D"),
}


@pytest.mark.parametrize("mistake", SCORE_MISTAKES)
@pytest.mark.usefixtures("here")
def test_a_mistake_in_score(mistake: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = SCORE_MISTAKES[mistake]
    line = the_line(["score", *FILES, *arguments], capsys)
    assert message in line
    if mistake == "raises":
        assert f"my_rewards.py, line {BROKEN_LINE})" in line
    else:
        assert ".py, line" not in line
    assert not Path("unwritten.json").exists()


def changed(path: Sequence[str], value: Any) -> dict[str, Any]:
    """The tiny experiment with one setting changed; None removes it."""
    config = json.loads(json.dumps(tiny.experiment(tiny.SELF_CRITICAL)))
    *parents, name = path
    at = config
    for parent in parents:
        at = at[parent]
    if value is None:
        del at[name]
    else:
        at[name] = value
    return config  # type: ignore[no-any-return]


TRAIN_MISTAKES = {
    "wrong key": (changed(["trainig"], {"steps": 3}), "Option 'trainig.steps' is not accepted"),
    "wrong nested key": (changed(["training", "step"], 3), "'training' does not accept option 'step'"),
    "wrong argument": (changed(["algorithm", "init_args", "samples"], 3), 'key "algorithm"'),
    "wrong type": (changed(["training", "steps"], "many"), "key \"training.steps\": Expected a <class 'int'>"),
    "out of range": (changed(["training", "steps"], -1), "training.steps must be at least 1, got -1"),
    "unknown metric": (changed(["evaluation", "best"], "CIDER"), "evaluation.best is 'CIDER', which is none of"),
    "unknown class": (changed(["policy", "class_path"], "rlcap.policies.tiny.Huge"), "has no attribute 'Huge'"),
    "unknown module": (changed(["policy", "class_path"], "no_policies.Huge"), "no_policies.Huge"),
    "other class": (changed(["policy", "class_path"], "rewards.CiderD"), "not correspond to a subclass of Policy"),
    "no class_path": (changed(["policy", "class_path"], None), 'key "policy": Not a valid subclass of Policy'),
    "no policy": (changed(["policy"], None), "name a captioner under policy, or a reward model under reward_model"),
    "no data": (changed(["data"], None), "the following arguments are required: data"),
    "no rewards": (changed(["rewards"], {}), "SelfCritical learns from rewards: name at least one"),
    "not a term": (changed(["rewards", "brevity"], {"class_path": "my_rewards.Brevity"}), "NAME: {reward: {class_path"),
    "unknown function": (
        changed(["rewards", "x"], {"reward": {**OWN_FUNCTION, "init_args": {"function": "my_rewards.x"}}}),
        "cannot import the reward function 'my_rewards.x'",
    ),
    "function as class": (
        changed(["rewards", "x"], {"reward": {"class_path": "my_rewards.brevity"}}),
        "a function is named by {class_path: rewards.FunctionReward, init_args: {function:",
    ),
    "short name": (
        changed(["rewards", "x"], {"reward": {"class_path": "METEOR"}}),
        "short names are for rlcap score: give the class path, such as rewards.meteor.Meteor",
    ),
    "learning rate": (changed(["optimizer", "init_args", "lr"], -1.0), "cannot make the optimizer: Invalid learning"),
    "samples": (changed(["algorithm", "init_args", "samples_per_image"], -1), "must be at least 1, got -1"),
}


@pytest.mark.parametrize("mistake", TRAIN_MISTAKES)
def test_a_mistake_in_a_configuration(mistake: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, message = TRAIN_MISTAKES[mistake]
    path = tiny.write(here / f"{mistake}.yaml".replace(" ", "_"), config)
    assert message in the_line(["train", "--config", path, "--output", "never"], capsys)
    assert not Path("never").exists()


OTHER_MISTAKES = {
    "no configuration": (["train"], "arguments are required: data, algorithm, optimizer"),
    "missing configuration": (["train", "--config", "none.yaml"], "cannot read none.yaml: No such file"),
    "bad YAML": (["train", "--config", "red.png"], "red.png is not valid YAML"),
    "no settings": (["train", "--config", "captions.json"], "captions.json holds no settings"),
    "nothing to resume": (["train", "--resume", "none"], "nothing to resume: none holds no config.yaml"),
    "resume of no run": (["train", "--resume"], "argument --resume: expected one argument"),
    "resume and configuration": (["train", "--resume=none", "--config=none.yaml"], "leave --config out"),
    "unknown train option": (["train", "--step", "3"], "unrecognized arguments: --step 3"),
    "no policy to evaluate": (["evaluate", "none"], "none does not exist; give a run folder"),
    "policy folder without": (["evaluate", "."], ". holds no saved policy or finished checkpoint"),
    "no image": (["caption", "none.png", "--policy", "."], "cannot read image none.png: no such file"),
    "corrupt image": (["caption", "corrupt.png", "--policy", "."], "cannot read image corrupt.png: "),
    "no policy": (["caption", "red.png", "--policy", "."], ". holds no saved policy"),
    "no policy named": (["caption", "red.png"], "arguments are required: policy"),
    "negative samples": (["caption", "red.png", "--policy", ".", "--samples", "-1"], "--samples must be 0 (the best"),
    "no beams": (["caption", "red.png", "--policy", ".", "--decoding.beams", "0"], "beams and max_length must be at"),
    "cold": (["caption", "red.png", "--policy", ".", "--sampling.temperature", "0"], "temperature must be above 0"),
    "no runs": (["report"], "arguments are required: runs"),
    "missing run": (["report", "none"], "none is no run folder"),
    "quick start again": (["quickstart", "--output", "."], ". exists and is not empty: choose another --output"),
}


@pytest.mark.parametrize("mistake", OTHER_MISTAKES)
@pytest.mark.usefixtures("here")
def test_another_mistake(mistake: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = OTHER_MISTAKES[mistake]
    assert message in the_line(arguments, capsys)


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["trian"])
    expected = (
        "rlcap: error: no command 'trian'; there are quickstart, train, evaluate, caption, merge, score, "
        "fetch, explain, report, card, annotate\n"
    )
    assert (stop.value.code, capsys.readouterr().err) == (2, expected)


# --- a run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``run``, trained with the user's own function and class beside CIDEr-D; tests add to it."""
    place = write_files(tmp_path_factory.mktemp("trained"))
    config = tiny.experiment(tiny.SELF_CRITICAL, evaluate_every=3)
    config["rewards"]["brevity"] = {"reward": OWN_FUNCTION, "weight": 0.5}
    config["rewards"]["few"] = {"reward": {"class_path": "my_rewards.Brevity", "init_args": {"words": 4}}}
    config["evaluation"]["metrics"] = {"few": {"class_path": "my_rewards.Brevity"}}
    tiny.write(place / "config.yaml", config)
    done = rlcap("train", "--config", "config.yaml", "--output", "run", cwd=place)
    assert "Traceback" not in done.stderr
    assert "run, test split: CIDEr-D" in done.stderr
    return place


@pytest.mark.slow
def test_own_rewards_are_trained_with_and_stay_import_paths(trained: Path) -> None:
    rows = [json.loads(line) for line in (trained / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "reward/brevity" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert all(0 < row["reward/brevity"] <= 1 and 0 <= row["reward/few"] <= 1 for row in steps)
    rewards = yaml.safe_load((trained / "run" / "config.yaml").read_text())["rewards"]
    defaults = {"together": 16, "timeout": None, "independent": True, "arguments": None}
    function = {**OWN_FUNCTION, "init_args": {"function": "my_rewards.brevity", **defaults}}
    assert rewards["brevity"] == {"reward": function, "weight": 0.5, "on_failure": "stop"}
    assert rewards["few"]["reward"] == {"class_path": "my_rewards.Brevity", "init_args": {"words": 4}}
    assert rewards["few"]["weight"] == 1.0
    few = scores_in(trained / "run" / "evaluation" / "test")["scores"]["few"]
    assert few["signature"] == "Brevity|v:0.1.0"


@pytest.mark.slow
def test_the_configuration_of_a_run_runs_as_it_is(trained: Path) -> None:
    printed = rlcap("train", "--config", "config.yaml", "--print_config", cwd=trained).stdout
    own = yaml.safe_load((trained / "run" / "config.yaml").read_text())
    whole = yaml.safe_load(printed)
    assert {key: value for key, value in whole.items() if key not in ("output", "resume")} == own
    rlcap("train", "--config", "run/config.yaml", "--output", "other", cwd=trained)
    for file in ("config.yaml", "metrics.jsonl", "evaluation/test/predictions.jsonl"):
        assert (trained / "other" / file).read_bytes() == (trained / "run" / file).read_bytes()
    rlcap("report", "run", "other", "--output", "report", "--title", "Two runs", cwd=trained)
    page = (trained / "report" / "report.html").read_text()
    assert "Two runs" in page
    assert (trained / "report" / "report.md").is_file()


@pytest.mark.slow
def test_evaluate_takes_data_decoding_and_metrics_from_the_run(trained: Path) -> None:
    done = rlcap("evaluate", "run", "--output", "again", "--workers", "0", cwd=trained)
    first, again = scores_in(trained / "run" / "evaluation" / "test"), scores_in(trained / "again")
    assert again == first
    predictions = (trained / "again" / "predictions.jsonl").read_bytes()
    assert predictions == (trained / "run" / "evaluation" / "test" / "predictions.jsonl").read_bytes()
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(first["scores"])
    assert "8 images, greedy, written to again" in done.stderr
    assert len(list((trained / "again" / "images").glob("*.jpg"))) == 8


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_evaluate_makes_folders_of_its_own(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    folders = trained / "run" / "evaluation"
    beams = ["evaluate", "run", "--decoding.beams", "3", "--thumbnails", "2", "--workers", "0"]
    beams += ["--diversity_samples", "2"]
    cli.main(beams)
    assert scores_in(folders / "test-beam3")["decoding"] == "beam 3"
    assert {"self_cider", "mbleu_4", "div_2", "novel_captions"} <= scores_in(folders / "test-beam3")[
        "statistics"
    ].keys()
    assert len(list((folders / "test-beam3" / "images").glob("*.jpg"))) == 2
    latest = max(int(path.name) for path in (trained / "run" / "checkpoints").iterdir() if path.name.isdigit())
    checkpoint = f"run/checkpoints/{latest}"
    cli.main(["evaluate", checkpoint, "--split=val", "--data.init_args.val=5", "--metrics.m=my_rewards.Brevity"])
    other = scores_in(folders / f"val-Shapes-step{latest}")
    assert (other["images"], other["step"], other["split"]) == (5, latest, "val")
    assert "m" in other["scores"]

    before = {path: path.stat().st_mtime_ns for path in folders.rglob("*")}
    broken = {**OWN_FUNCTION, "init_args": {"function": "my_rewards.broken"}}
    for arguments, message in [
        (["evaluate", "run"], "run/evaluation/test holds an evaluation already: choose another --output"),
        (beams, "run/evaluation/test-beam3 holds an evaluation already"),
        (["evaluate", "run", "--output", "."], ". exists and is not empty: choose another --output"),
        (["evaluate", "run", "--split", "trial"], "no split 'trial' in Shapes; there are train, val, test"),
        (["evaluate", "run", "--output", "x", "--device", "gpu"], "no device 'gpu' here"),
        (["evaluate", f"{checkpoint}/policy", "--workers", "-1"], "workers must be 0"),
        (["caption", "red.png", "corrupt.png", "--policy", "run"], "cannot read image corrupt.png"),
        (["train", "--config", "config.yaml", "--output", "run"], "or go on with it: rlcap train --resume run"),
    ]:
        assert message in the_line(arguments, capsys)
    done = rlcap("evaluate", "run", "--output", "x", "--metrics.bad", json.dumps(broken), cwd=trained, status=2)
    last = done.stderr.splitlines()[-1]
    assert "rlcap evaluate: error: reward 'bad' failed: ZeroDivisionError" in last
    assert f"my_rewards.py, line {BROKEN_LINE})" in last
    assert "Traceback" not in done.stderr
    assert {path: path.stat().st_mtime_ns for path in folders.rglob("*")} == before
    assert not (trained / "x").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_caption(trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(trained)
    Image.new("L", (30, 60), 200).save("grey.png")

    def said(*arguments: str) -> str:
        capsys.readouterr()
        cli.main(["caption", *arguments, "--policy", "run", "--decoding.max_length", "8"])
        return capsys.readouterr().out

    both = said("red.png", "grey.png").splitlines()
    assert [line.partition(": ")[0] for line in both] == ["red.png", "grey.png"]
    greedy = both[0].partition(": ")[2]
    assert json.loads(said("red.png", "--json")) == {"image": "red.png", "captions": [greedy]}
    assert said("red.png", "--decoding.beams", "3").startswith("red.png: ")
    sampled = json.loads(said("red.png", "--samples", "2", "--seed", "1", "--json"))["captions"]
    assert len(sampled) == 2
    again = said("red.png", "--samples", "2", "--seed", "1").splitlines()
    assert again == [f"red.png: {text}" for text in sampled]
    assert json.loads(said("red.png", "--samples", "2", "--seed", "2", "--json"))["captions"] != sampled


@pytest.mark.slow
def test_a_reward_that_fails_in_training_is_named(trained: Path) -> None:
    for function, message in [
        ("broken", "reward 'own' failed: ZeroDivisionError: division by zero, for caption '"),
        ("short", "reward 'own': function my_rewards.short gave shape (1,) for 24 captions: give one number per"),
    ]:
        config = tiny.experiment(tiny.SELF_CRITICAL)
        reward = {**OWN_FUNCTION, "init_args": {"function": f"my_rewards.{function}"}}
        config["rewards"] = {"own": {"reward": reward}}
        tiny.write(trained / f"{function}.yaml", config)
        done = rlcap("train", "--config", f"{function}.yaml", "--output", function, cwd=trained, status=2)
        assert message in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_mistakes_from_a_shell(folder: Path) -> None:
    for arguments, line in [
        (
            ["trian"],
            "rlcap: error: no command 'trian'; there are quickstart, train, evaluate, caption, merge, score, "
            "fetch, explain, report, card, annotate",
        ),
        (["score", *FILES, "--candidates", "none.json"], "rlcap score: error: there is no file none.json"),
        (
            ["score", *FILES, "--rewards", "my_rewards.broken"],
            "failed: ZeroDivisionError: division by zero, for caption",
        ),
    ]:
        done = rlcap(*arguments, cwd=folder, status=2)
        assert line in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
