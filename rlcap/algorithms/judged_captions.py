"""Learning from what people said of captions: what is gathered for a step, how it is averaged and what is logged.

The data set is one of judged captions, :class:`rlcap.data.judgements.JudgedCaptions`. All that is said of an image's
captions is learned in one step, and each caption is read once in it however often it is mentioned: judgements of one
image taken for independent examples make a model overfit within an epoch (Ouyang et al. 2022, InstructGPT, section
3.5). With g_i the judgements of image i, w their weights and l the loss of one:

    L = sum_i 1/g_i sum_g w_ig l_ig  /  sum_i 1/g_i sum_g w_ig

which with weights of 1 is InstructGPT's eq. 1: 1 / (K choose 2) for a ranking of K captions, each pair a judgement.

Dropout is on, as the model has it: judgements are few, and nothing here is drawn from the model.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rlcap.algorithms.base import Algorithm, Scorer, Total
from rlcap.data.judged import Judged, comparisons_of, restricted
from rlcap.data.judgements import JUDGED
from rlcap.functional.preferences import agreement
from rlcap.functional.sampling import image_generator
from rlcap.models import Model
from rlcap.reward_models.base import RewardModel
from rlcap.types import Batch, Loss, Rollout, UserError


class Lesson(NamedTuple):
    """A judgement as something to learn from.

    Attributes:
        places: the captions it is of, by their place.
        outcome: what was said of them; the objective knows what the number means.
        weight: of the judgement.
    """

    places: tuple[int, ...]
    outcome: float = 1.0
    weight: float = 1.0


@dataclass(frozen=True)
class Selection:
    """What is learned of an image's judgements in a step.

    Attributes:
        captions_per_image: at most so many captions, drawn anew each time where more are judged; what is said of those
            left out is not learned then.
        per_image: whether the judgements of an image count by their mean, so that images with many of them do not
            outweigh the others; else each counts by itself, whatever its image.
        max_length: captions are cut at so many tokens.
    """

    captions_per_image: int = 16
    per_image: bool = True
    max_length: int = 64

    def __post_init__(self) -> None:
        if self.captions_per_image < 2:
            raise UserError(f"captions_per_image must be at least 2 to compare, got {self.captions_per_image}")


@dataclass(frozen=True, kw_only=True)
class Lessons(Rollout):
    """A rollout of judged captions. Unlike others it has as many of each image as are judged.

    Attributes:
        image_rows: the image of each caption.
        items: the captions that each lesson is of.
        mask: True for these, False for padding.
        outcomes: what was said of them.
        weights: of the lessons; their sum is what the loss is averaged over.
        pairs: captions of which the first was found better, for statistics.
    """

    image_rows: Int[Tensor, " captions"]
    items: Int[Tensor, "lessons items"]
    mask: Bool[Tensor, "lessons items"]
    outcomes: Float[Tensor, " lessons"]
    weights: Float[Tensor, " lessons"]
    pairs: Int[Tensor, "pairs 2"]


class Preferences(Algorithm):
    """Learns what people said of captions; an objective says how.

    Args:
        model: the reward model.
        selection: what is learned of an image's judgements in a step.

    Attributes:
        margin: two rated captions are a comparison when their mean ratings differ by as much.
        remedy: what to do where a step has nothing to learn from.
    """

    learns: ClassVar[type[Model]] = RewardModel
    dropout: ClassVar[bool] = True
    rewarded: ClassVar[bool] = False
    remedy: ClassVar[str]
    margin: float = 0.0
    model: RewardModel

    def __init__(self, model: RewardModel, selection: Selection) -> None:
        super().__init__(model)
        self.selection = selection

    # --- what an objective says

    @abstractmethod
    def lessons(self, judged: Judged, rng: np.random.Generator) -> Sequence[Lesson]:
        """What there is to learn of an image's judgements; nothing where they say nothing of the kind."""

    @abstractmethod
    def of_lessons(self, scores: Float[Tensor, "lessons items"], lessons: Lessons) -> Float[Tensor, " lessons"]:
        """The loss of each lesson, unweighted, given the scores of its captions."""

    # --- acting

    def act(self, batch: Batch, scorer: Scorer, key: tuple[int, ...]) -> Lessons:
        """Gather the judged captions of each image, once each, and what was said of them."""
        texts: list[str] = []
        rows: list[int] = []
        pairs: list[tuple[int, int]] = []
        found: list[Lesson] = []
        for row, judged in enumerate(_judged(batch)):
            own, lessons = self._drawn(judged, image_generator(batch.image_ids[row], key))
            if not lessons:
                continue
            first, share = len(texts), 1 / len(lessons) if self.selection.per_image else 1.0
            texts += own.captions
            rows += [row] * len(own.captions)
            pairs += [(first + one.winner, first + one.loser) for one in comparisons_of(own, self.margin)]
            found += [
                Lesson(tuple(first + place for place in lesson.places), lesson.outcome, share * lesson.weight)
                for lesson in lessons
            ]
        if not found:  # the parameters must be used all the same, since other processes wait for their gradients
            texts, rows, found = [_judged(batch)[0].captions[0]], [0], [Lesson((0, 0), 0.0, 0.0)]
        device = self.model.device
        items = [torch.tensor(lesson.places, device=device) for lesson in found]
        return Lessons(
            batch,
            self.model.read(texts, self.selection.max_length).to(device),
            image_rows=torch.tensor(rows, device=device),
            items=pad_sequence(items, batch_first=True),
            mask=pad_sequence([torch.ones_like(own, dtype=torch.bool) for own in items], batch_first=True),
            outcomes=torch.tensor([lesson.outcome for lesson in found], device=device),
            weights=torch.tensor([lesson.weight for lesson in found], device=device),
            pairs=torch.tensor(pairs, dtype=torch.long, device=device).reshape(-1, 2),
        )

    def _drawn(self, judged: Judged, rng: np.random.Generator) -> tuple[Judged, Sequence[Lesson]]:
        """The judgements of as many captions as are wanted, and their lessons.

        Captions are drawn by drawing lessons, so that those are kept that are judged together.
        """
        lessons = self.lessons(judged, rng)
        drawn = (lessons[int(number)] for number in rng.permutation(len(lessons)))
        places = dict.fromkeys(int(place) for lesson in drawn for place in rng.permutation(lesson.places))
        kept = {judged.captions[place] for place in list(places)[: self.selection.captions_per_image]}
        if len(kept) == len(judged.captions):
            return judged, lessons
        own = restricted(judged, kept.__contains__)
        return (judged, ()) if own is None else (own, self.lessons(own, rng))

    def weigh(self, rollouts: Sequence[Rollout], total: Total) -> Sequence[Rollout]:
        """The rollouts as they are.

        Raises:
            UserError: if there is nothing to learn in the whole step.
        """
        weight = torch.stack([_lessons(rollout).weights.sum() for rollout in rollouts]).sum()
        if not float(total(weight)):
            raise UserError(
                f"nobody said of the captions of any image of a step, such as {rollouts[0].batch.image_ids[0]}, what "
                f"{type(self).__name__} learns from: {self.remedy}"
            )
        return rollouts

    # --- learning

    def units(self, rollout: Rollout) -> Mapping[str, float]:
        return {"policy": float(_lessons(rollout).weights.sum())}

    def counts(self, rollout: Rollout) -> Mapping[str, float]:
        lessons = _lessons(rollout)
        pairs = float(len(lessons.pairs))
        captions = float(len(lessons.captions)) if bool(lessons.weights.any()) else 0.0
        of_pairs = dict.fromkeys(("preference/accuracy", "preference/margin"), pairs)
        return {**super().counts(rollout), **of_pairs, "caption/length": captions}

    def loss(self, rollout: Rollout) -> Loss:
        """The weighted loss of the lessons; accuracy and margin of the scores."""
        lessons = _lessons(rollout)
        encoded = self.model.encode(lessons.batch).select(lessons.image_rows)
        scores = self.model.score(encoded, lessons.captions)
        total = (lessons.weights * self.of_lessons(scores[lessons.items], lessons)).sum()
        better, worse = scores.detach()[lessons.pairs].unbind(dim=1)
        right, decided = agreement(better - worse)
        return Loss(
            {"policy": total},
            {
                "loss/policy": total.detach() / lessons.weights.sum().clamp(min=torch.finfo(torch.float32).tiny),
                "preference/accuracy": right / decided.clamp(min=1),
                "preference/margin": (better - worse).sum() / decided.clamp(min=1),
                "caption/length": lessons.captions.mask.sum(dim=1).float().mean(),  # over length
            },
        )


def _judged(batch: Batch) -> list[Judged]:
    """What people said of each image's captions."""
    found = []
    for image_id, metadata in zip(batch.image_ids, batch.metadata or [{}] * len(batch), strict=True):
        judged = metadata.get(JUDGED)
        if not isinstance(judged, Judged):
            raise UserError(f"nobody judged captions of image {image_id}: take rlcap.data.judgements.JudgedCaptions")
        found.append(judged)
    return found


def _lessons(rollout: Rollout) -> Lessons:
    assert isinstance(rollout, Lessons)
    return rollout
