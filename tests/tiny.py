"""A tiny experiment that trains in seconds, for tests of the loop and the command line."""

from pathlib import Path
from typing import Any

import torch
import yaml

from rlcap.commands.train import experiment_parser
from rlcap.config import Experiment
from rlcap.training import Trainer

DATA = {"class_path": "rlcap.data.shapes.Shapes", "init_args": {"train": 48, "val": 8, "test": 8}}
POLICY = {
    "class_path": "rlcap.policies.tiny.TinyViT",
    "init_args": {
        "encoder_width": 16,
        "encoder_layers": 1,
        "heads": 2,
        "decoder": {"width": 16, "layers": 1, "heads": 2, "dropout": 0.1, "min_count": 1},
    },
}
TEACHER_FORCING = {"class_path": "rlcap.algorithms.teacher_forcing.TeacherForcing", "init_args": {}}
SELF_CRITICAL = {
    "class_path": "rlcap.algorithms.self_critical.SelfCritical",
    "init_args": {"samples_per_image": 2, "max_length": 8},
}

SAMPLED = {"samples_per_image": 3, "max_length": 8}


def _algorithm(path: str, **init_args: Any) -> dict[str, Any]:
    return {"class_path": f"rlcap.algorithms.{path}", "init_args": init_args}


def _critic(kind: str) -> dict[str, Any]:
    return {"class_path": f"rlcap.algorithms.critics.{kind}"}


KL = {"reward": 0.1, "loss": 0.1, "target": 1.0}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "teacher_forcing": TEACHER_FORCING,
    "self_critical": SELF_CRITICAL,
    "new_self_critical": _algorithm("self_critical.NewSelfCritical", **SAMPLED),
    "beam_self_critical": _algorithm("self_critical.BeamSelfCritical", beams=3, max_length=8),
    **{
        f"reinforce_{name}": _algorithm(
            "reinforce.Reinforce", baseline={"class_path": f"rlcap.algorithms.baselines.{kind}"}, **SAMPLED
        )
        for name, kind in {
            "none": "NoBaseline",
            "batch_mean": "BatchMean",
            "running_mean": "RunningMean",
            "leave_one_out": "LeaveOneOut",
            "greedy": "Greedy",
        }.items()
    },
    "mixed": _algorithm(
        "self_critical.SelfCritical",
        objective={"teacher_forcing": 0.5, "standardize": True, "entropy_bonus": 0.01, "kl": KL},
        **SAMPLED,
    ),
    "actor_critic": _algorithm("actor_critic.ActorCritic", critic=_critic("SharedCritic"), **SAMPLED),
    "actor_critic_separate": _algorithm(
        "actor_critic.ActorCritic", critic=_critic("SeparateCritic"), values={"warmup": 1}, **SAMPLED
    ),
    "ppo": _algorithm(
        "ppo.PPO", reuse={"epochs": 2, "minibatches": 2}, objective={"standardize": True, "kl": KL}, **SAMPLED
    ),
    "ppo_separate": _algorithm("ppo.PPO", critic=_critic("SeparateCritic"), values={"clip": 0.5}, **SAMPLED),
    "grpo": _algorithm("grpo.GRPO", reuse={"epochs": 2}, **SAMPLED),
    "rloo": _algorithm("rloo.RLOO", reuse={"minibatches": 2}, **SAMPLED),
}

RUNNING = {
    "cider_d": {
        "reward": {
            "class_path": "rewards.RunningStandardized",
            "init_args": {"reward": {"class_path": "rewards.cider.CiderD"}, "decay": 0.5},
        }
    }
}
"""A reward that learns from what all processes have scored."""


def experiment(algorithm: dict[str, Any], **training: Any) -> dict[str, Any]:
    """A configuration as YAML would hold it."""
    return {
        "data": DATA,
        "policy": POLICY,
        "algorithm": algorithm,
        "rewards": {"cider_d": {"reward": {"class_path": "rewards.cider.CiderD"}}},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        "schedule": {"class_path": "rlcap.training.schedule.Cosine", "init_args": {"warmup": 2}},
        "training": {"steps": 6, "images_per_batch": 8, "workers": 0, **training},
        "evaluation": {"decoding": {"max_length": 8}, "thumbnails": 2},
    }


def write(path: Path, config: dict[str, Any]) -> Path:
    """The configuration as a YAML file."""
    path.write_text(yaml.safe_dump(config))
    return path


def trainer(folder: Path, config: dict[str, Any], name: str = "run") -> Trainer:
    """The trainer of a configuration, in a run folder of that name, made as the command line makes it."""
    parser = experiment_parser("test")
    path = write(folder / f"{name}.yaml", config)
    torch.manual_seed(0)
    built = parser.instantiate(parser.parse_args(["--config", str(path)]))
    (folder / name).mkdir()
    return Experiment(**{field: built[field] for field in Experiment.__dataclass_fields__}).trainer(folder / name)
