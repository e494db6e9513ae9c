"""The loop: accumulation, records, what learns, what is kept."""

import dataclasses
import json
from pathlib import Path

import pytest
import tiny
import torch
from tiny import trainer

from rewards import RewardError
from rewards.function import FunctionReward
from rlcap.errors import UserError
from rlcap.policies import load_policy
from rlcap.training import Trainer


@pytest.mark.parametrize("algorithm", list(tiny.ALGORITHMS))
def test_one_batch_of_eight_learns_as_eight_batches_of_one(tmp_path, algorithm):
    assert_split_plays_no_part(tmp_path, tiny.ALGORITHMS[algorithm])


@pytest.mark.parametrize("normalization", ["TOKEN", "CAPTION", "SEQUENCE"])
def test_so_it_does_under_every_normalization(tmp_path, normalization):
    objective = {"normalization": normalization}
    algorithm = {**tiny.SELF_CRITICAL, "init_args": {**tiny.SELF_CRITICAL["init_args"], "objective": objective}}
    assert_split_plays_no_part(tmp_path, algorithm)


def assert_split_plays_no_part(tmp_path, algorithm):
    states = []
    for name, (images, accumulate) in {"whole": (8, 1), "parts": (1, 8)}.items():
        config = tiny.experiment(algorithm, steps=2, images_per_batch=images, accumulate=accumulate)
        config["policy"] = without_dropout(config["policy"])  # drawn anew for each micro-batch
        config["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
        run = trainer(tmp_path, config, name)
        run.run()
        states.append(run.algorithm.state_dict())
    for key, value in states[0].items():
        # float32 sums in another order; SGD passes their difference on unamplified
        torch.testing.assert_close(states[1][key], value, rtol=1e-4, atol=1e-6)


def without_dropout(policy):
    init_args = policy["init_args"]
    return {**policy, "init_args": {**init_args, "decoder": {**init_args["decoder"], "dropout": 0.0}}}


def test_metrics_hold_what_the_recorder_documents(tmp_path):
    trainer(tmp_path, tiny.experiment(tiny.SELF_CRITICAL, steps=4, evaluate_every=2)).run()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    training = [row for row in rows if "loss/policy" in row]
    measured = [row for row in rows if "val/CIDEr-D" in row]
    assert [row["step"] for row in training] == [1, 2, 3, 4]
    assert [row["step"] for row in measured] == [0, 2, 4]
    assert training[-1]["captions"] == 4 * 8 * 3  # steps x images x (greedy + 2 samples)
    assert training[-1]["images"] == 4 * 8
    documented = Path(__import__("rlcap.training.recorder", fromlist=["x"]).__file__).read_text()
    for key in training[0]:
        assert key.split("/")[0] == "reward" or key in documented, f"{key} is not documented"
    timings = [json.loads(line) for line in (tmp_path / "run" / "timings.jsonl").read_text().splitlines()]
    evaluations = [row for row in timings if "time/evaluate" in row]
    assert [row["step"] for row in evaluations] == [0, 2, 4]
    assert all(row.keys() == {"step", "time/evaluate"} and row["time/evaluate"] > 0 for row in evaluations)
    steps = [row for row in timings if row not in evaluations]
    assert all(row["time/step"] >= row["time/rollout"] >= row["time/reward"] > 0 for row in steps)
    assert all(row["time/rollout"] > row["time/encode"] + row["time/decode"] for row in steps)
    assert all(min(row["time/encode"], row["time/decode"]) > 0 for row in steps)
    assert all(row["memory/peak"] > 1e7 for row in steps)  # bytes: torch alone takes more
    for key in steps[0]:
        assert key in documented, f"{key} is not documented"
    assert not any(key.startswith(("time/", "memory/")) for row in rows for key in row)


@pytest.mark.parametrize("algorithm", ["mixed", "actor_critic", "ppo", "rloo"])
def test_so_they_do_with_every_algorithm(tmp_path, algorithm):
    options = {"steps": 2, "kl_every": 1, "evaluate_every": 2, "gradient_samples": 2}
    trainer(tmp_path, tiny.experiment(tiny.ALGORITHMS[algorithm], **options)).run()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    documented = Path(__import__("rlcap.training.recorder", fromlist=["x"]).__file__).read_text()
    for key in {key for row in rows for key in row}:
        assert key.split("/")[0] in ("reward", "val") or key in documented, f"{key} is not documented"
    learned = [row for row in rows if "loss/policy" in row]
    assert learned[0]["policy/kl"] == pytest.approx(0, abs=1e-6)  # before the first update
    assert learned[1]["policy/kl"] > 1e-4
    assert all(row["gradient/variance"] > 0 for row in rows if "val/CIDEr-D" in row)


def test_same_seed_same_run_and_other_seed_another(tmp_path):
    texts = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trainer(tmp_path, tiny.experiment(tiny.SELF_CRITICAL, steps=2, seed=seed), name).run()
        texts.append((tmp_path / name / "metrics.jsonl").read_bytes())
    assert texts[0] == texts[1] != texts[2]


def test_best_checkpoint_is_kept_and_tested(tmp_path):
    run = trainer(tmp_path, tiny.experiment(tiny.TEACHER_FORCING, steps=6, evaluate_every=1))
    run.run()
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    values = {row["step"]: row["val/CIDEr-D"] for row in rows if "val/CIDEr-D" in row}
    best = max(values, key=lambda step: (values[step], -step))
    assert json.loads((tmp_path / "run/checkpoints/best.json").read_text())["step"] == best
    kept = {path.name for path in (tmp_path / "run/checkpoints").iterdir() if path.is_dir()}
    assert kept == {"6", str(best)}
    assert json.loads((tmp_path / "run/evaluation/test/scores.json").read_text())["step"] == best
    load_policy(str(tmp_path / "run"))


def test_dropout_is_off_while_reinforcing_and_on_while_teaching(tmp_path):
    for algorithm, expected in ((tiny.TEACHER_FORCING, True), (tiny.SELF_CRITICAL, False)):
        run = trainer(tmp_path, tiny.experiment(algorithm, steps=1), algorithm["class_path"].rpartition(".")[2])
        modes = []
        run.model.decoder.register_forward_pre_hook(lambda module, inputs, modes=modes: modes.append(module.training))
        run.model.decoder.transformer.register_forward_pre_hook(
            lambda module, inputs, modes=modes: modes.append(module.training)
        )
        run.evaluation = type(run.evaluation)(test=None, decoding=run.evaluation.decoding)
        run._step(1, iter([(0, next(iter(run._loader("train", 8, False))))]))
        assert set(modes) == {expected}


def test_nothing_to_train_is_said(tmp_path):
    config = tiny.experiment(tiny.TEACHER_FORCING)
    config["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    run = trainer(tmp_path, config)
    run.model.requires_grad_(False)
    with pytest.raises(UserError, match="nothing to train"):
        Trainer(
            tmp_path,
            algorithm=run.algorithm,
            dataset=run.dataset,
            reward=None,
            optimizer=lambda parameters: torch.optim.SGD(parameters),
            schedule=run.schedule,
            options=run.options,
            evaluation=run.evaluation,
        )


def test_self_critical_needs_rewards(tmp_path):
    config = tiny.experiment(tiny.SELF_CRITICAL)
    config["rewards"] = {}
    with pytest.raises(UserError, match="name at least one under rewards"):
        trainer(tmp_path, config)


def test_clipping_limits_the_step(tmp_path):
    config = tiny.experiment(tiny.TEACHER_FORCING, steps=1, clip_gradients=0.01)
    config["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1.0}}
    config["schedule"] = {"class_path": "rlcap.training.schedule.Constant"}
    run = trainer(tmp_path, config)
    before = {name: value.detach().clone() for name, value in run.model.named_parameters()}
    run.run()
    moved = [(value.detach() - before[name]).flatten() for name, value in run.model.named_parameters()]
    assert float(torch.cat(moved).norm()) == pytest.approx(0.01, rel=1e-3)


def test_a_metric_that_fails_at_the_end_loses_no_weights(tmp_path):
    config = tiny.experiment(tiny.TEACHER_FORCING, steps=3)
    run = trainer(tmp_path, config)
    metric = FunctionReward(lambda captions: [1 / 0])
    run.evaluation = run.measurement.options = dataclasses.replace(run.evaluation, metrics={"broken": metric})
    with pytest.raises(RewardError, match="broken"):
        run.run()
    assert load_policy(str(tmp_path / "run")).vocabulary is not None


def test_a_split_that_is_not_there_is_said_before_training(tmp_path):
    config = tiny.experiment(tiny.TEACHER_FORCING, steps=3)
    config["evaluation"]["test"] = "tset"
    with pytest.raises(UserError, match="tset"):
        trainer(tmp_path, config).run()
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
