"""The algorithms that docs/own_algorithm.md walks through run as it says, from the user's own file."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
import yaml
from safetensors.torch import load_file

from rlcap.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own_algorithm.md").read_text()
SHORT = ["--training.steps", "3", "--training.evaluate_every", "3", "--training.images_per_batch", "4"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's working directory with the page's files, and a small policy where its YAML looks for one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "my_algorithms.py").write_text("\n\n".join(blocks("python")))
    (tmp_path / "mine.yaml").write_text(blocks("yaml")[0])
    start = str(tiny.write(tmp_path / "start.yaml", tiny.experiment(tiny.TEACHER_FORCING, steps=2)))
    main(["train", "--config", start, "--output", "quickstart/teacher_forcing"])
    yield tmp_path
    sys.modules.pop("my_algorithms", None)


def train(output: str, *options: str) -> list[dict[str, float]]:
    scenes = [word for split in ("train", "val", "test") for word in (f"--data.init_args.{split}", "8")]
    main(["train", "--config", "mine.yaml", "--output", output, *SHORT, *scenes, *options])
    rows = [json.loads(line) for line in Path(output, "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "loss/policy" in row]


def test_the_command_of_the_page_is_there() -> None:
    assert "rlcap train --config mine.yaml --output runs/mine" in PAGE


def test_best_of_samples_makes_the_best_sample_likely(here: Path) -> None:
    rows = train("runs/mine")
    assert [row["captions"] for row in rows] == [20, 40, 60]
    assert all(row["loss/policy"] > 0 and row["gradient/norm"] > 0 for row in rows)
    assert yaml.safe_load(Path("runs/mine/config.yaml").read_text())["algorithm"]["class_path"] == (
        "my_algorithms.BestOfSamples"
    )

    from my_algorithms import BestOfSamples

    from rewards.composite import Term, WeightedSum
    from rewards.function import FunctionReward
    from rlcap.algorithms.base import Scorer
    from rlcap.policies import load_policy
    from rlcap.types import Batch, Sampling

    policy = load_policy("runs/mine").eval()
    algorithm = BestOfSamples(policy, samples_per_image=6, max_length=8)
    scored: list[str] = []

    def words(captions: list[str]) -> list[int]:
        scored.extend(captions)
        return [len(set(caption.split())) for caption in captions]

    scorer = Scorer(policy, WeightedSum({"words": Term(FunctionReward(words))}))
    batch = Batch(("x", "y"), ((), ()), pixel_values=torch.randn(2, 3, 64, 64))
    rollout = algorithm.act(batch, scorer, (0, 1)).settled()
    most = [max(len(set(caption.split())) for caption in scored[first : first + 6]) for first in (0, 6)]
    assert [len(set(caption.split())) for caption in policy.detokenize(rollout.captions)] == most
    likelihood = policy.logprobs(policy.encode(batch), rollout.captions, Sampling()).sum(dim=1)
    loss = algorithm.loss(rollout).mean(algorithm.units(rollout))
    torch.testing.assert_close(loss, -likelihood.mean())


def test_mixer_moves_its_border_to_the_front(here: Path) -> None:
    options = ["--algorithm", "my_algorithms.Mixer", "--algorithm.init_args.every", "1"]
    rows = train("runs/mixer", *options, "--algorithm.init_args.first", "2")
    assert ["loss/teacher_forcing" in row for row in rows] == [True, True, False]
    weights = load_file(next(Path("runs/mixer/checkpoints/3/policy/decoder").glob("*.safetensors")))
    start = load_file(next(Path("quickstart/teacher_forcing/checkpoints/2/policy/decoder").glob("*.safetensors")))
    assert any(not torch.equal(weights[name], start[name]) for name in weights)

    from my_algorithms import Mixer

    from rewards.composite import Term, WeightedSum
    from rewards.function import FunctionReward
    from rlcap.algorithms.base import Scorer, Total
    from rlcap.policies import load_policy
    from rlcap.types import Batch

    policy = load_policy("quickstart/teacher_forcing").eval()
    algorithm = Mixer(policy, samples_per_image=4, max_length=8, first=3)
    scorer = Scorer(policy, WeightedSum({"words": Term(FunctionReward(lambda captions: list(map(len, captions))))}))
    batch = Batch(("x", "y"), (("a red circle",), ("a blue square",)), pixel_values=torch.randn(2, 3, 64, 64))
    (rollout,) = algorithm.weigh([algorithm.act(batch, scorer, (0, 1)).settled()], Total())
    assert not rollout.advantages[:, :3].any()
    assert rollout.advantages[:, 3:].any()
    assert rollout.references.token_ids.shape == (2, 3)
