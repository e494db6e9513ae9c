"""Two processes with half the images each learn what one process learns, measure every image once, and write once."""

import copy
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file

from rlcap.cli import main

ROOT = Path(__file__).parents[2]
STEPS, IMAGES = 2, 8
SCENES = {"train": 48, "val": 7, "test": 5}  # two processes cannot share 7 or 5 images evenly
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no"]
LAUNCH += ["--dynamo_backend", "no", "--num_processes", "2"]
LAUNCH += ["--multi_gpu"]  # torchrun; with --cpu accelerate starts several processes through MPI alone
ENVIRONMENT = {
    **os.environ,
    "ACCELERATE_USE_CPU": "true",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(sys.path),
}


def config(algorithm: dict[str, Any]) -> dict[str, Any]:
    """The tiny experiment, without what differs between one process and two by nature: dropout is drawn in each."""
    made = copy.deepcopy(tiny.experiment(algorithm, steps=STEPS, evaluate_every=1, trackers=["tensorboard"]))
    made["data"]["init_args"] = SCENES
    made["policy"]["init_args"]["decoder"]["dropout"] = 0.0
    # Adam would make of a gradient of almost 0 a step of full length, whichever its sign
    made["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1.0}}
    return made


def launch(*arguments: str) -> str:
    """What scripts/train.py says in two processes; no process outlives this, whatever happens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*LAUNCH, "--main_process_port", str(port), str(ROOT / "scripts" / "train.py"), *arguments]
    process = subprocess.Popen(
        command,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=180)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 0, said
    return said


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights(run: Path) -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / str(STEPS)
    return {
        f"{path.relative_to(folder)}:{name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "accumulate"),
    [(tiny.TEACHER_FORCING, 1), (tiny.SELF_CRITICAL, 1), (tiny.TEACHER_FORCING, 2)],
    ids=["teacher_forcing", "self_critical", "accumulated"],
)
def test_two_processes_equal_one(algorithm: dict[str, Any], accumulate: int, tmp_path: Path) -> None:
    file = str(tiny.write(tmp_path / "config.yaml", config(algorithm)))
    one, two = tmp_path / "one", tmp_path / "two"
    main(["train", "--config", file, "--output", str(one), "--training.images_per_batch", str(IMAGES)])
    share = ["--training.images_per_batch", str(IMAGES // 2 // accumulate), "--training.accumulate", str(accumulate)]
    said = launch("--config", file, "--output", str(two), *share)

    assert "unused parameters" not in said
    assert said.count("test split: CIDEr-D") == 1
    assert len(list(two.rglob("events.out.tfevents.*"))) == 1

    expected, learned = weights(one), weights(two)
    assert learned.keys() == expected.keys()
    for name, value in expected.items():
        # float32 sums in another order; SGD passes their difference on unamplified
        torch.testing.assert_close(learned[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: name + text)

    metrics, alone = rows(two / "metrics.jsonl"), rows(one / "metrics.jsonl")
    assert [row["step"] for row in metrics if "loss/policy" in row] == [1, 2]
    for row, other in zip(metrics, alone, strict=True):  # measurements stand among them
        assert row.keys() == other.keys()
        for key, value in other.items():
            # means over equally many captions or images of each process; other numbers are of each process's share
            if key.startswith(("reward/", "val/")) or key in ("step", "images", "captions", "gradient/norm"):
                assert row[key] == pytest.approx(value, rel=1e-4, abs=1e-6), key
    assert all(row.get("gradient/norm", 1) > 0.1 for row in alone)

    for split in ("val", "test"):
        predictions = rows(two / "evaluation" / split / "predictions.jsonl")
        names = [row["image_id"] for row in predictions]
        assert names == [f"{split}-{number:05d}" for number in range(SCENES[split])]
        assert [row["caption"] for row in predictions] == [
            row["caption"] for row in rows(one / "evaluation" / split / "predictions.jsonl")
        ]
