"""What a caption's reward is compared with.

A baseline that does not depend on the caption leaves the expected gradient as it is and lowers its variance (Williams
1992).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rlcap.errors import UserError
from rlcap.functional.advantages import leave_one_out, running_mean


@dataclass(frozen=True)
class Rewards:
    """Rewards of a micro-batch, and what they are like in the whole step.

    Attributes:
        sampled: of the sampled captions.
        greedy: of each image's greedy caption, if it was decoded.
        mean: of the sampled captions of all micro-batches and processes.
    """

    sampled: Float[Tensor, "images samples"]
    greedy: Float[Tensor, " images"] | None
    mean: Float[Tensor, ""]


class Baseline(nn.Module, ABC):
    """The reward to be expected of each sampled caption.

    Attributes:
        decodes_greedily: whether it needs the greedy caption's reward.
        least_samples: sampled captions per image that it cannot do without.
    """

    decodes_greedily: ClassVar[bool] = False
    least_samples: ClassVar[int] = 1

    @abstractmethod
    def forward(self, rewards: Rewards) -> Float[Tensor, "images samples"]:
        """The expected reward of each sampled caption."""

    def learned(self, mean: float) -> None:
        """Told the mean reward of a step's samples when the step is done."""


class NoBaseline(Baseline):
    """Nothing: 0. The plain likelihood-ratio estimator."""

    def forward(self, rewards: Rewards) -> Float[Tensor, "images samples"]:
        return torch.zeros_like(rewards.sampled)


class BatchMean(Baseline):
    """The mean reward of the step's samples.

    It contains the caption's own reward, which shrinks the expected gradient by 1 - 1/n for n samples in a step.
    """

    def forward(self, rewards: Rewards) -> Float[Tensor, "images samples"]:
        return rewards.mean.expand_as(rewards.sampled)


class RunningMean(Baseline):
    """An exponential moving average of earlier steps' mean rewards; 0 in the first step.

    Args:
        decay: weight of the past.
    """

    mean: Tensor
    steps: Tensor

    def __init__(self, decay: float = 0.95) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise UserError(f"the running mean's decay must be in [0, 1), got {decay}")
        self.decay = decay
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, rewards: Rewards) -> Float[Tensor, "images samples"]:
        unbiased = self.mean / (1 - self.decay ** self.steps.clamp(min=1))  # it started at 0
        return unbiased.expand_as(rewards.sampled)

    def learned(self, mean: float) -> None:
        self.mean.copy_(running_mean(self.mean, self.mean.new_tensor(mean), self.decay))
        self.steps += 1


class LeaveOneOut(Baseline):
    """The mean reward of the other samples of the same image. Unbiased; needs no greedy caption."""

    least_samples = 2

    def forward(self, rewards: Rewards) -> Float[Tensor, "images samples"]:
        return leave_one_out(rewards.sampled)


class Greedy(Baseline):
    """The reward of the image's greedy caption. Rennie et al. 2017."""

    decodes_greedily = True

    def forward(self, rewards: Rewards) -> Float[Tensor, "images samples"]:
        assert rewards.greedy is not None
        return rewards.greedy[:, None].expand_as(rewards.sampled)
