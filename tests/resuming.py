"""A run that falls over, in this process, where it costs less, and another Trainer that goes on in its folder."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from rlcap.cli import main
from rlcap.training.learner import Learner

AS_LOADED = ("config.json", "tokenizer_config.json")  # transformers tells there how a model was loaded, if it was


class BrokenOffError(Exception):
    """What happens to a run."""


def assert_resumed_equals_whole(config: dict[str, Any], folder: Path, falls_at: int, patch: pytest.MonkeyPatch) -> Path:
    """Train without a break and with one; the run with the break."""
    file = str(tiny.write(folder / "config.yaml", config))
    whole, broken = folder / "whole", folder / "broken"
    main(["train", "--config", file, "--output", str(whole)])

    taken = Learner.step

    def step(learner: Learner, number: int, *rest: Any) -> dict[str, int | float]:
        if number == falls_at:
            raise BrokenOffError
        return taken(learner, number, *rest)

    with patch.context() as falling:
        falling.setattr(Learner, "step", step)
        with pytest.raises(BrokenOffError):
            main(["train", "--config", file, "--output", str(broken)])
    main(["train", "--resume", str(broken)])
    assert_same_files(whole, broken)
    return broken


def assert_same_files(whole: Path, broken: Path) -> None:
    """The two runs hold the same, byte for byte, but for the time that it took."""
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file()]
    assert files == [path.relative_to(broken) for path in sorted(broken.rglob("*")) if path.is_file()]
    for name in files:
        if name.name == "optimizer.pt":  # its pickle may differ where its tensors do not
            states = [torch.load(run / name, weights_only=True)["optimizer"] for run in (whole, broken)]
            torch.testing.assert_close(*(dict(state["state"]) for state in states), rtol=0, atol=0)
            assert states[0]["param_groups"] == states[1]["param_groups"]
        elif name.name == "README.md":  # the model card names the run, and ends with a digest of itself
            cards = [(run / name).read_text().replace(run.name, "run").splitlines()[:-1] for run in (whole, broken)]
            assert cards[0] == cards[1], name
        elif name.name != "timings.jsonl" and not ("reward_model" in name.parts and name.name in AS_LOADED):
            assert (whole / name).read_bytes() == (broken / name).read_bytes(), name
