"""Run folders as training writes them: two runs on the same sixty images of coloured shapes."""

import json
from collections.abc import Callable, Sequence
from math import exp
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import yaml
from browser import browse as browse
from browser import driver as driver
from PIL import Image, ImageDraw

SIGNATURE = "CIDEr-D|df:corpus|refs:5|tok:ptb|eos:no|v:0.1.0"
_COLOURS = {"red": "#c8453b", "blue": "#3a6ea5", "green": "#4c8c4a", "yellow": "#d9b23a", "purple": "#7a5aa6"}
_PLACES = ("on a wooden table", "next to a small tree", "in front of a white wall", "near the water", "on the grass")


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_predictions(
    folder: Path, captions: dict[str, str], scores: dict[str, float], signature: str = SIGNATURE
) -> None:
    """A small evaluation/test: each image's caption and CIDEr-D."""
    test = folder / "evaluation" / "test"
    write_lines(
        test / "predictions.jsonl",
        [
            {"image_id": i, "caption": c, "ended": True, "references": ["a thing"], "scores": {"CIDEr-D": scores[i]}}
            for i, c in captions.items()
        ],
    )
    mean = sum(scores.values()) / len(scores)
    summary = {
        "split": "test",
        "images": len(captions),
        "step": 1200,
        "decoding": "greedy",
        "scores": {"CIDEr-D": {"value": mean, "signature": signature}},
        "statistics": {"length": 9.1, "bad_ending_rate": 0.0, "distinct_1": 0.1, "vocabulary": 123},
    }
    (test / "scores.json").write_text(json.dumps(summary), encoding="utf-8")


