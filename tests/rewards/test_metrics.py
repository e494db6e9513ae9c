"""Metrics by name, and what they make of captions: values by hand, and errors that name the culprit."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewards.base import Candidates, Reward, RewardError
from rewards.bleu import Bleu
from rewards.function import FunctionReward
from rewards.metrics import NAMED, measure, recipe_named, reward_named, standard_metrics

CODE = """
from rewards import Reward

SCALE = 2

def letters(captions):
    return [len(caption) for caption in captions]

class Words(Reward):
    def __call__(self, candidates):
        return [float(len(caption.split())) for caption in candidates.captions]

class Needy(Reward):
    def __init__(self, words):
        self.words = words

    def __call__(self, candidates):
        return []
"""
LIGHT = (*standard_metrics(), "METEOR", "SPICE", "SPIDEr", "CHAIRi", "CHAIRs", "length", "brevity", "bad-ending")
TWO = Candidates(["a dog runs", "a cat"], [["a dog runs"], ["the cat", "a cat"]], image_ids=["1", "2"])


class Best(Reward):
    """Letters of each caption; the corpus' are the most."""

    def __call__(self, candidates: Candidates) -> Any:
        return np.array([float(len(caption)) for caption in candidates.captions])

    def aggregate(self, candidates: Candidates, scores: Any) -> float:
        return float(max(scores))


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's."""
    (tmp_path / "own_rewards_of_a_test.py").write_text(CODE)
    (tmp_path / "half_written_of_a_test.py").write_text("def letters(captions:\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "own_rewards_of_a_test"


def test_the_standard_metrics_are_those_of_the_coco_evaluation() -> None:
    signatures = {name: str(metric.signature) for name, metric in standard_metrics().items()}
    assert list(signatures) == ["CIDEr-D", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L"]
    assert signatures["CIDEr-D"] == "CIDEr-D|df:corpus|tok:ptb|eos:no|v:0.1.0"
    assert standard_metrics()["BLEU-2"] is not standard_metrics()["BLEU-2"]  # rewards keep state


@pytest.mark.parametrize("name", NAMED)
def test_short_names_are_those_of_classes_and_signatures(name: str) -> None:
    module, _, attribute = NAMED[name].class_path.rpartition(".")
    assert isinstance(getattr(import_module(module), attribute), type)
    if name not in LIGHT:  # importing what runs a model takes seconds
        return
    reward = reward_named(name)
    assert reward.signature.name.replace("-", "").lower().startswith(name.replace("-", "").lower())
    assert type(reward)(**NAMED[name].as_yaml().get("init_args", {})).needs_references == reward.needs_references


def test_a_name_is_imported_only_when_it_is_used() -> None:
    code = (
        "import sys; from rewards.metrics import reward_named, standard_metrics; standard_metrics(); "
        "reward_named('BLEU-1'); reward_named('length'); "
        "sys.exit([name for name in ('torch', 'transformers', 'rewards.meteor') if name in sys.modules] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_recipes_say_how_a_reward_is_written_in_yaml(own_module: str) -> None:
    assert recipe_named("BLEU-2").as_yaml() == {"class_path": "rewards.bleu.Bleu", "init_args": {"order": 2}}
    assert recipe_named("CIDEr-D").as_yaml() == {"class_path": "rewards.cider.CiderD"}  # as a training reward
    assert recipe_named(f"{own_module}.Words").as_yaml() == {"class_path": f"{own_module}.Words"}
    function = {"function": f"{own_module}.letters"}
    assert recipe_named(f"{own_module}.letters").as_yaml() == {
        "class_path": "rewards.FunctionReward",
        "init_args": function,
    }


def test_names_may_be_metrics_functions_and_classes(own_module: str) -> None:
    names = ["BLEU-4", f"{own_module}.letters", f"{own_module}.Words"]
    bleu, letters, words = (reward_named(name) for name in names)
    assert isinstance(bleu, Bleu)
    assert isinstance(letters, FunctionReward)
    assert letters(TWO).tolist() == [10, 5]
    assert measure({"words": words}, TWO)[1]["words"] == {"value": 2.5, "signature": "Words|v:0.1.0"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cider", "no reward is called 'cider': give one of CIDEr-D, BLEU-1"),
        (
            "CIDEr-D,METEOR",
            "no reward is called 'CIDEr-D,METEOR': separate names by spaces, not commas: CIDEr-D METEOR",
        ),
        ("no_such_module.letters", "cannot import the reward 'no_such_module.letters' .*No module named"),
        ("own_rewards_of_a_test.nothing", "has no attribute 'nothing'"),
        ("own_rewards_of_a_test.SCALE", "neither a Reward class nor a function"),
        ("own_rewards_of_a_test.Needy", "cannot make own_rewards_of_a_test.Needy without arguments .*'words'"),
        ("half_written_of_a_test.letters", r"cannot import .*half_written_of_a_test\.py, line 1"),
    ],
)
@pytest.mark.usefixtures("own_module")
def test_a_wrong_name_is_told_with_the_remedy(name: str, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        reward_named(name)


def test_a_metric_aggregates_as_it_defines() -> None:
    each, summary = measure({"mean": FunctionReward(lambda captions: [1.0, 4.0]), "best": Best()}, TWO)
    assert {name: scores.tolist() for name, scores in each.items()} == {"mean": [1, 4], "best": [10, 5]}
    assert summary["mean"]["value"] == 2.5
    assert summary["best"] == {"value": 10.0, "signature": "Best|v:0.1.0"}


def test_signatures_say_how_many_references_there_were() -> None:
    assert measure(standard_metrics(), TWO)[1]["ROUGE-L"]["signature"].endswith("|refs:1-2|v:0.1.0")


def test_a_metric_that_fails_is_named() -> None:
    class Fails(Best):
        def aggregate(self, candidates: Candidates, scores: Any) -> float:
            raise KeyError("total")

    with pytest.raises(RewardError, match="reward 'mine' failed: KeyError: 'total'"):
        measure({"mine": Fails()}, TWO)
    with pytest.raises(RewardError, match=r"reward 'short' gave|reward 'short': function .* gave shape \(1,\)"):
        measure({"short": FunctionReward(lambda captions: [1.0])}, TWO)
    with pytest.raises(RewardError, match=r"reward 'CIDEr-D': .*references is None"):
        measure(standard_metrics(), Candidates(["a dog"]))
