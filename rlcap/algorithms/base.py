"""What every algorithm must answer: what to do with a batch of images, and what to descend afterwards."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from rewards.base import Candidates
from rewards.composite import WeightedSum
from rewards.statistics import bad_ending
from rlcap.errors import UserError
from rlcap.functional.masking import ended
from rlcap.policies.base import Policy
from rlcap.types import Batch, Captions, Loss, Rollout

_T = TypeVar("_T")


@dataclass(frozen=True)
class Scored:
    """Rewards of captions.

    Attributes:
        total: the weighted sum, on the captions' device.
        terms: every raw, unweighted term by name.
        texts: the captions as they were scored.
        seconds: how long scoring took.
    """

    total: Float[Tensor, " captions"]
    terms: Mapping[str, NDArray[np.float64]]
    texts: list[str]
    seconds: float

    def stats(self, captions: Captions, rows: Int[Tensor, " chosen"]) -> dict[str, float]:
        """Numbers to log of the chosen rows: each raw term, length in tokens, the share of bad endings."""
        chosen = rows.tolist()
        return {
            **{f"reward/{name}": float(values[chosen].mean()) for name, values in self.terms.items()},
            "caption/length": float(captions.mask[rows].sum(dim=1).float().mean()),
            "caption/bad_ending_rate": float(np.mean([bad_ending(self.texts[row]) for row in chosen])),
            "time/reward": self.seconds,
        }


@dataclass(frozen=True)
class Scorer:
    """Scores a policy's captions of a batch of images, equally many per image, image-major."""

    policy: Policy
    reward: WeightedSum | None

    def __call__(self, captions: Captions, batch: Batch) -> Scored:
        """Detokenise and score.

        Raises:
            UserError: if there is no reward to score by.
        """
        if self.reward is None:
            raise UserError("captions were sampled but no reward scores them: name at least one under rewards")
        began = perf_counter()
        each = len(captions) // len(batch)
        texts = self.policy.detokenize(captions)
        closed = ended(captions.token_ids.masked_fill(~captions.mask, self.policy.pad_id), self.policy.eos_id)
        scores = self.reward.score(
            Candidates(
                texts,
                references=_repeat(batch.references, each),
                image_ids=_repeat(batch.image_ids, each),
                images=None if batch.images is None else _repeat(batch.images, each),
                ended=closed.tolist(),
                metadata=_repeat(batch.metadata, each) if batch.metadata else None,
            )
        )
        total = torch.from_numpy(np.asarray(scores.total, dtype=np.float32)).to(captions.token_ids.device)
        return Scored(total, scores.terms, texts, perf_counter() - began)


def _repeat(items: Iterable[_T], times: int) -> list[_T]:
    return [item for item in items for _ in range(times)]


class Algorithm(nn.Module, ABC):
    """A way to learn from images. Acting (``act``) makes captions and weighs them; learning is the module's forward.

    Learning must go through ``forward`` of the (possibly wrapped) module: data-parallel wrappers synchronise gradients
    only there.

    Attributes:
        policy: the captioner that learns.
        dropout: whether dropout is on, while acting and learning alike. Off for reinforcement learning: with it, the
            log-probabilities of learning are not those the captions were drawn with.
        rewarded: whether ``act`` scores captions; without, no rewards need be configured.
    """

    dropout: ClassVar[bool] = False
    rewarded: ClassVar[bool] = True

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    @abstractmethod
    def act(self, batch: Batch, scorer: Scorer, key: tuple[int, ...]) -> Rollout:
        """Make captions of the images and weigh them.

        Images are encoded here once, with gradients, for acting and learning together.

        Args:
            batch: the images.
            scorer: gives captions their rewards.
            key: what random choices depend on: the run's seed and the step.
        """

    @abstractmethod
    def forward(self, rollout: Rollout) -> Loss:
        """The loss of a rollout."""

    def updates(self, rollout: Rollout, key: tuple[int, ...]) -> Iterable[Rollout]:
        """The rollouts to learn from, one optimizer step each. Once as it is, unless the algorithm reuses rollouts."""
        return (rollout,)
