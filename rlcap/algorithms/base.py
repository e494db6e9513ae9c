"""What every algorithm must answer: what to do with a batch of images, and what to descend afterwards."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from rlcap.functional.sampling import image_generator
from rlcap.models import Model
from rlcap.policies.base import Policy
from rlcap.policies.reference import Reference
from rlcap.types import Batch, Captions, Encoded, Loss, Rollout

_T = TypeVar("_T")


@dataclass(frozen=True)
class Scored:
    """Rewards of captions.

    Attributes:
        total: the weighted sum, on the captions' device.
        terms: every raw, unweighted term by name.
        texts: the captions as they were scored.
        failed: the share of captions that a term failed for, of every term that may fail.
        seconds: how long the caller had to wait for scores.
    """

    total: Float[Tensor, " captions"]
    terms: Mapping[str, NDArray[np.float64]]
    texts: list[str]
    failed: Mapping[str, float]
    seconds: float

    def stats(self, captions: Captions, rows: Int[Tensor, " chosen"]) -> dict[str, float]:
        """Numbers to log of the chosen rows: each raw term, length in tokens, the share of bad endings."""
        chosen = rows.tolist()
        return {
            **{f"reward/{name}": float(values[chosen].mean()) for name, values in self.terms.items()},
            **{f"reward/{name}/failed": share for name, share in self.failed.items()},
            "caption/length": float(captions.mask[rows].sum(dim=1).float().mean()),
            "caption/bad_ending_rate": float(np.mean([bad_ending(self.texts[row]) for row in chosen])),
            "time/reward": self.seconds,
        }


@dataclass(frozen=True)
class Scorer:
    """Scores a policy's captions of a batch of images, equally many per image, image-major.

    Attributes:
        model: what learns; the captions are its own.
        reward: what they are scored by; None for algorithms that score nothing, and so for all of reward models.
    """

    model: Model
    reward: WeightedSum | None

    def seen(self) -> NDArray[np.float64]:
        """What rewards with running statistics have gathered since they were last asked."""
        return np.zeros(0) if self.reward is None else self.reward.seen()

    def learned(self, sums: NDArray[np.float64]) -> None:
        """A step is done; told what the rewards of all processes have seen in it."""
        if self.reward is not None:
            self.reward.learned(sums)

    def __call__(self, captions: Captions, batch: Batch) -> Scored:
        """Detokenise and score.

        Raises:
            UserError: if there is no reward to score by.
        """
        return self.begin(captions, batch)()

    def begin(self, captions: Captions, batch: Batch) -> Callable[[], Scored]:
        """Detokenise and start scoring; what comes back waits for rewards that score in the background.

        Raises:
            UserError: if there is no reward to score by.
        """
        if self.reward is None:
            raise UserError("captions were sampled but no reward scores them: name at least one under rewards")
        began = perf_counter()
        policy = captioner(self.model)
        each = len(captions) // len(batch)
        texts = policy.detokenize(captions)
        closed = ended(captions.token_ids.masked_fill(~captions.mask, policy.pad_id), policy.eos_id)
        pending = self.reward.begin_scores(
            Candidates(
                texts,
                references=_repeat(batch.references, each),
                image_ids=_repeat(batch.image_ids, each),
                images=None if batch.images is None else _repeat(batch.images, each),
                ended=closed.tolist(),
                metadata=_repeat(batch.metadata, each) if batch.metadata else None,
            )
        )
        begun = perf_counter() - began

        def finish() -> Scored:
            waited = perf_counter()
            scores = pending()
            total = torch.from_numpy(np.asarray(scores.total, dtype=np.float32)).to(captions.token_ids.device)
            return Scored(total, scores.terms, texts, scores.failed, begun + perf_counter() - waited)

        return finish


def captioner(model: Model) -> Policy:
    """The model, which is a policy.

    Raises:
        UserError: if it is not.
    """
    if not isinstance(model, Policy):
        raise UserError(f"{type(model).__name__} is no captioner: name one under policy")
    return model


def _repeat(items: Iterable[_T], times: int) -> list[_T]:
    return [item for item in items for _ in range(times)]


def choose_references(policy: Policy, batch: Batch, each: int, max_length: int, key: tuple[int, ...]) -> Captions:
    """So many reference captions of each image as tokens, as ``draw_references`` draws them."""
    return policy.tokenize(draw_references(batch, each, key), max_length).to(policy.device)


def draw_references(batch: Batch, each: int, key: tuple[int, ...]) -> list[str]:
    """So many reference captions of each image, image-major, drawn anew for each key where there are more.

    An image with fewer repeats some.

    Raises:
        UserError: if an image has none.
    """
    chosen: list[str] = []
    for image_id, references in zip(batch.image_ids, batch.references, strict=True):
        if not references:
            raise UserError(f"image {image_id} has no reference captions to learn from")
        if len(references) == each:
            chosen += references
        else:
            order = image_generator(image_id, key).permutation(len(references))
            chosen += [references[order[turn % len(order)]] for turn in range(each)]
    return chosen


def learning(module: nn.Module) -> list[nn.Parameter]:
    """The parameters of a module that learn."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


