"""A training run as one object made of the other rooms' objects; what a YAML file describes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from rewards.composite import Term, WeightedSum
from rlcap.algorithms.base import Algorithm
from rlcap.data.base import CaptionDataset
from rlcap.errors import UserError
from rlcap.evaluation import EvaluationOptions
from rlcap.policies.base import Policy
from rlcap.training import Trainer, TrainingOptions
from rlcap.training.schedule import Constant, Schedule


@dataclass
class Experiment:
    """All that a training run is made of.

    Attributes:
        data: images and reference captions.
        policy: the captioner to start from.
        algorithm: how it learns; given the policy.
        optimizer: given the parameters that learn.
        rewards: what sampled captions are scored by: named terms with weights.
        schedule: of the learning rate.
        training: how long, how much, how often.
        evaluation: how the policy is measured.
    """

    data: CaptionDataset
    policy: Policy
    algorithm: Callable[[Policy], Algorithm]
    optimizer: Callable[[Iterable[Parameter]], Optimizer]
    rewards: dict[str, Term] = field(default_factory=dict)
    schedule: Schedule = field(default_factory=Constant)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)

    def trainer(self, folder: Path) -> Trainer:
        """The trainer of a run folder; policy and rewards take in the training references first.

        Raises:
            UserError: if parts do not fit together.
        """
        torch.manual_seed(self.training.seed)  # fresh weights
        references = [record.references for record in self.data.records("train")]
        self.policy.prepare(references)
        algorithm = self.algorithm(self.policy)
        if algorithm.rewarded and not self.rewards:
            raise UserError(f"{type(algorithm).__name__} learns from rewards: name at least one under rewards")
        reward = WeightedSum(self.rewards) if algorithm.rewarded else None
        if reward is not None:
            reward.prepare(references)
        return Trainer(
            folder,
            algorithm=algorithm,
            dataset=self.data,
            reward=reward,
            optimizer=self.optimizer,
            schedule=self.schedule,
            options=self.training,
            evaluation=self.evaluation,
        )
