"""A run that is killed or stopped and goes on ends as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
from resuming import assert_resumed_equals_whole, assert_same_files

STEPS = 10
COMMAND = [sys.executable, "-m", "rlcap.cli", "train"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        metrics = run / "metrics.jsonl"
        if metrics.exists() and f'"step": {step},' in metrics.read_text():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    pytest.fail(f"step {step} was not reached")


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    settings = {"steps": STEPS, "checkpoint_every": 4, "evaluate_every": 5, "workers": 1, "accumulate": 2}
    config = str(tiny.write(tmp_path / "config.yaml", tiny.experiment(tiny.SELF_CRITICAL, **settings)))
    finish(start("--config", config, "--output", str(tmp_path / "whole")))

    run = tmp_path / "killed"
    process = start("--config", config, "--output", str(run))
    for step in (2, 6):  # before the first checkpoint, then the resumed process between two
        wait_for_step(run, step, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        process = start("--resume", str(run))
    finish(process)

    assert_same_files(tmp_path / "whole", run)


@pytest.mark.parametrize("algorithm", list(tiny.ALGORITHMS))
def test_broken_and_resumed_equals_uninterrupted(algorithm, tmp_path, monkeypatch):
    config = tiny.experiment(tiny.ALGORITHMS[algorithm], steps=4, checkpoint_every=2, kl_every=2, images_per_batch=4)
    config["data"] = {**tiny.DATA, "init_args": {"train": 12, "val": 2, "test": 1}}  # an epoch ends at the break
    run = assert_resumed_equals_whole(config, tmp_path, falls_at=4, patch=monkeypatch)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 4]  # step 3, taken twice, is told once
    assert (run / "reference").exists() == (algorithm != "teacher_forcing")


def test_a_run_rolled_back_before_its_break_resumes_exactly(tmp_path, monkeypatch):
    config = tiny.experiment(tiny.ALGORITHMS["ppo_separate"], steps=6, checkpoint_every=2, evaluate_every=1)
    config["optimizer"]["init_args"]["lr"] = 0.1
    config["training"]["guard"] = {"class_path": "rlcap.training.guard.RollBack", "init_args": {"drop": 0.01}}
    config["data"] = {**tiny.DATA, "init_args": {"train": 48, "val": 4, "test": 1}}
    run = assert_resumed_equals_whole(config, tmp_path, falls_at=6, patch=monkeypatch)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = [line["learning_rate"] for line in lines if "learning_rate" in line]
    state = json.loads((run / "checkpoints" / "6" / "state.json").read_text())
    assert state["rollbacks"] == 3, (lines, state, rates)


@pytest.mark.slow
def test_interrupt_saves_and_says_how_to_go_on(tmp_path):
    settings = {"steps": 5000, "workers": 1}  # no checkpoint would be due before the end
    config = str(tiny.write(tmp_path / "config.yaml", tiny.experiment(tiny.SELF_CRITICAL, **settings)))
    run = tmp_path / "run"
    process = start("--config", config, "--output", str(run))
    wait_for_step(run, 3, process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert f"rlcap train --resume {run}" in output
    assert "Traceback" not in output
    saved = [path.name for path in (run / "checkpoints").iterdir()]
    assert len(saved) == 1
    step = int(saved[0])
    finish(start("--resume", str(run), "--training.steps", str(step + 2)))
    assert f'"step": {step + 2},' in (run / "metrics.jsonl").read_text().splitlines()[-2]
