"""Every configuration there is runs from its own paths: two steps, small batches, tiny data and captioners in place."""

import functools
import gzip
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import captioners
import numpy as np
import pytest
import text_encoders
import tiny_models
import torch
import yaml
from PIL import Image

from rlcap.cli import main
from rlcap.policies import load_policy
from rlcap.policies.pretrained import no_progress_bars

ROOT = Path(__file__).parents[2]
FOLDERS = {ROOT / "configs": "runs", ROOT / "rlcap" / "quickstart": "quickstart"}
CONFIGS = [path for folder in FOLDERS for path in sorted(folder.rglob("*.yaml")) if path.parent.name != "accelerate"]
STEPS = 2
SHORT = {
    "training.steps": STEPS,
    "training.evaluate_every": 1,
    "training.images_per_batch": 4,
    "training.precision": "no",
    "training.workers": 0,
    "evaluation.images_per_batch": 8,
    "evaluation.thumbnails": 2,
}
# Of those that are compared there are many: each decodes and measures as little as it can.
SHORTER = {
    **SHORT,
    "training.images_per_batch": 2,
    "training.evaluate_every": STEPS,
    "training.gradient_samples": 2,
    "training.kl_every": 1,
    "evaluation.decoding.max_length": 4,
    "algorithm.init_args.max_length": 4,
}
SPLITS = {"train": 10, "val": 3, "test": 3}
Arguments = dict[str, Any]


def output_of(config: Path) -> str:
    """Where the comments and the second stages have the run of a configuration."""
    folder = next(folder for folder in FOLDERS if config.is_relative_to(folder))
    name = config.relative_to(folder).with_suffix("")
    if compared(config):  # as scripts/compare_baselines.sh is run
        return f"runs/compare_{name.parts[1]}/{name.name}"
    return "runs/smoke" if str(name) == "smoke/teacher_forcing" else f"{FOLDERS[folder]}/{name}"


def kind_of(settings: Mapping[str, Any]) -> str:
    """What learns: a policy or a reward model."""
    return next(kind for kind in ("policy", "reward_model") if kind in settings)


def compared(config: Path) -> bool:
    """Whether a configuration is one of those that are compared with one another."""
    return config.is_relative_to(ROOT / "configs" / "compare")


# --- what the configurations name, made in the working directory


