"""What flows between the rooms: frozen dataclasses with named axes.

Axes: ``images``, ``samples``, ``captions`` (= images x samples, image-major), ``length``, ``vocabulary``, ``width``,
``regions``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from rlcap.errors import UserError as UserError

_T = TypeVar("_T")


@dataclass(frozen=True)
class Batch:
    """Images as a policy sees them, with what the data set knows of each.

    Attributes:
        image_ids: one per image, unique in its split.
        references: the reference captions of each image (may be empty when captioning a person's own photos).
        pixel_values: what the policy's image processor made; None when ``features`` are given.
        features: what the policy's frozen encoder made, computed earlier; None when ``pixel_values`` are given.
        images: the decoded images, only when a reward needs them.
        metadata: one mapping per image, such as its scene graph.
    """

    image_ids: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    pixel_values: Float[Tensor, "images channels height width"] | None = None
    features: Float[Tensor, "images regions width"] | None = None
    images: tuple[Image.Image, ...] | None = None
    metadata: tuple[Mapping[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device) -> "Batch":
        """The same batch with its tensors on another device."""
        return replace(
            self,
            pixel_values=None if self.pixel_values is None else self.pixel_values.to(device, non_blocking=True),
            features=None if self.features is None else self.features.to(device, non_blocking=True),
        )

    def select(self, index: Int[Tensor, " chosen"]) -> "Batch":
        """The chosen images, in that order."""
        chosen = index.tolist()

        def those(items: tuple[_T, ...]) -> tuple[_T, ...]:
            return tuple(items[row] for row in chosen)

        return Batch(
            image_ids=those(self.image_ids),
            references=those(self.references),
            pixel_values=None if self.pixel_values is None else self.pixel_values[index],
            features=None if self.features is None else self.features[index],
            images=None if self.images is None else those(self.images),
            metadata=those(self.metadata) if self.metadata else (),
        )


@dataclass(frozen=True)
class Encoded:
    """Images after the encoder: one sequence of region vectors each. Opaque to all but its policy."""

    states: Float[Tensor, "images regions width"]

    def __len__(self) -> int:
        return int(self.states.shape[0])

    def repeat(self, times: int) -> "Encoded":
        """Each image's encoding ``times`` times, copies of one image next to one another (image-major)."""
        return self if times == 1 else Encoded(self.states.repeat_interleave(times, dim=0))

    def select(self, index: Int[Tensor, " chosen"]) -> "Encoded":
        """The encodings of the chosen rows, in that order."""
        return Encoded(self.states[index])

    def detach(self) -> "Encoded":
        """The same encodings cut from the graph."""
        return Encoded(self.states.detach())


@dataclass(frozen=True)
class Captions:
    """Captions as tokens.

    Attributes:
        token_ids: the tokens, the closing EOS included, the start token not; padding after the end.
        mask: True up to and including the first EOS, False after it.
        logprobs: the log-probability under which each token was sampled; 0 where the mask is False. None when the
            captions were not sampled (references).
    """

    token_ids: Int[Tensor, "captions length"]
    mask: Bool[Tensor, "captions length"]
    logprobs: Float[Tensor, "captions length"] | None = None

    def __len__(self) -> int:
        return int(self.token_ids.shape[0])

    def to(self, device: torch.device) -> "Captions":
        """The same captions on another device."""
        logprobs = None if self.logprobs is None else self.logprobs.to(device)
        return Captions(self.token_ids.to(device), self.mask.to(device), logprobs)

    def inputs(self, start_id: int) -> Int[Tensor, "captions length"]:
        """What a decoder reads to foresee each token: the start token, then the tokens before it."""
        start = self.token_ids.new_full((len(self), 1), start_id)
        return torch.cat([start, self.token_ids[:, :-1]], dim=1)

    def rows(self, images: int) -> Int[Tensor, "images each"]:
        """The row numbers of each image's captions."""
        return torch.arange(len(self), device=self.token_ids.device).reshape(images, -1)

    def select(self, index: Int[Tensor, " chosen"]) -> "Captions":
        """The chosen captions, in that order."""
        return Captions(
            self.token_ids[index], self.mask[index], None if self.logprobs is None else self.logprobs[index]
        )


@dataclass(frozen=True)
class Sampling:
    """The distribution that captions are drawn from, and that their log-probabilities are of.

    Attributes:
        temperature: divides the logits.
        top_k: keep the k most probable tokens; 0 keeps all.
        top_p: keep the fewest most probable tokens whose probabilities reach p; 1 keeps all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise UserError(
                f"temperature must be above 0, got {self.temperature}: for the most probable caption decode greedily"
            )
        if self.top_k < 0:
            raise UserError(f"top_k must be 0 (off) or more, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p must be in (0, 1], got {self.top_p}")

    @property
    def uncut(self) -> "Sampling":
        """The same temperature over all tokens: what two policies are compared by, since both give it everywhere."""
        return replace(self, top_k=0, top_p=1.0)


@dataclass(frozen=True)
class Rollout:
    """What acting leaves for learning: captions of some images and how good each was.

    Attributes:
        batch: the images.
        captions: captions to learn from, image-major, equally many per image.
        encoded: the images' encodings with the encoder's graph, kept from acting; None when learning encodes them.
        rewards: of each caption, weighted.
        greedy: reward of each image's greedy caption.
        advantages: the weight of each token's log-probability in the objective.
        reference_logprobs: log-probability of each token under the reference policy.
        token_rewards: the reward that comes with each token.
        values: a critic's value of the state before each token.
        returns: what that value should have been.
        references: reference captions to learn from besides, equally many per image.
        decoded: captions decoded to make it, baselines included: what runs of equal budget have equally many of.
        stats: numbers to log, named as in ``rlcap.training.recorder``.
        pending: adds the rewards, which were still being computed when acting was done; see ``settled``.
    """

    batch: Batch
    captions: Captions
    encoded: Encoded | None = None
    rewards: Float[Tensor, "images samples"] | None = None
    greedy: Float[Tensor, " images"] | None = None
    advantages: Float[Tensor, "captions length"] | None = None
    reference_logprobs: Float[Tensor, "captions length"] | None = None
    token_rewards: Float[Tensor, "captions length"] | None = None
    values: Float[Tensor, "captions length"] | None = None
    returns: Float[Tensor, "captions length"] | None = None
    references: Captions | None = None
    decoded: int = 0
    stats: Mapping[str, float] = field(default_factory=dict)
    pending: Callable[["Rollout"], "Rollout"] | None = None

    def settled(self) -> "Rollout":
        """The rollout with its rewards, waited for if they are still being computed."""
        return self if self.pending is None else self.pending(replace(self, pending=None))

    @property
    def captions_per_image(self) -> int:
        """How many captions each image has."""
        return len(self.captions) // len(self.batch)

    def select(self, index: Int[Tensor, " chosen"]) -> "Rollout":
        """The part of it that is of the chosen images; they are encoded anew when learned from."""
        rows = self.captions.rows(len(self.batch))[index].flatten()

        def of_images(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[index]

        def of_captions(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[rows]

        references = self.references
        if references is not None:
            references = references.select(references.rows(len(self.batch))[index].flatten())
        return replace(
            self,
            batch=self.batch.select(index),
            captions=self.captions.select(rows),
            encoded=None,
            rewards=of_images(self.rewards),
            greedy=of_images(self.greedy),
            advantages=of_captions(self.advantages),
            reference_logprobs=of_captions(self.reference_logprobs),
            token_rewards=of_captions(self.token_rewards),
            values=of_captions(self.values),
            returns=of_captions(self.returns),
            references=references,
        )


@dataclass(frozen=True)
class Loss:
    """What to descend: named sums over units such as tokens or captions, each to be averaged over its own units.

    The averages are over all micro-batches and processes of a step, so each is given as a sum here; how many units
    there are, ``Algorithm.units`` says.

    Attributes:
        totals: the sums, weights included.
        stats: numbers to log.
    """

    totals: Mapping[str, Float[Tensor, ""]]
    stats: Mapping[str, Tensor] = field(default_factory=dict)

    def mean(self, units: Mapping[str, float]) -> Float[Tensor, ""]:
        """The loss to descend when the units of the whole step are these."""
        parts = [total / (units[name] or 1.0) for name, total in self.totals.items()]  # 0 where there is nothing
        return torch.stack(parts).sum()
