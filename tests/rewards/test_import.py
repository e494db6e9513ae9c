"""What importing rewards costs: nothing heavy, until a reward needs it."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "sentence_transformers", "scipy", "pandas", "matplotlib")
LIGHT = (
    "rewards",
    "from rewards import Candidates, CiderD, FunctionReward, WeightedSum, score",
    *(f"rewards.{name}" for name in ("bleu", "cider", "rouge", "meteor", "spice", "spider", "scene_graph", "metrics")),
    *(f"rewards.{name}" for name in ("penalties", "hallucination", "normalization", "cache", "background", "scoring")),
)


@pytest.mark.parametrize("statement", LIGHT)
def test_text_rewards_need_no_torch(statement: str) -> None:
    statement = statement if " " in statement else f"import {statement}"
    loaded = f"import sys; {statement}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_name_is_there() -> None:
    import rewards

    for name in rewards.__all__:
        assert getattr(rewards, name).__name__ == name
    assert sorted(rewards.__all__) == sorted(name for names in rewards.HOMES.values() for name in names)
    with pytest.raises(AttributeError, match="module 'rewards' has no attribute 'Cider'"):
        _ = rewards.Cider
