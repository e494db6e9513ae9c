"""Learning more than once from a rollout: epochs over it, each split into minibatches, ratios clipped meanwhile."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rlcap.algorithms.baselines import Baseline
from rlcap.algorithms.policy_gradient import Objective, PolicyGradient
from rlcap.policies.base import Policy
from rlcap.types import Rollout, Sampling, UserError


@dataclass(frozen=True)
class Reuse:
    """How often rollouts are learned from.

    A step's images are split into minibatches in the order they were read, which each epoch's data order shuffles
    anyway, and only the order of the minibatches changes from epoch to epoch. So the split is the same however the
    images are spread over processes and micro-batches.

    Attributes:
        epochs: passes over the rollouts of a step.
        minibatches: optimizer steps in each pass.
        target_kl: no further update is made once the policy has moved so many nats per action (k3) from the one that
            drew the captions; None never stops. An action is a token, for RLOO a whole caption.
    """

    epochs: int = 1
    minibatches: int = 1
    target_kl: float | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.minibatches < 1:
            raise UserError(f"reuse needs 1 epoch and 1 minibatch or more, got {self.epochs} and {self.minibatches}")
        if self.target_kl is not None and self.target_kl <= 0:
            raise UserError(f"reuse.target_kl must be above 0 nats, got {self.target_kl}")

    @property
    def once(self) -> bool:
        """Whether rollouts are learned from as a whole and once."""
        return self.epochs == self.minibatches == 1

    def updates(self, rollouts: Sequence[Rollout], key: tuple[int, ...]) -> Iterable[Sequence[Rollout]]:
        """The micro-batches of each optimizer step."""
        if self.once:
            yield rollouts
            return
        minibatches = self._split(rollouts)
        for epoch in range(self.epochs):
            for chosen in np.random.default_rng([*key, epoch]).permutation(len(minibatches)):
                yield minibatches[chosen]

    def _split(self, rollouts: Sequence[Rollout]) -> list[list[Rollout]]:
        """Micro-batches dealt to minibatches in order, or each cut into several."""
        count, parts = self.minibatches, len(rollouts)
        if parts % count == 0:
            each = parts // count
            whole = [rollout.select(torch.arange(len(rollout.batch))) for rollout in rollouts]
            return [whole[first : first + each] for first in range(0, parts, each)]
        smallest = min(len(rollout.batch) for rollout in rollouts)
        if count % parts or smallest < count // parts:
            raise UserError(
                f"{count} minibatches cannot be made of {parts} micro-batches of {smallest} images: choose minibatches "
                "so that it divides training.accumulate, or is a multiple of it and leaves each an image"
            )
        return [
            [rollout.select(index)]
            for rollout in rollouts
            for index in torch.arange(len(rollout.batch)).tensor_split(count // parts)
        ]

    def enough(self, moved: float) -> bool:
        """Whether the policy has moved far enough from the one that drew the captions."""
        return self.target_kl is not None and moved > self.target_kl


class ReusingPolicyGradient(PolicyGradient):
    """What PPO and its kin share: rollouts learned from several times, and a clip that keeps the policy near.

    Args:
        policy: the captioner, trained by teacher forcing before.
        baseline: what a reward is compared with.
        samples_per_image: sampled captions per image.
        max_length: the most tokens of a caption, EOS included.
        sampling: the distribution of the samples and of their probability ratios.
        objective: normalization, and what is descended besides.
        reuse: how often rollouts are learned from.
        clip: how far from 1 a probability ratio still has a gradient.
    """

    def __init__(
        self,
        policy: Policy,
        baseline: Baseline,
        samples_per_image: int,
        max_length: int,
        sampling: Sampling,
        objective: Objective,
        reuse: Reuse,
        clip: float,
    ) -> None:
        super().__init__(policy, baseline, samples_per_image, max_length, sampling, objective)
        if clip <= 0:
            raise UserError(f"clip must be above 0, got {clip}")
        self.reuse = reuse
        self.clip = clip

    @property
    def reuses(self) -> bool:
        return not self.reuse.once

    def updates(self, rollouts: Sequence[Rollout], key: tuple[int, ...]) -> Iterable[Sequence[Rollout]]:
        return self.reuse.updates(rollouts, key)

    def enough(self, stats: Mapping[str, float]) -> bool:
        return self.reuse.enough(stats["policy/approx_kl"])
