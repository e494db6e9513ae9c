"""Learning more than once from a rollout: epochs over it, each split into minibatches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rlcap.types import Rollout, UserError


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
