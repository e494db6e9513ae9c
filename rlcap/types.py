"""What flows between the rooms: frozen dataclasses with named axes.

Axes: ``images``, ``samples``, ``captions`` (= images x samples, image-major), ``length``, ``vocabulary``, ``width``,
``regions``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from rlcap.errors import UserError as UserError


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


@dataclass(frozen=True)
class Rollout:
    """What acting leaves for learning: captions and how good each was.

    Attributes:
        encoded: the encodings of the images, with the encoder's graph when the encoder learns.
        captions: captions to learn from, image-major, equally many per image.
        advantages: the weight of each token's log-probability in the objective.
        decoded: captions decoded to make it, baselines included: what runs of equal budget have equally many of.
        stats: numbers to log, named as in ``rlcap.training.recorder``.
    """

    encoded: Encoded
    captions: Captions
    advantages: Float[Tensor, "captions length"]
    decoded: int = 0
    stats: Mapping[str, float] = field(default_factory=dict)

    @property
    def captions_per_image(self) -> int:
        """How many captions each image has."""
        return len(self.captions) // len(self.encoded)


@dataclass(frozen=True)
class Loss:
    """What to descend, as a sum and the number of units it is to be averaged over.

    Kept apart so that the average is right over micro-batches and processes of different sizes.

    Attributes:
        total: the sum over the units.
        count: the units, tokens or captions.
        stats: numbers to log.
    """

    total: Float[Tensor, ""]
    count: Float[Tensor, ""]
    stats: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def mean(self) -> Float[Tensor, ""]:
        """The loss of this batch alone."""
        return self.total / self.count.clamp(min=1)
