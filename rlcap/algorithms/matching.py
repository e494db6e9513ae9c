"""Image-text matching: a reward model as the log-odds that a caption is true of its image, and is good language.

True captions are told from false ones by binary cross-entropy on the score r:

    L = -1/N ( sum_true log sigmoid(r) + sum_false log sigmoid(-r) ),   N captions of both kinds

With hard negatives of the batch it is the matching head of ALBEF (Li et al. 2021, section 3.2) and of BLIP (Li et al.
2022); with spoiled captions a reward for grammar (Cho et al. 2022, "Fine-grained Image Captioning with CLIP Reward",
section 3.2).

Dropout is on, as the model has it, but hard negatives are chosen without.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from rlcap.algorithms.base import Algorithm, Scorer, Total, draw_references
from rlcap.data.caption_words import plain
from rlcap.data.negatives import LINGUISTIC, Corruptions, Corruptor
from rlcap.data.replacements import Vocabulary
from rlcap.functional.contrastive import draw_hard_negatives
from rlcap.functional.sampling import image_generator
from rlcap.models import Model
from rlcap.reward_models.base import RewardModel
from rlcap.types import Batch, Loss, Rollout, UserError

PAIRS_AT_ONCE = 256  # image and caption, scored without gradients to find hard negatives


class Claim(NamedTuple):
    """A caption said to be of an image, by its row in the batch."""

    image: int
    caption: str


@dataclass(frozen=True, kw_only=True)
class Claims(Rollout):
    """A rollout of captions to be told true or false. Unlike others it may have more of one image than of another.

    Attributes:
        image_rows: the image that each caption is said to be of.
        truths: 1 where it is, 0 where it is not.
    """

    image_rows: Int[Tensor, " captions"]
    truths: Float[Tensor, " captions"]


class TrueOrFalse(Algorithm):
    """Learns to tell true captions from false ones; a subclass says where the latter are from.

    Args:
        model: the reward model.
        captions_per_image: true captions of each image in a step, drawn anew each time where there are more.
        max_length: captions are cut at so many tokens.

    Attributes:
        remedy: what to do where a step has no false captions.
    """

    learns: ClassVar[type[Model]] = RewardModel
    dropout: ClassVar[bool] = True
    rewarded: ClassVar[bool] = False
    remedy: ClassVar[str]
    model: RewardModel

    def __init__(self, model: RewardModel, captions_per_image: int, max_length: int) -> None:
        super().__init__(model)
        if captions_per_image < 1:
            raise UserError(f"captions_per_image must be at least 1, got {captions_per_image}")
        self.captions_per_image = captions_per_image
        self.max_length = max_length

    @abstractmethod
    def false(self, batch: Batch, true: Sequence[Claim], key: tuple[int, ...]) -> Iterable[Claim]:
        """False claims beside the true ones, which are image-major."""

    # --- acting

    def act(self, batch: Batch, scorer: Scorer, key: tuple[int, ...]) -> Claims:
        """Draw true captions of each image, and false ones."""
        captions = draw_references(batch, self.captions_per_image, key)
        true = [Claim(place // self.captions_per_image, caption) for place, caption in enumerate(captions)]
        false = list(self.false(batch, true, key))
        device = self.model.device
        tokens = self.model.read([claim.caption for claim in (*true, *false)], self.max_length).to(device)
        return Claims(
            batch,
            tokens,
            image_rows=torch.tensor([claim.image for claim in (*true, *false)], device=device),
            truths=torch.tensor([1.0] * len(true) + [0.0] * len(false), device=device),
            stats={"caption/length": float(tokens.mask.sum(dim=1).float().mean())},  # over length
        )

    def weigh(self, rollouts: Sequence[Rollout], total: Total) -> Sequence[Rollout]:
        """The rollouts as they are.

        Raises:
            UserError: if the whole step has no false caption.
        """
        false = torch.stack([(1 - _claims(rollout).truths).sum() for rollout in rollouts]).sum()
        if not float(total(false)):
            raise UserError(f"there is no false caption in a step to tell the true ones from: {self.remedy}")
        return rollouts

    # --- learning

    def counts(self, rollout: Rollout) -> Mapping[str, float]:
        return {**super().counts(rollout), "matching/classified": float(len(rollout.captions))}

    def loss(self, rollout: Rollout) -> Loss:
        """Binary cross-entropy of the captions; the share that is on the right side of 0."""
        claims = _claims(rollout)
        scores = self.model.score(self.model.encode(claims.batch).select(claims.image_rows), claims.captions)
        each = binary_cross_entropy_with_logits(scores, claims.truths, reduction="none")
        right = (scores.detach() > 0) == (claims.truths > 0)
        return Loss(
            {"policy": each.sum()},
            {"loss/policy": each.detach().mean(), "matching/classified": right.float().mean()},
        )


class Matching(TrueOrFalse):
    """False captions are those of the batch's other images, and corrupted ones if wanted.

    For each true caption one caption of another image is drawn for the image, and one other image for the caption. A
    micro-batch is compared with itself alone, so that more images in it make harder negatives.

    Args:
        model: the reward model.
        captions_per_image: true captions of each image in a step, drawn anew each time where there are more.
        hardness: factor on the scores that negatives are drawn in proportion to, by their softmax: 1 as ALBEF, large
            for the hardest alone. 0 draws at random, and spares scoring each image with each caption.
        corruptions: captions made wrong besides.
        max_length: captions are cut at so many tokens.
    """

    remedy = "take 2 images_per_batch or more, or corruptions"

    def __init__(
        self,
        model: RewardModel,
        captions_per_image: int = 1,
        hardness: float = 1.0,
        corruptions: Corruptions = Corruptions(),  # noqa: B008 - frozen
        max_length: int = 64,
    ) -> None:
        super().__init__(model, captions_per_image, max_length)
        if hardness < 0:
            raise UserError(f"hardness must be 0 (negatives at random) or more, got {hardness}")
        if corruptions.per_caption:
            _refuse_references(model)
        self.hardness = hardness
        self.corruptions = corruptions
        self._corruptor: Corruptor | None = None

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Gather the words that corrupted captions take from others."""
        if self.corruptions.per_caption:
            self._corruptor = self.corruptions.corruptor(references)

    def false(self, batch: Batch, true: Sequence[Claim], key: tuple[int, ...]) -> Iterable[Claim]:
        """Captions of other images, other images of the captions, corrupted captions."""
        described = torch.tensor(
            [[plain(claim.caption) in known for claim in true] for known in map(_known, batch.references)]
        )
        logits = self.hardness * self._scores(batch, true) if self.hardness else torch.zeros(described.shape)
        generator = torch.Generator().manual_seed(
            int(image_generator(batch.image_ids[0], (*key, 2)).integers(2**63))  # another than references' draws
        )
        images = torch.tensor([claim.image for claim in true])
        for claim, place in zip(true, _drawn(logits[images], described[images], generator), strict=True):
            if place is not None:
                yield Claim(claim.image, true[place].caption)
        for claim, image in zip(true, _drawn(logits.T, described.T, generator), strict=True):
            if image is not None:
                yield Claim(image, claim.caption)
        if self.corruptions.per_caption:
            yield from self._corrupted(batch, true, key)

    @torch.no_grad()
    def _scores(self, batch: Batch, true: Sequence[Claim]) -> Float[Tensor, "images captions"]:
        """The model's score of each caption for each image, without dropout."""
        model, device = self.model, self.model.device
        training = model.training
        model.eval()
        encoded = model.encode(batch)
        captions = model.read([claim.caption for claim in true], self.max_length).to(device)
        pairs = torch.cartesian_prod(torch.arange(len(batch)), torch.arange(len(true))).to(device)
        parts = [
            model.score(encoded.select(part[:, 0]), captions.select(part[:, 1]))
            for part in torch.split(pairs, PAIRS_AT_ONCE)
        ]
        model.train(training)
        return torch.cat(parts).reshape(len(batch), -1).cpu()

    def _corrupted(self, batch: Batch, true: Sequence[Claim], key: tuple[int, ...]) -> Iterable[Claim]:
        if self._corruptor is None:
            raise UserError("corrupted captions take words from others: call prepare with the training references")
        count = self.corruptions.per_caption
        return _made_wrong(self._corruptor, batch, true, count, key)


