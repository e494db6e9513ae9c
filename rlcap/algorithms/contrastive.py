"""Contrastive learning of dual encoders: each image nearer to its own captions than to those of other images.

How a step is embedded and compared with itself, :mod:`rlcap.algorithms.embedded_captions` says; what is descended, the
classes here.
"""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from rlcap.algorithms.embedded_captions import Contrastive
from rlcap.data.negatives import Corruptions
from rlcap.functional.contrastive import (
    MAX_LOGIT_SCALE,
    Directions,
    Negatives,
    Objective,
    Pairs,
    SeveralPositives,
    anchors,
    described,
    info_nce_sums,
    triplet_sums,
)
from rlcap.functional.sampling import image_generator
from rlcap.reward_models.dual_encoder import DualEncoder
from rlcap.types import UserError


class InfoNCE(Contrastive):
    """CLIP's objective: each image is to find its captions among all texts, each caption its image.

        L = 1/2 mean over images of -log softmax(s / t)[own caption] + 1/2 mean over captions, with cosines s

    Radford et al. 2021, figure 3. The temperature t is learned; 1 / t stops at 100.

    Args:
        model: the dual encoder.
        captions_per_image: captions of each image in a step, drawn anew each time where there are more.
        several: what several captions of an image are to one another, see ``SeveralPositives``.
        corruptions: hard negatives, which every image is compared with.
        max_length: captions are cut at so many tokens.
    """

    share: ClassVar[float] = 0.5

    def __init__(
        self,
        model: DualEncoder,
        captions_per_image: int = 1,
        several: SeveralPositives = SeveralPositives.MASKED,
        corruptions: Corruptions = Corruptions(),  # noqa: B008 - frozen
        max_length: int = 64,
    ) -> None:
        super().__init__(model, captions_per_image, corruptions, max_length)
        self.several = several

    def objective(self, key: tuple[int, ...]) -> Objective:
        return partial(info_nce_sums, several=self.several)

    def anchors(self, own: Pairs, others: Pairs) -> tuple[float, float]:
        return anchors(own, others)

    @torch.no_grad()
    def learned(self, stats: Mapping[str, float]) -> None:
        """Keep the logit scale from growing past CLIP's limit."""
        self.model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)


class Triplet(Contrastive):
    """VSE++: a caption is to be nearer to its image than any other by a margin, and an image to its caption.

        L = mean over pairs of [margin - s(image, caption) + s(image, other caption)]_+ + the same with other images

    Faghri et al. 2018, eq. 6. The temperature has no part in it and stays as it is. Random negatives are the same in a
    resumed run; which are drawn depends on the micro-batches and processes that a step is spread over.

    Args:
        model: the dual encoder.
        margin: between cosines.
        negatives: the most similar other one of the whole step, one at random, or all of them, summed.
        captions_per_image: captions of each image in a step, drawn anew each time where there are more.
        corruptions: hard negatives, other captions of every image.
        max_length: captions are cut at so many tokens.
    """

    share: ClassVar[float] = 1.0

    def __init__(
        self,
        model: DualEncoder,
        margin: float = 0.2,
        negatives: Negatives = Negatives.HARDEST,
        captions_per_image: int = 1,
        corruptions: Corruptions = Corruptions(),  # noqa: B008 - frozen
        max_length: int = 64,
    ) -> None:
        super().__init__(model, captions_per_image, corruptions, max_length)
        if margin <= 0:
            raise UserError(f"margin must be above 0, got {margin}: at 0 embeddings that are all the same cost nothing")
        self.margin = margin
        self.negatives = negatives
        for name, parameter in model.named_parameters():
            if name.rpartition(".")[2] == "logit_scale":
                parameter.requires_grad_(False)  # data-parallel training would wait for its gradient

    def objective(self, key: tuple[int, ...]) -> Objective:
        seed = int(image_generator("", key).integers(2**63))

        def sums(own: Pairs, others: Pairs, temperature: Tensor) -> Directions:
            generator = torch.Generator().manual_seed(seed)  # the same draws in every process
            return triplet_sums(own, others, self.margin, self.negatives, generator)

        return sums

    def anchors(self, own: Pairs, others: Pairs) -> tuple[float, float]:
        """The pairs of an image and a caption of it, in either direction."""
        image_to_text = described(own.image_ids, others.text_ids)
        text_to_image = described(own.text_ids, others.image_ids)
        return float(image_to_text.sum()), float(text_to_image.sum())
