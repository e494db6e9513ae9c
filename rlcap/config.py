"""A training run as one object made of the other rooms' objects; what a YAML file and a device's name stand for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from rewards.composite import Term, WeightedSum
from rlcap.algorithms.base import Algorithm
from rlcap.data.base import CaptionDataset
from rlcap.errors import UserError
from rlcap.evaluation import EvaluationOptions
from rlcap.models import Model
from rlcap.policies.base import Policy
from rlcap.reward_models.base import RewardModel
from rlcap.training import Trainer, TrainingOptions
from rlcap.training.schedule import Constant, Schedule


def device_named(name: str | None) -> torch.device:
    """The device of a name; the GPU where there is one when none is named.

    Raises:
        UserError: if there is no such device here.
    """
    device = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"no device {device!r} here: {str(error).splitlines()[0]}") from error


@dataclass(kw_only=True)
class Experiment:
    """All that a training run is made of: what learns is a policy or a reward model.

    Attributes:
        data: images and reference captions.
        policy: the captioner to start from.
        reward_model: the reward model to start from.
        algorithm: how it learns; given the policy or reward model.
        optimizer: given the groups of parameters that learn.
        rewards: what sampled captions are scored by: named terms with weights.
        schedule: of the learning rate.
        training: how long, how much, how often.
        evaluation: how what learns is measured.
    """

    data: CaptionDataset
    policy: Policy | None = None
    reward_model: RewardModel | None = None
    algorithm: Callable[[Model], Algorithm]
    optimizer: Callable[[list[dict[str, Any]]], Optimizer]
    rewards: dict[str, Term] = field(default_factory=dict)
    schedule: Schedule = field(default_factory=Constant)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)

    @property
    def model(self) -> Model:
        """What learns.

        Raises:
            UserError: if there is none, or two.
        """
        if self.policy is not None and self.reward_model is not None:
            raise UserError("a run trains a policy or a reward model: name one of them, not both")
        model = self.reward_model if self.policy is None else self.policy
        if model is None:
            raise UserError("nothing to train: name a captioner under policy, or a reward model under reward_model")
        return model

    def trainer(self, folder: Path) -> Trainer:
        """The trainer of a run folder; what learns and the rewards take in the training references first.

        Raises:
            UserError: if parts do not fit together.
        """
        torch.manual_seed(self.training.seed)  # fresh weights
        references = [record.references for record in self.data.records("train")]
        self.model.prepare(references)
        algorithm = self.algorithm(self.model)
        algorithm.prepare(references)
        if algorithm.rewarded and not self.rewards:
            raise UserError(f"{type(algorithm).__name__} learns from rewards: name at least one under rewards")
        reward = WeightedSum(self.rewards) if algorithm.rewarded else None
        if reward is not None:
            reward.prepare(references)
        for metric in self.evaluation.metrics.values():
            metric.prepare(references)
        return Trainer(
            folder,
            algorithm=algorithm,
            dataset=self.data,
            reward=reward,
            optimizer=self._optimizer,
            schedule=self.schedule,
            options=self.training,
            evaluation=self.evaluation,
        )

    def _optimizer(self, groups: list[dict[str, Any]]) -> Optimizer:
        """The optimizer; what it says of a wrong setting is a user's mistake."""
        try:
            return self.optimizer(groups)
        except (TypeError, ValueError) as error:
            raise UserError(f"cannot make the optimizer: {error}") from error
