"""Rewards computed while captions are decoded, and rewards with a memory, over steps, checkpoints and measurements."""

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from own_rewards import Recording
from resuming import assert_resumed_equals_whole

from rlcap.errors import UserError

RECORDING = {"letters": {"reward": {"class_path": "own_rewards.Recording"}}}


def experiment(rewards: dict[str, Any], **training: Any) -> dict[str, Any]:
    config = tiny.experiment(tiny.ALGORITHMS["reinforce_leave_one_out"], **{"images_per_batch": 4, **training})
    config["data"] = {**tiny.DATA, "init_args": {"train": 12, "val": 2, "test": 1}}
    return {**config, "rewards": rewards}


def run(folder: Path, config: dict[str, Any], name: str = "run") -> list[dict[str, Any]]:
    tiny.trainer(folder, config, name).run()
    return [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]


def test_micro_batches_are_decoded_before_scores_are_waited_for(tmp_path: Path) -> None:
    run(tmp_path, experiment(RECORDING, steps=1, accumulate=3))
    assert Recording.events == ["begun 1", "begun 2", "begun 3", "taken 1", "taken 2", "taken 3"]


def test_the_next_step_is_decoded_before_scores_are_waited_for(tmp_path: Path) -> None:
    run(tmp_path, experiment(RECORDING, steps=5, overlap_rewards=True, checkpoint_every=3))
    # not past the checkpoint after step 3, nor past the end
    assert Recording.events == [
        *("begun 1", "begun 2", "taken 1", "begun 3", "taken 2", "taken 3"),
        *("begun 4", "begun 5", "taken 4", "taken 5"),
    ]


def test_a_policy_that_stands_still_learns_the_same_either_way(tmp_path: Path) -> None:
    rewards = {"cider_d": {"reward": {"class_path": "rewards.cider.CiderD"}}}
    config = experiment(rewards, steps=4)
    config["optimizer"]["init_args"]["lr"] = 0.0
    plain = run(tmp_path, config, "plain")
    config["training"]["overlap_rewards"] = True
    assert run(tmp_path, config, "overlapped") == plain


def test_learning_is_one_update_late(tmp_path: Path) -> None:
    """PPO's ratio tells how far the policy has moved since it drew the captions: not at all, or by one update."""
    config = experiment(RECORDING, steps=4, overlap_rewards=True)
    config["algorithm"] = tiny._algorithm("rloo.RLOO", **tiny.SAMPLED)
    late = [row["policy/approx_kl"] for row in run(tmp_path, config, "late") if "policy/approx_kl" in row]
    config["training"]["overlap_rewards"] = False
    at_once = [row["policy/approx_kl"] for row in run(tmp_path, config, "at_once") if "policy/approx_kl" in row]
    assert max(at_once) < 1e-6
    assert late[0] < 1e-6
    assert min(late[1:]) > 1e-5


@pytest.mark.parametrize("overlap", [False, True])
def test_running_statistics_and_overlap_resume_exactly(overlap: bool, tmp_path: Path, monkeypatch: Any) -> None:
    config = experiment(tiny.RUNNING, steps=6, checkpoint_every=2, evaluate_every=3, overlap_rewards=overlap)
    config["training"]["gradient_samples"] = 2  # scores between steps, which the statistics must not take in
    broken = assert_resumed_equals_whole(config, tmp_path, falls_at=6, patch=monkeypatch)
    state = torch.load(broken / "checkpoints" / "6" / "optimizer.pt", weights_only=True)["rewards"]["cider_d"]
    captions = sum(12 * 0.5 ** (6 - step) for step in range(1, 7))  # 4 images, 3 samples
    assert state["past"][0] == pytest.approx(captions)


def test_rewards_are_told_of_steps_and_keep_plain_numbers(tmp_path: Path) -> None:
    rewards = {"steps": {"reward": {"class_path": "own_rewards.Steps"}}}
    rows = run(tmp_path, experiment(rewards, steps=4, checkpoint_every=2))
    assert [row["reward/steps"] for row in rows if "reward/steps" in row] == [0, 1, 2, 3]
    state = torch.load(tmp_path / "run" / "checkpoints" / "4" / "optimizer.pt", weights_only=True)["rewards"]
    assert state == {"steps": {"steps": 4.0}}


def test_a_state_that_cannot_be_read_again_is_refused_at_the_first_checkpoint(tmp_path: Path) -> None:
    rewards = {"own": {"reward": {"class_path": "own_rewards.Unkept"}}}
    with pytest.raises(UserError, match=r"cannot keep the state of a reward .*ndarray.*give numbers"):
        run(tmp_path, experiment(rewards, steps=4, checkpoint_every=1))


def test_epochs_are_those_of_the_captions_learned_from(tmp_path: Path) -> None:
    rows = run(tmp_path, experiment(RECORDING, steps=7, overlap_rewards=True))  # 3 batches an epoch
    assert [row["epoch"] for row in rows if "epoch" in row] == [0, 0, 0, 1, 1, 1, 2]


def test_an_interrupted_run_learns_from_what_is_drawn(tmp_path: Path, monkeypatch: Any) -> None:
    from rlcap.training import Interrupted
    from rlcap.training.learner import Learner

    taken = Learner.step

    def step(learner: Learner, number: int, *rest: Any) -> Any:
        if number == 2:
            signal.raise_signal(signal.SIGINT)
        return taken(learner, number, *rest)

    monkeypatch.setattr(Learner, "step", step)
    trainer = tiny.trainer(tmp_path, experiment(RECORDING, steps=9, overlap_rewards=True))
    with pytest.raises(Interrupted, match="stopped after step 3 of 9"):
        trainer.run()
    assert Recording.events[-2:] == ["taken 2", "taken 3"]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("[0-9]*")] == ["3"]


def test_metrics_may_look_at_images(tmp_path: Path) -> None:
    config = experiment(RECORDING, steps=2, evaluate_every=1)
    config["evaluation"]["metrics"] = {"brightness": {"class_path": "own_rewards.Brightness"}}
    config["rewards"]["brightness"] = {"reward": {"class_path": "own_rewards.Brightness"}, "weight": 0.01}
    trainer = tiny.trainer(tmp_path, config)
    evaluation = trainer.run()
    assert evaluation is not None
    for prediction in evaluation.predictions:
        (record,) = [r for r in trainer.dataset.records("test") if r.image_id == prediction["image_id"]]
        pixels = np.asarray(trainer.dataset.open_image(record))
        assert prediction["scores"]["brightness"] == pixels.mean()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["reward/brightness"] > 0 for row in rows if "reward/brightness" in row)
    assert sum("val/brightness" in row for row in rows) == 3
