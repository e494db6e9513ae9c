"""A tiny experiment that trains in seconds, for tests of the loop and the command line."""

from pathlib import Path
from typing import Any

import yaml

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
