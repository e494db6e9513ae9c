"""The rewards that docs/own_reward.md walks through train as it says, from the user's own folder."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tiny
import yaml
from shell import environment_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own_reward.md").read_text()
SHORT = ["--training.steps", "3", "--training.evaluate_every", "3", "--training.images_per_batch", "4"]
SCENES = [word for split in ("train", "val", "test") for word in (f"--data.init_args.{split}", "8")]


def rlcap(*arguments: str, cwd: Path) -> None:
    """Run the command in the user's folder, where nothing of this repository lies."""
    environment = environment_of(cwd)
    done = subprocess.run(["rlcap", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_rewards_of_the_page_train_from_a_users_folder(tmp_path: Path) -> None:
    (tmp_path / "my_rewards.py").write_text("import asyncio\n" + "\n\n".join(blocks("python")))
    first, slow = (yaml.safe_load(block) for block in blocks("yaml"))
    first["rewards"] |= slow
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(first))
    tiny.write(tmp_path / "start.yaml", tiny.experiment(tiny.TEACHER_FORCING, steps=2))
    rlcap("train", "--config", "start.yaml", "--output", "quickstart/teacher_forcing", cwd=tmp_path)
    (command,) = re.findall(r"^rlcap train --config mine.yaml.*$", PAGE, re.MULTILINE)
    rlcap(*command.split()[1:], *SHORT, *SCENES, cwd=tmp_path)

    rows = [json.loads(line) for line in (tmp_path / "runs/mine/metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss/policy" in row]
    assert len(steps) == 3
    for row in steps:
        weights = {"cider_d": 1.0, "colours": 0.5, "brief": 0.1, "bright": 0.1, "judge": 1.0, "parsed": 1.0}
        total = sum(weight * row[f"reward/{name}"] for name, weight in weights.items())
        assert row["reward/sampled"] == pytest.approx(total, rel=1e-5)
        assert row["reward/judge"] == 1.0
        assert row["reward/judge/failed"] == 0.0
        assert row["reward/brief"] <= 0
    scores = json.loads((tmp_path / "runs/mine/evaluation/test/scores.json").read_text())["scores"]
    predictions = (tmp_path / "runs/mine/evaluation/test/predictions.jsonl").read_text().splitlines()
    said = [json.loads(line) for line in predictions]
    expected = [
        len({"red", "green", "blue"} & set(one["caption"].split()) & set(" ".join(one["references"]).split()))
        for one in said
    ]
    assert [one["scores"]["colours"] for one in said] == expected
    assert scores["colours"]["value"] == pytest.approx(np.mean(expected))


def test_the_example_is_ten_lines() -> None:
    body = blocks("python")[0].partition("class Mentions")[2]
    assert len([line for line in body.splitlines() if line.strip()]) <= 10
