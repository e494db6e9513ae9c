"""What happens when the metric on the validation split collapses."""

import dataclasses
import json
from pathlib import Path

import pytest
import tiny
import torch
from tiny import trainer

from rlcap.errors import UserError
from rlcap.policies import load_policy
from rlcap.training.guard import RollBack, Stop

RUIN = {"class_path": "torch.optim.SGD", "init_args": {"lr": 300.0}}


def collapsing(tmp_path: Path, guard: dict, steps: int = 8):
    """A run from a policy that has learned a little, with a learning rate that ruins it in its first step."""
    trainer(tmp_path, tiny.experiment(tiny.TEACHER_FORCING, steps=60, images_per_batch=32), "start").run()
    config = tiny.experiment(tiny.SELF_CRITICAL, steps=steps, evaluate_every=2, clip_gradients=0, guard=guard)
    config["policy"] = {"class_path": "rlcap.policies.load_policy", "init_args": {"directory": str(tmp_path / "start")}}
    config["optimizer"] = RUIN
    config["schedule"] = {"class_path": "rlcap.training.schedule.Constant"}
    return trainer(tmp_path, config)


def rows(tmp_path: Path) -> list[dict]:
    return [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]


def test_share_of_the_best_that_may_be_lost():
    guard = Stop(drop=0.25)
    assert not guard.collapsed(0.76, best=1.0)
    assert guard.collapsed(0.74, best=1.0)
    assert guard.collapsed(-1.3, best=-1.0)  # lower is worse below 0 as well
    assert not guard.collapsed(1.5, best=1.0)


def test_stop_keeps_and_tests_the_best_checkpoint(tmp_path):
    run = collapsing(tmp_path, {"class_path": "rlcap.training.guard.Stop", "init_args": {"drop": 0.3}})
    run.run()
    measured = {row["step"]: row["val/CIDEr-D"] for row in rows(tmp_path) if "val/CIDEr-D" in row}
    last = max(measured)
    assert last < 8, measured
    assert measured[last] < 0.7 * max(measured.values())
    best = max(measured, key=measured.get)
    assert json.loads((tmp_path / "run/evaluation/test/scores.json").read_text())["step"] == best
    # a stopped run that is resumed is at its end
    again = dataclasses.replace(run.progress)
    assert again.collapsed
    run.run()
    assert run.progress == again


def test_roll_back_returns_to_the_best_weights_with_a_smaller_step_and_gives_up_in_the_end(tmp_path):
    guard = {"class_path": "rlcap.training.guard.RollBack", "init_args": {"drop": 0.3, "rate": 0.1, "times": 2}}
    run = collapsing(tmp_path, guard)
    best = {}
    load = run.learner.load_weights

    def watched(weights):
        load(weights)
        saved = load_policy(str(tmp_path / "run" / "checkpoints" / str(run.progress.best_step))).state_dict()
        best[run.progress.step] = all(torch.equal(saved[name], value) for name, value in run.model.state_dict().items())

    run.learner.load_weights = watched
    run.run()
    assert best
    assert all(best.values())
    rates = {row["step"]: row["learning_rate"] for row in rows(tmp_path) if "learning_rate" in row}
    first = min(best)
    assert rates[first] == pytest.approx(300.0)
    assert rates[first + 1] == pytest.approx(30.0)
    assert run.progress.rollbacks == len(best) <= 2


def test_mistakes_are_said():
    with pytest.raises(UserError, match=r"between 0 and 1, got 1\.5"):
        Stop(drop=1.5)
    with pytest.raises(UserError, match=r"got 0\.5 and 0"):
        RollBack(times=0)