@dataclass(frozen=True)
class Total:
    """Sums a tensor over the processes of a run; with one process it is the tensor.

    Attributes:
        over: sums over the processes.
        processes: how many there are.
        rank: which of them this is, from 0.
    """

    over: Callable[[Tensor], Tensor] = lambda value: value
    processes: int = 1
    rank: int = 0

    def __call__(self, value: Tensor) -> Tensor:
        """The sum over the processes."""
        return self.over(value)

    def gathered(self, rows: Tensor) -> tuple[Tensor, int]:
        """The rows of all processes, in order, without their graph, and where this process's own begin.

        Processes may have unequal numbers of rows, or none.
        """
        if self.processes == 1:
            return rows.detach(), 0
        counts = torch.zeros(self.processes, dtype=torch.long, device=rows.device)
        counts[self.rank] = len(rows)
        each = self(counts).tolist()
        first = sum(each[: self.rank])
        whole = rows.new_zeros(sum(each), *rows.shape[1:])
        whole[first : first + len(rows)] = rows.detach()
        return self(whole), first


class Algorithm(nn.Module, ABC):
    """A way to learn from images. Acting makes captions, weighing compares them, learning descends a loss.

    What learns is a captioner; algorithms that train reward models say so by ``learns``, and their captions are there
    already.

    A step of the loop calls, in this order: ``act`` on every micro-batch; ``weigh`` on all their rollouts together,
    once their rewards are there; ``updates``; for each of those ``loss``, through the module's forward, and the
    optimizer; ``learned``. Only ``act`` and ``loss`` must be written.

    Attributes:
        learns: the class of model that it trains.
        model: what learns.
        reference: the policy as it was at the start of the run, where one is needed; the loop sets it.
        dropout: whether dropout is on, while acting and learning alike. Off for reinforcement learning: with it, the
            log-probabilities of learning are not those the captions were drawn with.
        rewarded: whether ``act`` scores captions; without, no rewards need be configured.
    """

    learns: ClassVar[type[Model]] = Policy
    dropout: ClassVar[bool] = False
    rewarded: ClassVar[bool] = True
    reference: Reference | None = None

    def __init__(self, model: Model) -> None:
        super().__init__()
        if not isinstance(model, self.learns):
            kind = self.learns.kind
            raise UserError(
                f"{type(self).__name__} trains a {self.learns.__name__}, not a {type(model).__name__}: name one under "
                f"{kind}"
            )
        self.model = model

    @property
    def policy(self) -> Policy:
        """The captioner that learns; of algorithms that train captioners."""
        return captioner(self.model)

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Take in the training references before training, for algorithms that make captions of their own of them."""

    @property
    def needs_reference(self) -> bool:
        """Whether it compares the policy with the one the run started from."""
        return False

    @property
    def reuses(self) -> bool:
        """Whether it learns more than once from a rollout, so that encodings kept from acting would soon be stale."""
        return False

    # --- what an algorithm says

    @abstractmethod
    def act(self, batch: Batch, scorer: Scorer, key: tuple[int, ...]) -> Rollout:
        """Make captions of the images and score them, or begin to: ``Rollout.settled`` waits for what is pending.

        Args:
            batch: the images.
            scorer: gives captions their rewards.
            key: what random choices depend on: the run's seed and the step.
        """

    @abstractmethod
    def loss(self, rollout: Rollout) -> Loss:
        """What to descend to learn from a rollout, as sums."""

    def units(self, rollout: Rollout) -> Mapping[str, float]:
        """How many units each of the loss's totals is a sum over; captions, unless the algorithm says otherwise."""
        return {"policy": float(len(rollout.captions))}

    def counts(self, rollout: Rollout) -> Mapping[str, float]:
        """How many things each of the loss's statistics is a mean over; those not named here are means over tokens."""
        return {f"loss/{name}": count for name, count in self.units(rollout).items()}

    def weigh(self, rollouts: Sequence[Rollout], total: Total) -> Sequence[Rollout]:
        """Compare the captions of a whole step: all its micro-batches here, and through ``total`` all processes."""
        return rollouts

    def updates(self, rollouts: Sequence[Rollout], key: tuple[int, ...]) -> Iterable[Sequence[Rollout]]:
        """The micro-batches of each optimizer step. One step from all, unless the algorithm reuses rollouts."""
        return (rollouts,)

    def enough(self, stats: Mapping[str, float]) -> bool:
        """Whether to make no more updates from these rollouts, given the last one's statistics over all processes."""
        return False

    def learned(self, stats: Mapping[str, float]) -> None:
        """Told the step's statistics over all processes when it is done: for running means and the like."""

    def resting(self, step: int) -> Iterable[nn.Parameter]:
        """Parameters that do not move in this step, counted from 1."""
        return ()

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """The parameters that learn, in groups, each with a factor on the learning rate."""
        return [(learning(self), 1.0)]

    # --- what they share

    def forward(self, rollout: Rollout) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The loss's totals and statistics.

        Learning must go through the forward of the (possibly wrapped) module: data-parallel wrappers synchronise
        gradients only there, and find tensors only in plain containers.
        """
        loss = self.loss(rollout)
        return dict(loss.totals), dict(loss.stats)

    def encode(self, rollout: Rollout) -> Encoded:
        """The encodings of a rollout's images: those kept from acting, or made now."""
        return self.policy.encode(rollout.batch) if rollout.encoded is None else rollout.encoded
