"""Objectives over the similarities of images and texts: each image closer to its own captions than to the others.

A matrix of similarities has anchors as rows and what they are compared with as columns; ``positive`` says which
columns describe a row. The losses come back as sums, and :func:`anchors` and :func:`described` count their units, so
that a loop may average over micro-batches and processes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from rlcap.errors import UserError

NO_IMAGE = -1  # the image that a text describes which is only there to be told from captions
MAX_LOGIT_SCALE = math.log(100)  # where CLIP stops its logit scale after each step; Radford et al. 2021, section 2.5


class SeveralPositives(StrEnum):
    """What an image's captions are to one another. With one caption per image both are CLIP's cross-entropy.

    MASKED: nothing. Each caption is told from the captions of other images alone:
        -1/|P| sum over p in P of log [exp s_p / (exp s_p + sum over n not in P of exp s_n)]. Its least value is 0.
    SHARED: each other's rivals for the probability of the image: -1/|P| sum over p in P of log [exp s_p / sum over
        all columns of exp s]. Khosla et al. 2020 (SupCon), eq. 2; Yang et al. 2022 (UniCL), section 3. Its least
        value is log |P|, where the captions of an image are equally similar to it.
    """

    MASKED = "masked"
    SHARED = "shared"


class Negatives(StrEnum):
    """Which columns a triplet's positive is compared with: all negatives, one at random, or the most similar one."""

    ALL = "all"
    RANDOM = "random"
    HARDEST = "hardest"


@dataclass(frozen=True)
class Pairs:
    """Embeddings of images and of texts, and which describes which.

    Attributes:
        images: need not be of length 1.
        texts: captions, several of an image if there are, and texts that describe no image here: hard negatives.
        image_ids: any numbers from 0, the same on all processes, such as the image's row in the whole batch: the offset
            of this process's images and on.
        text_ids: the image that each text describes; ``NO_IMAGE`` for a hard negative.
    """

    images: Float[Tensor, "images width"]
    texts: Float[Tensor, "texts width"]
    image_ids: Int[Tensor, " images"]
    text_ids: Int[Tensor, " texts"]

    def detach(self) -> "Pairs":
        """The same embeddings cut from the graph."""
        return replace(self, images=self.images.detach(), texts=self.texts.detach())


class Directions(NamedTuple):
    """A number of either direction: images looking for their captions, captions looking for their image."""

    image_to_text: Float[Tensor, ""]
    text_to_image: Float[Tensor, ""]


Objective = Callable[[Pairs, Pairs, Tensor], Directions]
"""Sums over the rows of the first pairs, compared with all of the second, given a log-temperature or the like."""


# --- similarities


def cosine_logits(
    rows: Float[Tensor, "rows width"], columns: Float[Tensor, "columns width"], logit_scale: Float[Tensor, ""]
) -> Float[Tensor, "rows columns"]:
    """Cosine of each row and each column over the temperature; ``logit_scale`` is minus the temperature's logarithm.

    exp(logit_scale) cos(x, y). Radford et al. 2021 (CLIP), figure 3. A scale of 0 leaves the cosine as it is.
    """
    return logit_scale.exp() * (normalize(rows, dim=-1) @ normalize(columns, dim=-1).T)


def described(row_ids: Int[Tensor, " rows"], column_ids: Int[Tensor, " columns"]) -> Bool[Tensor, "rows columns"]:
    """True where one is an image and the other describes it."""
    return row_ids[:, None] == column_ids


def anchors(own: Pairs, others: Pairs) -> tuple[float, float]:
    """How many images have a caption, and how many texts an image: the units of :func:`info_nce_sums`."""
    image_to_text = described(own.image_ids, others.text_ids).any(dim=1)
    text_to_image = described(own.text_ids, others.image_ids).any(dim=1)
    return float(image_to_text.sum()), float(text_to_image.sum())


# --- InfoNCE


def info_nce(
    logits: Float[Tensor, "rows columns"],
    positive: Bool[Tensor, "rows columns"],
    several: SeveralPositives = SeveralPositives.MASKED,
) -> Float[Tensor, " rows"]:
    """Cross-entropy of each row's positive columns, averaged over them; 0 for a row without any, which is no unit.

    van den Oord et al. 2018, eq. 4. ``SeveralPositives`` has the equations.
    """
    if several is SeveralPositives.SHARED:
        loss = -logits.log_softmax(dim=1)
    else:
        # the least number, not minus infinity: a row without negatives must not differentiate inf - inf
        negatives = logits.masked_fill(positive, torch.finfo(logits.dtype).min)
        loss = -logsigmoid(logits - negatives.logsumexp(dim=1, keepdim=True))  # over columns
    return torch.where(positive, loss, 0.0).sum(dim=1) / positive.sum(dim=1).clamp(min=1)


def info_nce_sums(
    own: Pairs,
    others: Pairs,
    logit_scale: Float[Tensor, ""],
    several: SeveralPositives = SeveralPositives.MASKED,
) -> Directions:
    """CLIP's loss of the own images and of the own texts, each summed. Radford et al. 2021, figure 3.

    Each sum over its number of :func:`anchors` is a mean; CLIP's loss is half the sum of both means. On one process
    ``others`` are the own pairs. On several they are those of all processes, gathered with their graph; the sums, and
    the gradients, of all processes add up to those of one process with the whole batch. For a gather that cuts the
    graph see :func:`across_processes`.

    Texts of ``NO_IMAGE`` are rivals of captions and have no row of their own: NegCLIP's hard negatives, which every
    image is compared with (Yuksekgonul et al. 2023, section 4).
    """
    image_to_text = info_nce(
        cosine_logits(own.images, others.texts, logit_scale), described(own.image_ids, others.text_ids), several
    )
    text_to_image = info_nce(
        cosine_logits(own.texts, others.images, logit_scale), described(own.text_ids, others.image_ids), several
    )
    return Directions(image_to_text.sum(), text_to_image.sum())


