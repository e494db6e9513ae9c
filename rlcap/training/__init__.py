"""The one loop that trains every algorithm, its checkpoints and its records."""

from rlcap.training.options import TrainingOptions
from rlcap.training.trainer import Interrupted, Trainer

__all__ = ["Interrupted", "Trainer", "TrainingOptions"]
