"""The page about the rewards: all of them are on it, and its configurations build."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser

from rewards.base import Candidates
from rewards.composite import Term, WeightedSum
from rewards.metrics import NAMED
from rlcap.evaluation.evaluate import EvaluationOptions
from rlcap.training.guard import Guard

PAGE = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text()
BLOCKS: list[dict[str, Any]] = [
    yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
]
CHECKPOINTS = ("clip", "itm", "vqa", "self_retrieval", "semantic", "bert_score", "transport", "fluency")


def parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--rewards", type=dict[str, Term])
    return parser


@pytest.mark.parametrize("name", NAMED)
def test_every_reward_with_a_short_name_is_on_the_page(name: str) -> None:
    rows = [line for line in PAGE.splitlines() if f"`{name}`" in line and NAMED[name].class_path in line]
    assert any(line.startswith("| ") for line in rows)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_configurations_build(number: int) -> None:
    terms = BLOCKS[number]["rewards"]
    parser().parse_object({"rewards": deepcopy(terms)})  # it changes what it parses
    here = {name: term for name, term in terms.items() if term["reward"]["class_path"].split(".")[1] not in CHECKPOINTS}
    if here:
        reward = WeightedSum(parser().instantiate(parser().parse_object({"rewards": here})).rewards)
        reward.prepare([["a dog runs", "the dog"], ["two cats"]])
        assert reward(Candidates(["a dog runs on"], [["a dog runs", "the dog"]])).shape == (1,)


def test_guard_and_evaluation_build() -> None:
    own = ArgumentParser(exit_on_error=False)
    own.add_argument("--training.guard", type=Guard)
    own.add_argument("--evaluation", type=EvaluationOptions)
    (block,) = [block for block in BLOCKS if "training" in block]
    built = own.instantiate(own.parse_object({name: block[name] for name in ("training", "evaluation")}))
    assert isinstance(built.training.guard, Guard)
    assert built.evaluation.best == "meaning"
