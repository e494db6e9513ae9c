"""A run that is killed or stopped and goes on ends as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
from safetensors.torch import load_file

STEPS = 14
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


def weights(run: Path) -> dict[str, bytes]:
    folder = run / "checkpoints" / str(STEPS)
    return {
        f"{path.relative_to(folder)}:{name}": tensor.numpy().tobytes()
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [tiny.TEACHER_FORCING, tiny.SELF_CRITICAL], ids=["teacher", "critical"])
def test_killed_and_resumed_equals_uninterrupted(algorithm, tmp_path):
    settings = {"steps": STEPS, "checkpoint_every": 4, "evaluate_every": 5, "workers": 1, "accumulate": 2}
    config = str(tiny.write(tmp_path / "config.yaml", tiny.experiment(algorithm, **settings)))
    finish(start("--config", config, "--output", str(tmp_path / "whole")))

    run = tmp_path / "killed"
    process = start("--config", config, "--output", str(run))
    for step in (2, 6, 11):  # before the first checkpoint, then between two, the resumed process each time
        wait_for_step(run, step, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        process = start("--resume", str(run))
    finish(process)

    assert (run / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert weights(run) == weights(tmp_path / "whole")
    test = Path("evaluation/test/predictions.jsonl")
    assert (run / test).read_bytes() == (tmp_path / "whole" / test).read_bytes()


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
