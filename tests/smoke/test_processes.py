"""Two processes with half the images each learn what one process learns, measure every image once, and write once.

So they do when each holds a part of the weights only. Starting processes takes longer than tiny trainings: most run one
after the other in the same two processes, see ``processes_worker``.
"""

import copy
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from rlcap.cli import main

ROOT = Path(__file__).parents[2]
STEPS, IMAGES = 2, 8
SCENES = {"train": 48, "val": 7, "test": 5}  # two processes cannot share 7 or 5 images evenly
RAGGED = {"train": 7, "val": 3, "test": 1}  # one learns from 4 images, the other from 3; one tests nothing
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


def config(algorithm: dict[str, Any], scenes: dict[str, int] = SCENES, **training: Any) -> dict[str, Any]:
    """The tiny experiment, without what differs between one process and two by nature: dropout is drawn in each."""
    settings = {"steps": STEPS, "images_per_batch": IMAGES, "accumulate": 1, "kl_every": 1, **training}
    made = copy.deepcopy(tiny.experiment(algorithm, **settings))
    made["data"]["init_args"] = scenes
    made["policy"]["init_args"]["decoder"]["dropout"] = 0.0
    # Adam would make of a gradient of almost 0 a step of full length, whichever its sign
    made["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.5}}
    made["schedule"] = {"class_path": "rlcap.training.schedule.Constant"}
    return made


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def finish(processes: Sequence["subprocess.Popen[str]"], timeout: float = 300) -> str:
    """What the processes say, all of which must succeed; none outlives this, whatever happens."""
    said = ""
    try:
        for process in processes:
            said += process.communicate(timeout=timeout)[0]
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                said += process.communicate()[0]
    assert all(process.returncode == 0 for process in processes), said
    return said


def start(command: list[str], **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def launch(*arguments: str) -> str:
    """What scripts/train.py says in two processes."""
    command = [*LAUNCH, "--main_process_port", free_port(), str(ROOT / "scripts" / "train.py"), *arguments]
    return finish([start(command)])


def train_in_two(kind: str, folder: Path, trainings: list[list[str]]) -> str:
    """What two processes say that train with each list of arguments, one after the other."""
    file = folder / f"trainings.{kind}.json"
    file.write_text(json.dumps(trainings))
    command = [sys.executable, str(Path(__file__).with_name("processes_worker.py")), kind, str(file)]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    if kind != "ddp":  # for which accelerate wants no CPU
        shared |= {"ACCELERATE_USE_CPU": "false", "DS_ACCELERATOR": "cpu"}
    said = ""
    processes = [start(command, **shared, RANK=rank, LOCAL_RANK=rank) for rank in "01"]
    return said + finish(processes)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights(run: Path, step: int = STEPS) -> dict[str, torch.Tensor]:
    folder = run / "checkpoints" / str(step)
    return {
        f"{path.relative_to(folder)}:{name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def optimizer_state(run: Path, step: int = STEPS) -> dict[str, Any]:
    state = torch.load(run / "checkpoints" / str(step) / "optimizer.pt", weights_only=True)["optimizer"]
    return {**state, "state": {number: dict(each) for number, each in state["state"].items()}}


def assert_same_training(one: Path, two: Path, steps: int = STEPS) -> None:
    """Two processes learned what one did, saw the same of it, and the main one alone wrote."""
    expected, learned = weights(one, steps), weights(two, steps)
    assert learned.keys() == expected.keys()
    for name, value in expected.items():
        # float32 sums in another order; SGD passes their difference on unamplified
        torch.testing.assert_close(learned[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: name + text)
    # momenta, whole, whoever wrote them
    torch.testing.assert_close(optimizer_state(two, steps), optimizer_state(one, steps), rtol=1e-3, atol=1e-6)

    metrics, alone = rows(two / "metrics.jsonl"), rows(one / "metrics.jsonl")
    assert [row["step"] for row in metrics if "gradient/norm" in row] == list(range(1, steps + 1))
    for row, other in zip(metrics, alone, strict=True):  # measurements stand among them
        assert row.keys() == other.keys()
        for key, value in other.items():
            if key != "critic/explained_variance":  # no mean over tokens: of each process's share, then averaged
                assert row[key] == pytest.approx(value, rel=1e-4, abs=1e-6), key
    assert all(row.get("gradient/norm", 1) > 0.01 for row in alone)

    for split in ("val", "test"):
        predictions, expected_ones = (rows(run / "evaluation" / split / "predictions.jsonl") for run in (two, one))
        for key in ("image_id", "caption"):  # rankings of a dual encoder are of images, not of captions
            assert [row.get(key) for row in predictions] == [row.get(key) for row in expected_ones]

    assert sorted(path.relative_to(two) for path in two.rglob("*")) == sorted(
        path.relative_to(one) for path in one.rglob("*")
    )
    others = [path for path in (two, *two.rglob("*")) if stat.S_IMODE(path.stat().st_mode) & stat.S_IWOTH]
    assert others == []


@pytest.mark.slow
def test_two_processes_launched_by_accelerate_equal_one(tmp_path: Path) -> None:
    made = config(tiny.SELF_CRITICAL, evaluate_every=1, trackers=["tensorboard"])
    file = str(tiny.write(tmp_path / "config.yaml", made))
    one, two = tmp_path / "one", tmp_path / "two"
    main(["train", "--config", file, "--output", str(one)])
    share = ["--training.images_per_batch", str(IMAGES // 4), "--training.accumulate", "2"]
    said = launch("--config", file, "--output", str(two), *share)

    assert "unused parameters" not in said
    assert said.count("test split: CIDEr-D") == 1
    events = [list(run.rglob("events.out.tfevents.*")) for run in (one, two)]
    assert [len(each) for each in events] == [1, 1]
    for each in events:  # whose names tell the time
        each[0].unlink()
    assert_same_training(one, two)
    for split in ("val", "test"):
        names = [row["image_id"] for row in rows(two / "evaluation" / split / "predictions.jsonl")]
        assert names == [f"{split}-{number:05d}" for number in range(SCENES[split])]


def in_one_and_in_two(
    kind: str, folder: Path, configs: dict[str, dict[str, Any]], besides: Sequence[list[str]] = ()
) -> None:
    """Train with each configuration, in one process and in two; in two besides with other arguments."""
    trainings = [*besides]
    for name, made in configs.items():
        file = str(tiny.write(folder / f"{name}.yaml", made))
        main(["train", "--config", file, "--output", str(folder / "one" / name)])
        half = str(IMAGES // 2 // made["training"]["accumulate"])
        trainings.append(
            ["--config", file, "--output", str(folder / "two" / name), "--training.images_per_batch", half]
        )
    train_in_two(kind, folder, trainings)


@pytest.mark.slow
def test_two_processes_with_unequal_shares_equal_one_with_every_algorithm(tmp_path: Path) -> None:
    configs = {name: config(each, RAGGED) for name, each in tiny.ALGORITHMS.items()}
    # whose first reward is 0: something else must be learned then
    running = config(tiny.ALGORITHMS["mixed"], RAGGED, steps=4, overlap_rewards=True)
    configs["running_statistics"] = {**running, "rewards": tiny.RUNNING}
    in_one_and_in_two("ddp", tmp_path, configs)
    for name, made in configs.items():
        assert_same_training(tmp_path / "one" / name, tmp_path / "two" / name, made["training"]["steps"])


@pytest.mark.slow
def test_two_processes_contrast_the_images_of_both(tmp_path: Path) -> None:
    configs = {}
    for name, each in tiny.CONTRASTIVE.items():
        for accumulate in (1, 2):
            made = tiny.contrastive(each, steps=STEPS, images_per_batch=IMAGES // accumulate, accumulate=accumulate)
            made["data"] = {**tiny.DATA, "init_args": RAGGED if accumulate == 1 else SCENES}
            made["schedule"] = {"class_path": "rlcap.training.schedule.Constant"}
            made["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.5}}
            configs[f"{name}_{accumulate}"] = made
    in_one_and_in_two("ddp", tmp_path, configs)
    for name in configs:
        assert_same_training(tmp_path / "one" / name, tmp_path / "two" / name)


@pytest.mark.slow
def test_two_processes_learn_the_judgements_of_both(tmp_path: Path) -> None:
    configs = {}
    for name, accumulate in (("bradley_terry", 1), ("davidson", 2), ("plackett_luce", 4), ("ordinal", 2)):
        each = tiny.PREFERENCES[name]
        made = tiny.judged(each, steps=STEPS, images_per_batch=IMAGES // accumulate, accumulate=accumulate)
        made["data"] = copy.deepcopy(made["data"])
        made["data"]["init_args"]["crowd"]["tie"] = 1.0  # of images with ties alone no ranking is learned
        made["data"]["init_args"] |= {"comparisons": 100 if name in tiny.RATED else 20, "held_out": 5}
        scenes = RAGGED if accumulate == 1 else SCENES
        made["data"]["init_args"]["images"] = {**tiny.DATA, "init_args": {**scenes, "test": 2}}
        configs[name] = made
    configs["grammar"] = tiny.scoring(tiny.MATCHING["grammar"], steps=STEPS, images_per_batch=IMAGES, accumulate=1)
    configs["grammar"]["data"] = {**tiny.DATA, "init_args": RAGGED}
    for made in configs.values():
        made["schedule"] = {"class_path": "rlcap.training.schedule.Constant"}
        made["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.5}}
    in_one_and_in_two("ddp", tmp_path, configs)
    for name in configs:
        assert_same_training(tmp_path / "one" / name, tmp_path / "two" / name)
        scores = [
            json.loads((tmp_path / own / name / "evaluation/val/scores.json").read_text()) for own in ("one", "two")
        ]
        assert scores[0]["scores"].keys() == scores[1]["scores"].keys()


# --- a part of the weights in each


def in_parts(kind: str) -> dict[str, dict[str, Any]]:
    """What is trained in one process and in two that have a part of the weights each."""
    configs = {name: config(tiny.ALGORITHMS[name]) for name in ("mixed", "ppo", "actor_critic_separate")}
    if kind != "fsdp":
        configs["actor_critic_separate"]["algorithm"]["init_args"].pop("values")  # whose warmup rests the policy
    configs["accumulated"] = config(tiny.TEACHER_FORCING, images_per_batch=IMAGES // 2, accumulate=2)
    configs["rolled_back"] = config(tiny.SELF_CRITICAL, steps=3, evaluate_every=1)
    configs["rolled_back"]["optimizer"]["init_args"]["lr"] = 0.5
    configs["rolled_back"]["training"]["guard"] = {"class_path": "rlcap.training.guard.RollBack"}
    return configs


@pytest.fixture(scope="module", params=["fsdp", "zero2", "zero3"])
def sharded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The kind, and the folder with all that is trained under it, in the same two processes."""
    kind = str(request.param)
    if kind != "fsdp" and find_spec("deepspeed") is None:
        pytest.skip("DeepSpeed is not installed")
    folder = tmp_path_factory.mktemp(kind)
    made = tiny.experiment(tiny.ALGORITHMS["ppo_separate"], steps=4, evaluate_every=2, images_per_batch=4)
    made["schedule"] = {"class_path": "rlcap.training.schedule.Constant"}
    file, parts = str(tiny.write(folder / "whole.yaml", made)), str(folder / "parts")
    resumed = [
        ["--config", file, "--output", str(folder / "whole")],
        ["--config", file, "--output", parts, "--training.steps", "2"],
        ["--resume", parts, "--training.steps", "4"],
    ]
    in_one_and_in_two(kind, folder, in_parts(kind), resumed)
    return kind, folder


@pytest.mark.slow
def test_two_processes_with_a_part_of_the_weights_each_equal_one(sharded: tuple[str, Path]) -> None:
    kind, folder = sharded
    for name, made in in_parts(kind).items():
        assert_same_training(folder / "one" / name, folder / "two" / name, made["training"]["steps"])
    state = folder / "two" / "rolled_back" / "checkpoints" / "3" / "state.json"
    assert json.loads(state.read_text())["rollbacks"] == 1


@pytest.mark.slow
def test_resumed_with_a_part_of_the_weights_each_equals_uninterrupted(sharded: tuple[str, Path]) -> None:
    whole, parts = sharded[1] / "whole", sharded[1] / "parts"
    assert (parts / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    torch.testing.assert_close(weights(parts, 4), weights(whole, 4), rtol=0, atol=0)
    torch.testing.assert_close(optimizer_state(parts, 4), optimizer_state(whole, 4), rtol=0, atol=0)


# --- accelerate's configurations


@pytest.mark.parametrize("name", ["ddp", "fsdp", "deepspeed_zero2", "deepspeed_zero3"])
def test_accelerate_reads_its_configurations(name: str) -> None:
    file = ROOT / "configs" / "accelerate" / f"{name}.yaml"
    config = load_config_from_file(str(file))
    expected = {"ddp": "MULTI_GPU", "fsdp": "FSDP"}.get(name, "DEEPSPEED")
    assert config.distributed_type == DistributedType[expected]
    assert (config.num_processes, config.mixed_precision, config.use_cpu) == (2, "no", False)
    known = set(vars(launch_command_parser().parse_args(["script.py"])))  # a misspelt setting would go unnoticed
    assert {*config.fsdp_config, *config.deepspeed_config} <= known
    if name == "fsdp":
        assert config.fsdp_config["fsdp_version"] == 2
    if name.startswith("deepspeed"):
        assert config.deepspeed_config["zero_stage"] == int(name[-1])
    assert f"accelerate launch --config_file configs/accelerate/{name}.yaml scripts/train.py" in file.read_text()


def test_every_configuration_of_accelerate_is_looked_at() -> None:
    names = sorted(path.stem for path in (ROOT / "configs" / "accelerate").iterdir())
    assert names == ["ddp", "deepspeed_zero2", "deepspeed_zero3", "fsdp"]