def across_processes(
    objective: Objective, own: Pairs, gathered: Pairs, offsets: tuple[int, int], temperature: Float[Tensor, "..."]
) -> Directions:
    """The objective's sums over the own rows, with the gradient that the own embeddings have in all rows.

    For pairs that were gathered without their graph. An embedding is a row here and a column in the rows of all other
    processes; those rows are computed here once more for its sake. So the gradients of all processes add up to those
    of one process with the whole batch, in the embeddings and in the temperature alike.

    Args:
        objective: such as :func:`info_nce_sums`; the same for the same arguments (no random negatives).
        own: this process's pairs.
        gathered: those of all processes, in order.
        offsets: where the own images and the own texts begin among them.
        temperature: the objective's parameters. Every process has the gradient of its own rows in them.
    """
    whole = replace(
        gathered.detach(),
        images=_put(own.images, gathered.images.detach(), offsets[0]),
        texts=_put(own.texts, gathered.texts.detach(), offsets[1]),
    )
    values = objective(own.detach(), whole.detach(), temperature)
    slopes = objective(whole, whole, temperature.detach())
    return Directions(*(value + (slope - slope.detach()) for value, slope in zip(values, slopes, strict=True)))


def _put(own: Tensor, gathered: Tensor, offset: int) -> Tensor:
    return torch.cat([gathered[:offset], own, gathered[offset + len(own) :]])


# --- the sigmoid loss


def pairwise_sigmoid(
    logits: Float[Tensor, "images texts"], positive: Bool[Tensor, "images texts"]
) -> Float[Tensor, " images"]:
    """SigLIP's loss of each image, summed over all texts: - sum over j of log sigmoid(z_j l_j), z_j = 1 or -1.

    Zhai et al. 2023, section 3.2, where l = exp(t) cos + b: add the bias b (-10 at first, t = log 10) to
    :func:`cosine_logits`. The unit is an image. Every pair is judged alone, so several captions need no masking,
    hard negatives are columns as any, and rows may be split over processes as in :func:`info_nce_sums`.
    """
    return -logsigmoid(torch.where(positive, logits, -logits)).sum(dim=1)


# --- triplets


def triplet(
    similarities: Float[Tensor, "rows columns"],
    positive: Bool[Tensor, "rows columns"],
    margin: float,
    negatives: Negatives = Negatives.HARDEST,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " pairs"]:
    """Hinge loss of each pair of a row and one of its positive columns, row by row: [margin - s_p + s_n]_+.

    Summed over all negatives n (Faghri et al. 2018 (VSE++), eq. 5), of the most similar one (eq. 6), or of one drawn
    evenly for each pair. Columns of the same image are never negatives; without any negative the loss is 0.

    Raises:
        UserError: if negatives are to be drawn without a generator.
    """
    rows, columns = positive.nonzero(as_tuple=True)
    own = similarities[rows, columns]
    others = similarities.masked_fill(positive, -torch.inf)[rows]
    if negatives is Negatives.ALL:
        return (margin - own[:, None] + others).relu().sum(dim=1)
    if negatives is Negatives.HARDEST:
        return (margin - own + others.max(dim=1).values).relu()
    if generator is None:
        raise UserError("random negatives are drawn from a generator, got none: pass generator=torch.Generator()")
    order = torch.rand(others.shape, generator=generator, device=generator.device).to(others.device)
    chosen = order.masked_fill(positive[rows], -1.0).argmax(dim=1, keepdim=True)
    return (margin - own + others.gather(1, chosen)[:, 0]).relu()


def triplet_sums(
    own: Pairs,
    others: Pairs,
    margin: float,
    negatives: Negatives = Negatives.HARDEST,
    generator: torch.Generator | None = None,
) -> Directions:
    """The hinge losses on the cosine, summed over the pairs of the own images, and over those of the own texts.

    VSE++'s loss is the sum of both. The unit is a pair: ``described(...).sum()`` of either direction. Processes as in
    :func:`info_nce_sums`; but random negatives depend on how the rows are split.
    """
    plain = torch.zeros((), dtype=own.images.dtype, device=own.images.device)
    image_to_text = triplet(
        cosine_logits(own.images, others.texts, plain),
        described(own.image_ids, others.text_ids),
        margin,
        negatives,
        generator,
    )
    text_to_image = triplet(
        cosine_logits(own.texts, others.images, plain),
        described(own.text_ids, others.image_ids),
        margin,
        negatives,
        generator,
    )
    return Directions(image_to_text.sum(), text_to_image.sum())


# --- negatives for a matching head


def draw_hard_negatives(
    logits: Float[Tensor, "rows columns"], positive: Bool[Tensor, "rows columns"], generator: torch.Generator
) -> Int[Tensor, " rows"]:
    """A negative column of each row, drawn in proportion to the softmax of the logits over the row's negatives.

    Li et al. 2021 (ALBEF), section 3.2: pairs that look alike, for image-text matching to tell apart.

    Raises:
        UserError: if a row has no negative.
    """
    if bool(positive.all(dim=1).any()):
        raise UserError("hard negatives need captions of at least 2 images in the batch: one image sees only its own")
    weights = logits.detach().float().masked_fill(positive, -torch.inf).softmax(dim=1)
    chosen = torch.multinomial(weights.to(generator.device), 1, generator=generator)
    return chosen[:, 0].to(logits.device)