def _caption(place: int, skill: float, rng: np.random.Generator) -> tuple[str, float]:
    colour, where = list(_COLOURS)[place % 5], _PLACES[place // 5 % 5]
    shape = ("ball", "box")[place % 2]
    right = rng.random(3) < skill
    words = (
        f"a {colour if right[0] else 'large'} {shape if right[1] else 'object'} {where if right[2] else 'in a room'}"
    )
    return words + ("" if skill > 0.6 else " with a"), float(0.25 + 0.5 * right.sum() + rng.normal(0, 0.12))


def _picture(place: int) -> Image.Image:
    image = Image.new("RGB", (96, 64 + 16 * (place % 3)), ("#e8e3d9", "#dfe8ee", "#e4ecdf")[place % 3])
    draw = ImageDraw.Draw(image)
    box = (22 + place % 7 * 4, 14, 58 + place % 7 * 4, 50)
    colour = list(_COLOURS.values())[place % 5]
    if place % 2:
        draw.rectangle(box, fill=colour)
    else:
        draw.ellipse(box, fill=colour)
    return image


def write_run(folder: Path, skill: float, algorithm: str, seed: int, images: int = 60, steps: int = 1200) -> Path:
    """A complete run folder whose captions are right about as often as its skill says."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    config = {
        "training": {"seed": seed},
        "policy": {"class_path": "rlcap.policies.tiny.Tiny", "init_args": {"width": 64}},
        "algorithm": {"class_path": f"rlcap.algorithms.{algorithm}", "init_args": {"samples_per_image": 5}},
        "rewards": {"cider_d": {"weight": 1.0}},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-5 if skill > 0.6 else 1e-4}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    environment = {"versions": {"torch": "2.11.0"}, "device": "cpu", "commit": "0123456789abcdef01234567", "seed": seed}
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    metrics: list[dict[str, Any]] = []
    timings = []
    for step in range(10, steps + 1, 10):
        learned = skill * (1 - exp(-step / 300))
        row = {"step": step, "epoch": 1 + step // 400, "images": 32 * step, "captions": 192 * step}
        row |= {
            "loss/policy": float(rng.normal(0, 0.2)),
            "reward/cider_d": 1.2 * learned + float(rng.normal(0, 0.05)),
            "reward/clip": 20 + 8 * learned + float(rng.normal(0, 0.5)),
            "reward/total": 1.4 * learned + float(rng.normal(0, 0.05)),
            "reward/greedy": 1.3 * learned + float(rng.normal(0, 0.05)),
            "advantage/std": 0.4 * (1 - 0.5 * learned),
            "caption/length": 9 + 2 * (1 - learned) + float(rng.normal(0, 0.2)),
            "caption/bad_ending_rate": max(0.0, 0.4 - 0.5 * learned),
            "policy/entropy": 3 * (1 - 0.6 * learned) + float(rng.normal(0, 0.05)),
            "gradient/norm": float(rng.gamma(3, 0.3)),
            "learning_rate": 1e-5 * (1 - step / steps / 2),
        }
        metrics.append(row)
        if step % 200 == 0:
            metrics.append({"step": step, "val/CIDEr-D": 1.4 * learned, "val/BLEU-4": 0.3 * learned, "val/length": 9.2})
        seconds = {"time/rollout": 0.8 + 0.5 * skill, "time/update": 0.6, "time/data": 0.05}
        timings.append({"step": step, "time/step": sum(seconds.values()) + 0.03, "time/reward": 0.5 * skill, **seconds})
    write_lines(folder / "metrics.jsonl", metrics)
    write_lines(folder / "timings.jsonl", timings)
    test = folder / "evaluation" / "test"
    predictions: list[dict[str, Any]] = []
    for place in range(images):
        caption, score = _caption(place, skill, rng)
        truth = f"a {list(_COLOURS)[place % 5]} {('ball', 'box')[place % 2]} {_PLACES[place // 5 % 5]}"
        image_id = f"shapes/{place:04d}"
        predictions.append(
            {
                "image_id": image_id,
                "caption": caption,
                "ended": True,
                "references": [truth, truth.replace("a ", "one ", 1), f"there is {truth}"],
                "scores": {"CIDEr-D": score, "BLEU-4": score / 5},
            }
        )
        path = test / "images" / f"{quote(image_id, safe='')}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        _picture(place).save(path)
    write_lines(test / "predictions.jsonl", predictions)
    value = float(np.mean([row["scores"]["CIDEr-D"] for row in predictions]))
    summary = {
        "split": "test",
        "images": images,
        "step": steps,
        "decoding": "greedy",
        "scores": {
            "CIDEr-D": {"value": value, "signature": SIGNATURE},
            "BLEU-4": {"value": value / 5, "signature": "BLEU-4|refs:5|tok:ptb|v:0.1.0"},
        },
        "statistics": {
            "length": 9.1 if skill > 0.6 else 11.3,
            "bad_ending_rate": 0.0 if skill > 0.6 else 0.38,
            "distinct_1": 0.112,
            "distinct_2": 0.284,
            "vocabulary": 123,
            "distinct_captions": 52,
        },
    }
    (test / "scores.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def whole_run() -> Callable[..., Path]:
    """Writes a complete run folder: see :func:`write_run`."""
    return write_run


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run before and a run after reinforcement learning; tests only read them."""
    folder = tmp_path_factory.mktemp("runs")
    return (
        write_run(folder / "cross-entropy", 0.45, "teacher_forcing.TeacherForcing", 1),
        write_run(folder / "self-critical", 0.85, "self_critical.SelfCritical", 2),
    )


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small run folder of the name with these captions and scores."""

    def make(name: str, captions: dict[str, str], scores: dict[str, float], signature: str = SIGNATURE) -> Path:
        write_predictions(tmp_path / name, captions, scores, signature)
        return tmp_path / name

    return make


@pytest.fixture
def make_seed(make_run: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a run of a seed: image scores, settings beside the seed, rows of metrics.jsonl, seconds of each step."""

    def make(
        name: str,
        seed: int,
        scores: Sequence[float],
        settings: dict[str, Any] | None = None,
        rows: Sequence[dict[str, Any]] = (),
        seconds: Sequence[float] = (),
        signature: str = SIGNATURE,
    ) -> Path:
        by_image = {f"i{place}": score for place, score in enumerate(scores)}
        run = make_run(name, dict.fromkeys(by_image, "a thing"), by_image, signature)
        config = {"training": {"seed": seed, "steps": len(seconds)}, **(settings or {})}
        (run / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        write_lines(run / "metrics.jsonl", rows)
        write_lines(
            run / "timings.jsonl", [{"step": step, "time/step": time} for step, time in enumerate(seconds, start=1)]
        )
        return run

    return make
