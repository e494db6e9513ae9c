"""Contrastive learning: how a step's images and captions are embedded and compared, how that is averaged and logged.

A step's images and captions are compared with one another, whatever the micro-batches and processes they are spread
over: ``act`` embeds each micro-batch, ``weigh`` gathers all embeddings, and ``loss`` gives those of its micro-batch the
gradient that they have in the whole step (GradCache: Gao et al. 2021, "Scaling deep contrastive learning batch size
under memory limited setup", section 3). So a step on 8 micro-batches of 16 images learns what one batch of 128 does, at
the price of embedding everything twice.

Dropout is on: the data sets of captions are small, and it learns nothing from samples of its own. What it leaves out is
drawn from a seed of the micro-batch, so that what is embedded for the second time is the same.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlcap.algorithms.base import Algorithm, Scorer, Total, draw_references
from rlcap.data.negatives import Corruptions, Corruptor
from rlcap.functional.contrastive import (
    NO_IMAGE,
    Directions,
    Objective,
    Pairs,
    across_processes,
    anchors,
    cosine_logits,
    described,
)
from rlcap.functional.sampling import image_generator
from rlcap.models import Model
from rlcap.reward_models.dual_encoder import DualEncoder
from rlcap.types import Batch, Captions, Loss, Rollout, UserError


@dataclass(frozen=True, kw_only=True)
class Contrast(Rollout):
    """A rollout of images and captions to be told from one another.

    Attributes:
        texts: the captions, then those made wrong.
        sources: which caption each of the latter was made of.
        pairs: the embeddings, with their graph where learning follows at once.
        key: what random choices depend on: the run's seed and the step.
        gathered: the embeddings of the whole step, without their graph; None if ``pairs`` are all.
        offsets: where this rollout's images and texts begin among them.
    """

    texts: Captions
    sources: Int[Tensor, " corrupted"]
    pairs: Pairs
    key: tuple[int, ...]
    gathered: Pairs | None = None
    offsets: tuple[int, int] = (0, 0)

    @property
    def everything(self) -> Pairs:
        """What the own images and texts are compared with."""
        return self.pairs if self.gathered is None else self.gathered


def image_number(image_id: str) -> int:
    """The number of an image in ``Pairs``, the same on all processes and however often the image is in a step."""
    digest = hashlib.blake2b(image_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1  # 63 bits: equal ones of different images do not happen


class Contrastive(Algorithm):
    """Learns from which caption describes which image.

    Args:
        model: the dual encoder.
        captions_per_image: captions of each image in a step, drawn anew each time where there are more.
        corruptions: hard negatives besides.
        max_length: captions are cut at so many tokens.
    """

    learns: ClassVar[type[Model]] = DualEncoder
    dropout: ClassVar[bool] = True
    rewarded: ClassVar[bool] = False
    share: ClassVar[float]  # of each direction in the loss
    model: DualEncoder

    def __init__(self, model: DualEncoder, captions_per_image: int, corruptions: Corruptions, max_length: int) -> None:
        super().__init__(model)
        if captions_per_image < 1:
            raise UserError(f"captions_per_image must be at least 1, got {captions_per_image}")
        self.captions_per_image = captions_per_image
        self.corruptions = corruptions
        self.max_length = max_length
        self._corruptor: Corruptor | None = None

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Gather the words that corrupted captions take from others."""
        if self.corruptions.per_caption:
            self._corruptor = self.corruptions.corruptor(references)

    # --- what an objective says

    @abstractmethod
    def objective(self, key: tuple[int, ...]) -> Objective:
        """The sums to descend, given the run's seed and the step."""

    @abstractmethod
    def anchors(self, own: Pairs, others: Pairs) -> tuple[float, float]:
        """How many units either sum has."""

    # --- acting

    def act(self, batch: Batch, scorer: Scorer, key: tuple[int, ...]) -> Contrast:
        """Draw captions of each image, make some wrong, and embed all."""
        captions = draw_references(batch, self.captions_per_image, key)
        negatives, sources = self._negatives(batch, captions, key)
        device = self.model.device
        texts = self.model.read([*captions, *negatives], self.max_length).to(device)
        own = texts.select(torch.arange(len(captions), device=device))
        image_ids = torch.tensor([image_number(image_id) for image_id in batch.image_ids], device=device)
        no_images = image_ids.new_full((len(negatives),), NO_IMAGE)
        text_ids = torch.cat([image_ids.repeat_interleave(self.captions_per_image), no_images])
        return Contrast(
            batch,
            own,
            texts=texts,
            sources=torch.tensor(sources, dtype=torch.long, device=device),
            pairs=Pairs(*self._embed(batch, texts, key), image_ids, text_ids),
            key=key,
            stats={"caption/length": float(own.mask.sum(dim=1).float().mean())},  # over length
        )

    def _negatives(self, batch: Batch, captions: Sequence[str], key: tuple[int, ...]) -> tuple[list[str], list[int]]:
        """Corrupted captions, and the place of the caption that each was made of."""
        made: list[str] = []
        sources: list[int] = []
        if not self.corruptions.per_caption:
            return made, sources
        if self._corruptor is None:
            raise UserError("corrupted captions take words from others: call prepare with the training references")
        for row, image_id in enumerate(batch.image_ids):
            rng = image_generator(image_id, (*key, 1))
            for place in range(row * self.captions_per_image, (row + 1) * self.captions_per_image):
                found = self._corruptor(captions[place], rng, self.corruptions.per_caption, batch.references[row])
                made += [negative.text for negative in found]
                sources += [place] * len(found)
        return made, sources

    def _embed(
        self, batch: Batch, texts: Captions, key: tuple[int, ...]
    ) -> tuple[Float[Tensor, "images width"], Float[Tensor, "texts width"]]:
        """The embeddings, in float32 at least; the same ones, dropout included, for the same key."""
        device = self.model.device
        seed = int(image_generator(batch.image_ids[0], key).integers(2**63))
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            return _precise(self.model.embed_images(batch)), _precise(self.model.embed_texts(texts))

    # --- comparing a whole step

    def weigh(self, rollouts: Sequence[Rollout], total: Total) -> Sequence[Rollout]:
        """Give each rollout the embeddings of all of them, and of all processes."""
        mine = [_contrast(rollout) for rollout in rollouts]
        if len(mine) == 1 and total.processes == 1:
            return mine
        images, first_image = total.gathered(torch.cat([rollout.pairs.images for rollout in mine]))
        texts, first_text = total.gathered(torch.cat([rollout.pairs.texts for rollout in mine]))
        image_ids, _ = total.gathered(torch.cat([rollout.pairs.image_ids for rollout in mine]))
        text_ids, _ = total.gathered(torch.cat([rollout.pairs.text_ids for rollout in mine]))
        gathered = Pairs(images, texts, image_ids, text_ids)
        weighed = []
        for rollout in mine:
            weighed.append(replace(rollout, gathered=gathered, offsets=(first_image, first_text)))
            first_image += len(rollout.pairs.images)
            first_text += len(rollout.pairs.texts)
        return weighed

    # --- learning

    def units(self, rollout: Rollout) -> Mapping[str, float]:
        contrast = _contrast(rollout)
        image_to_text, text_to_image = self.anchors(contrast.pairs, contrast.everything)
        return {"image_to_text": image_to_text, "text_to_image": text_to_image}

    def counts(self, rollout: Rollout) -> Mapping[str, float]:
        images, texts = anchors(_contrast(rollout).pairs, _contrast(rollout).everything)
        return {
            **super().counts(rollout),
            "contrastive/image_to_text_accuracy": images,
            "contrastive/text_to_image_accuracy": texts,
            "contrastive/hard_negative_accuracy": float(len(_contrast(rollout).sources)),
        }

    def loss(self, rollout: Rollout) -> Loss:
        """The objective of either direction; how often the right answer is the nearest."""
        contrast = _contrast(rollout)
        own = contrast.pairs
        if not (own.images.requires_grad or own.texts.requires_grad):
            images, texts = self._embed(contrast.batch, contrast.texts, contrast.key)
            own = replace(own, images=images, texts=texts)
        with torch.autocast(own.images.device.type, enabled=False):  # cosines times 100 need more than half precision
            sums = self._sums(own, contrast)
            stats = self._stats(own.detach(), contrast)
        totals = {"image_to_text": self.share * sums.image_to_text, "text_to_image": self.share * sums.text_to_image}
        units = self.units(contrast)
        means = {f"loss/{name}": getattr(sums, name).detach() / max(1.0, units[name]) for name in units}
        return Loss(totals, {**means, **stats})

    def _sums(self, own: Pairs, contrast: Contrast) -> Directions:
        objective, temperature = self.objective(contrast.key), self.model.logit_scale
        if contrast.gathered is None:
            return objective(own, own, temperature)
        return across_processes(objective, own, contrast.gathered, contrast.offsets, temperature)

    def _stats(self, own: Pairs, contrast: Contrast) -> dict[str, Tensor]:
        """Accuracies over the own rows, and the temperature."""
        others = contrast.everything
        plain = own.images.new_zeros(())
        captions = own.text_ids != NO_IMAGE
        right_texts = described(own.image_ids, others.text_ids)
        right_images = described(own.text_ids, others.image_ids)[captions]
        stats = {
            "contrastive/image_to_text_accuracy": _accuracy(
                cosine_logits(own.images, others.texts, plain), right_texts
            ),
            "contrastive/text_to_image_accuracy": _accuracy(
                cosine_logits(own.texts[captions], others.images, plain), right_images
            ),
            "contrastive/temperature": (-self.model.logit_scale.detach()).exp(),
        }
        if self.corruptions.per_caption:
            images = own.images.repeat_interleave(self.captions_per_image, dim=0)
            true = torch.cosine_similarity(images, own.texts[captions])[contrast.sources]
            false = torch.cosine_similarity(images[contrast.sources], own.texts[~captions])
            stats["contrastive/hard_negative_accuracy"] = (true > false).float().sum() / max(1, len(false))
        return stats


def _contrast(rollout: Rollout) -> Contrast:
    assert isinstance(rollout, Contrast)
    return rollout


def _precise(embeddings: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
    return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))


def _accuracy(similarities: Float[Tensor, "rows columns"], positive: Bool[Tensor, "rows columns"]) -> Float[Tensor, ""]:
    """The share of rows whose most similar column is one of theirs."""
    best = similarities.argmax(dim=1, keepdim=True)
    return positive.gather(1, best).float().mean()