class Grammar(TrueOrFalse):
    """False captions are true ones whose language is spoiled: a model of fluency, for which no image is needed.

    Words are shuffled, said again, or left away at the end: see ``LINGUISTIC`` of :mod:`rlcap.data.negatives`.

    Args:
        model: the reward model; one that sees no images.
        captions_per_image: true captions of each image in a step, drawn anew each time where there are more.
        corruptions_per_caption: false captions made of each true one.
        kinds: how they are made.
        max_length: captions are cut at so many tokens.
    """

    remedy = "the captions are too short to be spoiled, take more images_per_batch"

    def __init__(
        self,
        model: RewardModel,
        captions_per_image: int = 1,
        corruptions_per_caption: int = 1,
        kinds: tuple[str, ...] = LINGUISTIC,
        max_length: int = 64,
    ) -> None:
        super().__init__(model, captions_per_image, max_length)
        if corruptions_per_caption < 1:
            raise UserError(f"corruptions_per_caption must be at least 1, got {corruptions_per_caption}")
        for kind in kinds:
            if kind not in LINGUISTIC:
                raise UserError(f"{kind!r} spoils no language: give some of {', '.join(LINGUISTIC)}, or take Matching")
        _refuse_references(model)
        self.corruptions_per_caption = corruptions_per_caption
        self._corruptor = Corruptor(Vocabulary({}, {}, {}, {}), kinds)  # these kinds take no words from others

    def false(self, batch: Batch, true: Sequence[Claim], key: tuple[int, ...]) -> Iterable[Claim]:
        """The true captions, spoiled."""
        return _made_wrong(self._corruptor, batch, true, self.corruptions_per_caption, key)


def _refuse_references(model: RewardModel) -> None:
    """A corrupted caption is nearer to the reference it was made of than any good caption: the wrong thing to learn."""
    if model.needs_references:
        raise UserError(
            f"{type(model).__name__} compares captions with references, which corrupted captions are made of: leave "
            "corruptions out, or train one with references: false"
        )


def _made_wrong(
    corruptor: Corruptor, batch: Batch, true: Sequence[Claim], count: int, key: tuple[int, ...]
) -> Iterable[Claim]:
    """So many corruptions of each caption, or fewer; they follow from the image, its captions and the key alone."""
    generators = [image_generator(image_id, (*key, 1)) for image_id in batch.image_ids]
    for claim in true:
        for negative in corruptor(claim.caption, generators[claim.image], count, batch.references[claim.image]):
            yield Claim(claim.image, negative.text)


def _drawn(
    logits: Float[Tensor, "rows columns"], positive: Bool[Tensor, "rows columns"], generator: torch.Generator
) -> list[int | None]:
    """A negative column of each row; None where it has none."""
    able = ~positive.all(dim=1)
    if not bool(able.any()):
        return [None] * len(able)
    chosen = iter(draw_hard_negatives(logits[able], positive[able], generator).tolist())
    return [next(chosen) if any_ else None for any_ in able.tolist()]


def _known(references: Sequence[str]) -> set[str]:
    return {plain(reference) for reference in references}


def _claims(rollout: Rollout) -> Claims:
    assert isinstance(rollout, Claims)
    return rollout