def photo(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():  # as photos do, they stay as they are from one stage to the next
        Image.fromarray(pixels).resize((48, 40)).save(path)


def captions(seed: int) -> list[str]:
    """Five, of the words that the tiny captioners know."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(captioners.WORDS, size=5)) for _ in range(5)]


def karpathy(annotations: str, images: str) -> list[str]:
    """A file of annotations and its photos; COCO's lie in a folder per year."""
    entries = []
    for number, split in enumerate(split for split, count in SPLITS.items() for _ in range(count)):
        entry = {"filename": f"photo{number:02d}.jpg", "split": split, "imgid": number}
        if "coco" in annotations:
            entry |= {"filepath": "val2014", "cocoid": 100 + number}
        photo(Path(images) / entry.get("filepath", "") / entry["filename"], number)
        entries.append({**entry, "sentences": [{"raw": caption} for caption in captions(number)]})
    content = json.dumps({"images": entries}).encode()
    Path(annotations).write_bytes(gzip.compress(content) if annotations.endswith(".gz") else content)
    return []


def folder(images: str, captions: str) -> list[str]:
    """Photos and the table of their captions, which gives no splits."""
    rows = ["image,caption"]
    for number in range(sum(SPLITS.values())):
        photo(Path(images) / f"photo{number:02d}.jpg", number)
        rows += [f"photo{number:02d}.jpg,{caption}" for caption in globals()["captions"](number)]
    Path(captions).write_text("\n".join(rows) + "\n")
    return []


def shapes(**settings: Any) -> list[str]:
    return [word for split, count in SPLITS.items() for word in (f"--data.init_args.{split}", str(count))]


def simulated(images: dict[str, Any], **settings: Any) -> list[str]:
    """Few judgements of few scenes, some of them of the samples of a policy."""
    for predictions in settings.get("predictions", ()):
        sampled = Path(predictions).parent
        split, _, seed = sampled.name.partition("-sampled")
        if not sampled.exists():
            drawn = ["--decoding.temperature", "1", "--decoding.seed", seed]
            main(["evaluate", str(sampled.parents[1]), "--split", split, *drawn])
        assert Path(predictions).is_file()
    options = [option.replace("init_args.", "init_args.images.init_args.") for option in shapes(**images)]
    held_out = str(min(8, settings.get("held_out", 8)))
    return [*options, "--data.init_args.comparisons", "40", "--data.init_args.held_out", held_out]


def judged(judgements: str, images: dict[str, Any], **settings: Any) -> list[str]:
    """Ratings by three of two captions of each photo, in the columns of the file that the configuration names."""
    karpathy(**images["init_args"])
    lines = ["image,caption,expert1,expert2,expert3,caption_is_own_reference"]
    for number in range(sum(SPLITS.values())):
        lines += [f"photo{number:02d}.jpg,{caption},{number % 4 + 1},1,2,0" for caption in captions(number)[:2]]
    Path(judgements).parent.mkdir(exist_ok=True)
    Path(judgements).write_text("\n".join(lines) + "\n")
    return ["--data.init_args.division.folds", "2", "--data.init_args.division.val_fraction", "0.4"]


def builder(build: Callable[[Path], object], argument: str = "checkpoint") -> Callable[..., list[str]]:
    """Builds a random captioner or encoder where the hub's name, taken as a folder, leads: transformers looks there."""

    def prepare(**settings: Any) -> list[str]:
        place = Path(settings[argument])
        if not place.is_dir():
            torch.manual_seed(1)
            with no_progress_bars():
                build(place)
        return []

    return prepare


def nothing(**settings: Any) -> list[str]:
    return []


PREPARE_DATA: dict[str, Callable[..., list[str]]] = {
    "rlcap.data.karpathy.Karpathy": karpathy,
    "rlcap.data.folder.Folder": folder,
    "rlcap.data.shapes.Shapes": shapes,
    "rlcap.data.simulated.SimulatedJudgements": simulated,
    "rlcap.data.judgements.JudgedCaptions": judged,
}
PREPARE_POLICY: dict[str, Callable[..., list[str]]] = {
    "rlcap.policies.tiny.TinyViT": nothing,
    "rlcap.policies.backbone_decoder.BackboneDecoder": builder(captioners.build_mobilenet, "backbone"),
    "rlcap.policies.blip.Blip": builder(captioners.build_blip),
    "rlcap.policies.git.Git": builder(captioners.build_git),
    "rlcap.policies.encoder_decoder.EncoderDecoder": builder(captioners.build_vit_gpt2),
    "rlcap.policies.load_policy": nothing,  # a run: made first
}


def two_encoders(vision: str, text: str, **settings: Any) -> list[str]:
    builder(captioners.build_mobilenet, "vision")(vision=vision)
    return builder(text_encoders.build_bert, "text")(text=text)


PREPARE_REWARD_MODEL: dict[str, Callable[..., list[str]]] = {
    "rlcap.reward_models.captioner.CaptionerScorer": nothing,
    "rlcap.reward_models.load_reward_model": nothing,  # a run: made first
    "rlcap.reward_models.pair.PairScorer": nothing,
    "rlcap.reward_models.visual_semantic.TinyDualEncoder": nothing,
    "rlcap.reward_models.visual_semantic.VisualSemanticModel": two_encoders,
}
PREPARE = {"policy": PREPARE_POLICY, "reward_model": PREPARE_REWARD_MODEL}
LOSSES = ("loss/", "gradient/norm")
MEASURED = {"policy": {"CIDEr-D", "BLEU-4", "ROUGE-L"}, "reward_model": {"matching/accuracy"}}

PREPARE_REWARD = {"rewards.clip.ClipScore": builder(tiny_models.build_clip)}


def prepare_rewards(settings: Any) -> None:
    """What rewards and metrics, however deep, load from a checkpoint."""
    for value in settings.values() if isinstance(settings, dict) else ():
        prepare_rewards(value)
    if isinstance(settings, dict) and settings.get("class_path") in PREPARE_REWARD:
        PREPARE_REWARD[settings["class_path"]](**settings["init_args"])


def directories(settings: Any) -> list[str]:
    """The runs that a configuration starts from or is rewarded by, however deep it names them."""
    if not isinstance(settings, dict):
        return []
    own = [value for name, value in settings.items() if name in ("directory", "directories")]
    own += [str(Path(path).parents[2]) for path in settings.get("predictions", ())]
    return [*own, *(found for value in settings.values() for found in directories(value))]


def write_own_reward(config: Path) -> None:
    """The function that the comment of a configuration asks for, in the file that it asks for."""
    found = re.search(r"a function in (\w+\.py).*\n((?:#   .*\n)+?)# \S", config.read_text())
    if found:
        file, commented = found.groups()
        Path(file).write_text("".join(line.removeprefix("#   ") for line in commented.splitlines(keepends=True)))


# --- the runs


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory of all runs, as a user's who puts everything where the configurations say."""
    place = tmp_path_factory.mktemp("smoke")
    before, path = Path.cwd(), [*sys.path]
    os.chdir(place)
    yield place
    os.chdir(before)
    sys.path[:] = path
    sys.modules.pop("my_rewards", None)


@pytest.fixture(scope="module")
def run_of(here: Path) -> Callable[[Path], Path]:
    """The run of a configuration, made when first asked for, after the run that it starts from."""

    @functools.cache
    def run_of(config: Path) -> Path:
        settings = yaml.safe_load(config.read_text())
        kind = kind_of(settings)
        data, model = settings["data"], settings[kind]
        earlier = {output_of(other): other for other in CONFIGS}
        for directory in directories(settings):
            run_of(earlier[directory])
        options = PREPARE_DATA[data["class_path"]](**data.get("init_args", {}))
        options += PREPARE[kind][model["class_path"]](**model.get("init_args", {}))
        prepare_rewards(settings.get("rewards", {}))
        short = SHORTER if compared(config) and settings.get("rewards") else SHORT
        options += [word for name, value in short.items() for word in (f"--{name}", str(value))]
        write_own_reward(config)
        run = here / output_of(config)
        main(["train", "--config", str(config), "--output", str(run), *options])
        return run

    return run_of


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config.relative_to(ROOT)))
def test_configuration_runs(config: Path, run_of: Callable[[Path], Path]) -> None:
    if "Meteor" in config.read_text() and shutil.which("java") is None:
        pytest.skip("METEOR needs a Java runtime")
    run = run_of(config)
    asked = yaml.safe_load(config.read_text())
    written = yaml.safe_load((run / "config.yaml").read_text())
    kind = kind_of(asked)
    for part in ("data", kind, "algorithm", "optimizer"):
        assert written[part]["class_path"] == asked[part]["class_path"]
    assert list(written.get("rewards", {})) == list(asked.get("rewards", {}))
    assert json.loads((run / "environment.json").read_text())["versions"]["torch"]

    metrics = rows(run / "metrics.jsonl")
    learned = [row for row in metrics if "gradient/norm" in row]
    measured = [row["step"] for row in metrics if all(f"val/{name}" in row for name in MEASURED[kind])]
    assert [row["step"] for row in learned] == [1, 2]
    if compared(config) and asked.get("rewards"):
        assert measured == [0, 2]
        assert [row["step"] for row in metrics if "gradient/variance" in row] == [0, 2]
        assert [row["step"] for row in metrics if "policy/kl" in row] == [1, 2]
    else:
        assert measured == ([0, 1, 2] if asked.get("rewards") else [1, 2])
    for row in learned:
        assert any(name.startswith("loss/") for name in row)
        assert np.isfinite([value for name, value in row.items() if name.startswith(LOSSES)]).all()
        assert {f"reward/{name}" for name in asked.get("rewards", {})} <= set(row)

    assert json.loads((run / "checkpoints" / "best.json").read_text())["step"] in measured
    assert (run / "checkpoints" / str(STEPS) / kind).is_dir()
    for tracker in asked["training"].get("trackers", []):
        assert tracker == "tensorboard"
        assert len(list(run.rglob("events.out.tfevents.*"))) > 0

    test = run / "evaluation" / "test"
    scores = json.loads((test / "scores.json").read_text())
    predictions = rows(test / "predictions.jsonl")
    assert scores["images"] == len({row["image_id"] for row in predictions}) > 0
    assert MEASURED[kind] <= set(scores["scores"])
    if kind == "policy":
        assert scores["images"] == len(predictions)
        assert all(set(row["scores"]) == set(scores["scores"]) for row in predictions)
        beams = asked.get("evaluation", {}).get("decoding", {}).get("beams", 1)
        assert scores["decoding"] == ("greedy" if beams == 1 else f"beam {beams}")
    assert len(list((test / "images").glob("*.jpg"))) == 2


def test_own_reward_is_that_of_the_comment(run_of: Callable[[Path], Path], here: Path) -> None:
    run = run_of(ROOT / "configs" / "custom_reward.yaml")
    assert "def brevity(captions):" in (here / "my_rewards.py").read_text()
    brevity = [row["reward/brevity"] for row in rows(run / "metrics.jsonl") if "reward/brevity" in row]
    assert len(brevity) == STEPS
    assert all(0 < value <= 1 for value in brevity)


def test_features_of_a_frozen_encoder_are_shared_by_both_stages(run_of: Callable[[Path], Path], here: Path) -> None:
    stages = [run_of(ROOT / "configs" / f"flickr8k_{stage}.yaml") for stage in ("teacher_forcing", "self_critical")]
    encoders = {load_policy(str(stage)).fingerprint for stage in stages}
    assert len(encoders) == 1
    kept = here / "features" / encoders.pop()
    assert sorted(path.name.partition("-")[0] for path in kept.iterdir()) == sorted(SPLITS)
