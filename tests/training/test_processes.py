"""What accelerate's configuration may ask for, and what it may not; how means are brought together."""

import importlib.util
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, GradientState

from rlcap.algorithms.actor_critic import ActorCritic
from rlcap.algorithms.critics import ValueLearning
from rlcap.algorithms.teacher_forcing import TeacherForcing
from rlcap.errors import UserError
from rlcap.policies.backbone_decoder import DecoderSettings
from rlcap.policies.tiny import TinyViT
from rlcap.training.options import TrainingOptions
from rlcap.training.processes import Processes, accelerator_of
from rlcap.training.sharding import FullySharded
from rlcap.training.zero import ZeRO, ZeRO3


@pytest.fixture
def fresh():
    """Accelerate, which keeps what it has once read of the environment, as in a new process before and after."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture
def policy():
    policy = TinyViT(encoder_width=16, encoder_layers=1, heads=2, decoder=DecoderSettings(16, 1, 2, 0.0, 1))
    policy.prepare([["a red square", "a blue circle"]])
    return policy


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, "asks for FSDP, but here it is NO: start 2 processes"),
        ({"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"}, "gradient_accumulation_steps 4: set it to 1"),
    ],
    ids=["one_process", "accumulation"],
)
def test_what_cannot_be_had_is_said(environment, says, tmp_path, monkeypatch, fresh):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=says):
        accelerator_of(TrainingOptions(), tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is not None, reason="DeepSpeed is installed")
def test_missing_deepspeed_is_said(tmp_path, monkeypatch, fresh):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UserError, match="pip install deepspeed"):
        accelerator_of(TrainingOptions(), tmp_path)


def accelerator_with(**state):
    """One whose configuration is said to hold these: a machine without GPUs gives it none."""
    accelerator = Accelerator(cpu=True)
    accelerator.state = SimpleNamespace(**state)
    return accelerator


@pytest.mark.parametrize(
    ("settings", "options", "says"),
    [
        ({"fsdp_version": 1}, {}, "version 1 is not supported: set fsdp_version: 2"),
        ({"fsdp_version": 2, "cpu_ram_efficient_loading": True}, {}, "cpu_ram_efficient_loading is not supported"),
        ({"fsdp_version": 2, "activation_checkpointing": True}, {}, "activation_checkpointing is not supported"),
        ({"fsdp_version": 2}, {"features": "here"}, "training.features needs whole weights"),
        ({"fsdp_version": 2}, {"gradient_samples": 2}, "training.gradient_samples 2 needs whole weights"),
    ],
    ids=["version", "loading", "checkpointing", "features", "noise"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # accelerate's, of what these settings mean to it
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_fsdp_cannot_do_is_said(settings, options, says, policy, monkeypatch):
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "false")  # which the plugin sets to what it is given
    plugin = FullyShardedDataParallelPlugin(**settings)
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.1)
    with pytest.raises(UserError, match=says):
        FullySharded(accelerator_with(fsdp_plugin=plugin)).prepare(
            TeacherForcing(policy), optimizer, TrainingOptions(**options)
        )


@pytest.mark.parametrize(
    ("config", "options", "warmup", "says"),
    [
        ({}, {"precision": "fp16"}, 0, "fp16 is not supported under DeepSpeed"),
        ({}, {}, 1, "values.warmup to 0"),
        ({}, {"gradient_samples": 2}, 0, "gradient_samples 2 is not supported"),
        ({"optimizer": {"type": "Adam"}}, {}, 0, "sets optimizer"),
        ({"bf16": {"enabled": True}}, {}, 0, "sets bf16"),
        ({"gradient_accumulation_steps": 4}, {}, 0, "gradient_accumulation_steps 4: set it to 1"),
    ],
    ids=["fp16", "warmup", "noise", "optimizer", "bf16", "accumulation"],
)
def test_what_deepspeed_cannot_do_is_said(config, options, warmup, says, policy):
    algorithm = ActorCritic(policy, values=ValueLearning(warmup=warmup))
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.1)
    accelerator = accelerator_with(deepspeed_plugin=SimpleNamespace(deepspeed_config=config))
    with pytest.raises(UserError, match=says):
        ZeRO(accelerator).prepare(algorithm, optimizer, TrainingOptions(**options))


def test_what_zero_3_cannot_do_is_said(policy):
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.1)
    with pytest.raises(UserError, match=r"training\.features needs whole weights"):
        ZeRO3(accelerator_with()).prepare(TeacherForcing(policy), optimizer, TrainingOptions(features="here"))


def test_means_are_over_all_that_parts_are_means_over():
    processes = Processes(Accelerator(cpu=True))
    stats = [{"a": torch.tensor(1.0), "b": 0.1}, {"a": torch.tensor(4.0), "b": 0.7}]
    counts = [{"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 1.0}]
    assert processes.means(stats, counts) == pytest.approx({"a": 2.0, "b": 0.4})
    assert processes.means(stats[:1], counts[:1]) == {"a": 1.0, "b": 0.1}  # to the last bit


def test_a_mean_over_nothing_is_left_out():
    processes = Processes(Accelerator(cpu=True))
    stats = [{"a": torch.tensor(0.0), "b": 0.25}, {"a": torch.tensor(3.0), "b": 0.75}]
    counts = [{"a": 0.0, "b": 1.0}, {"a": 2.0, "b": 1.0}]
    assert processes.means(stats, counts) == {"a": 3.0, "b": 0.5}
    assert processes.means(stats[:1], counts[:1]) == {"b": 0.25}
