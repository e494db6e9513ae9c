"""Reward models from what people said of captions: the likelihood of their choices, rankings and ratings.

What a step learns and what its loss is an average over, :mod:`rlcap.algorithms.judged_captions` says; what the loss of
one judgement is, the classes here.
"""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from rlcap.algorithms.judged_captions import Lesson, Lessons, Preferences, Selection
from rlcap.data.judged import ROUNDING, Judged, Rating, comparisons_of
from rlcap.functional.preferences import (
    bradley_terry,
    cumulative_logit,
    davidson,
    free_thresholds,
    huber,
    ordered_thresholds,
    plackett_luce,
    squared_error,
)
from rlcap.reward_models.base import RewardModel
from rlcap.types import UserError

# --- comparisons


class Comparing(Preferences):
    """Learns from captions that were compared: only differences of scores matter, but for the centering.

    Args:
        model: the reward model.
        margin: two rated captions are a comparison when their mean ratings differ by as much.
        centering: weight of the square of twice the mean score of the captions compared, for two of them
            (r_1 + r_2)^2, which keeps scores around 0 (Eisenstein et al. 2024; ``center_rewards_coefficient`` of TRL,
            where 0.01 is usual).
        selection: what is learned of an image's judgements in a step.
    """

    remedy = "lower margin, or take more images_per_batch"

    def __init__(self, model: RewardModel, margin: float, centering: float, selection: Selection) -> None:
        super().__init__(model, selection)
        if margin <= 0:
            raise UserError(f"margin must be above 0, got {margin}: captions rated alike are no comparison")
        if centering < 0:
            raise UserError(f"centering must be 0 (off) or more, got {centering}")
        self.margin = margin
        self.centering = centering

    def of_lessons(self, scores: Float[Tensor, "lessons items"], lessons: Lessons) -> Float[Tensor, " lessons"]:
        means = torch.where(lessons.mask, scores, 0.0).sum(dim=1) / lessons.mask.sum(dim=1)  # over items
        return self.likelihood(scores, lessons) + self.centering * (2 * means).square()

    @abstractmethod
    def likelihood(self, scores: Float[Tensor, "lessons items"], lessons: Lessons) -> Float[Tensor, " lessons"]:
        """The negative log-likelihood of each comparison."""


class _Pairs(Comparing):
    """Learns from pairs: choices, ties, every two captions of a ranking, and ratings a margin apart."""

    def lessons(self, judged: Judged, rng: np.random.Generator) -> Sequence[Lesson]:
        decided = [Lesson(pair[:2], 1.0, pair.weight) for pair in comparisons_of(judged, self.margin)]
        return [*decided, *(Lesson(tie[:2], 0.5, tie.weight) for tie in judged.ties)]


class BradleyTerry(_Pairs):
    """The better caption wins with probability sigmoid(r_better - r_worse); a tie is half a win each way.

    L = -log sigmoid(r_better - r_worse). Bradley and Terry 1952; for reward models Stiennon et al. 2020, section 3.4.

    Args:
        model: the reward model.
        margin: two rated captions are a comparison when their mean ratings differ by as much.
        smoothing: the share of comparisons taken to be the wrong way round.
        centering: weight of (r_better + r_worse)^2, which keeps scores around 0; in TRL usually 0.01.
        selection: what is learned of an image's judgements in a step.
    """

    def __init__(
        self,
        model: RewardModel,
        margin: float = 0.5,
        smoothing: float = 0.0,
        centering: float = 0.0,
        selection: Selection = Selection(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(model, margin, centering, selection)
        if not 0 <= smoothing < 0.5:
            raise UserError(f"smoothing must be in [0, 0.5), got {smoothing}")
        self.smoothing = smoothing

    def likelihood(self, scores: Float[Tensor, "lessons items"], lessons: Lessons) -> Float[Tensor, " lessons"]:
        loss: Tensor = bradley_terry(scores[:, 0] - scores[:, 1], lessons.outcomes, smoothing=self.smoothing)
        return loss


class Davidson(_Pairs):
    """As Bradley and Terry, but ties have a probability of their own, which is learned. Davidson 1970.

    It starts at 1 / 3 for equally good captions.

    Args:
        model: the reward model.
        margin: as for BradleyTerry.
        centering: as for BradleyTerry.
        selection: as for BradleyTerry.
    """

    def __init__(
        self,
        model: RewardModel,
        margin: float = 0.5,
        centering: float = 0.0,
        selection: Selection = Selection(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(model, margin, centering, selection)
        self.log_ties = nn.Parameter(torch.zeros(()))

    def likelihood(self, scores: Float[Tensor, "lessons items"], lessons: Lessons) -> Float[Tensor, " lessons"]:
        loss: Tensor = davidson(scores[:, 0] - scores[:, 1], lessons.outcomes, self.log_ties)
        return loss


class PlackettLuce(Comparing):
    """Learns whole rankings: the best caption is chosen among all, then the next among the rest. Plackett 1975.

    L = - sum_k log softmax(r_k; r_k ... r_K)_k, summed over a ranking. A choice is a ranking of two, for which this is
    Bradley and Terry. The mean ratings of an image make a ranking, too: of captions rated within the margin of one
    another one is in it, another each time.

    Args:
        model: the reward model.
        margin: captions are ranked by their mean ratings when these are at least so far apart.
        centering: weight of the square of twice a ranking's mean score, which keeps scores around 0.
        selection: what is learned of an image's judgements in a step.
    """

    def __init__(
        self,
        model: RewardModel,
        margin: float = 0.5,
        centering: float = 0.0,
        selection: Selection = Selection(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(model, margin, centering, selection)

    def lessons(self, judged: Judged, rng: np.random.Generator) -> Sequence[Lesson]:
        told = [Lesson(ranking.captions, weight=ranking.weight) for ranking in judged.rankings]
        told += [Lesson(pair[:2], weight=pair.weight) for pair in judged.comparisons]
        rated = self._by_rating(judged, rng)
        return [*told, Lesson(rated)] if len(rated) > 1 else told

    def _by_rating(self, judged: Judged, rng: np.random.Generator) -> tuple[int, ...]:
        """Captions whose mean ratings are a margin apart, the best first."""
        means = judged.mean_ratings()
        rated = [(mean, int(place)) for place in rng.permutation(len(means)) if (mean := means[place]) is not None]
        chosen: list[tuple[float, int]] = []
        for mean, place in sorted(rated, key=lambda one: -one[0]):
            if not chosen or chosen[-1][0] - mean >= self.margin - ROUNDING:
                chosen.append((mean, place))
        return tuple(place for _, place in chosen)

    def likelihood(self, scores: Float[Tensor, "lessons items"], lessons: Lessons) -> Float[Tensor, " lessons"]:
        loss: Tensor = plackett_luce(scores, lessons.mask)
        return loss


# --- ratings


class Regression(Preferences):
    """The score is the rating: L = (r - y)^2, where y = (rating - center) / scale.

    Args:
        model: the reward model.
        center: the rating whose score is 0: about the mean rating, so that training does not begin far off.
        scale: how much a rating changes when the score changes by 1: about their standard deviation.
        each: learn every rating by itself; else the mean rating of each caption, by the mean of its ratings' weights.
        selection: what is learned of an image's judgements in a step.
    """

    remedy = "take a data set whose captions are rated, or more images_per_batch"

    def __init__(
        self,
        model: RewardModel,
        center: float = 0.0,
        scale: float = 1.0,
        each: bool = False,
        selection: Selection = Selection(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(model, selection)
        if scale <= 0:
            raise UserError(f"scale must be above 0, got {scale}: give about the standard deviation of the ratings")
        self.center = center
        self.scale = scale
        self.each = each

    def lessons(self, judged: Judged, rng: np.random.Generator) -> Sequence[Lesson]:
        rated = judged.ratings if self.each else _means(judged)
        return [Lesson((one.caption,), (one.value - self.center) / self.scale, one.weight) for one in rated]

    def of_lessons(self, scores: Float[Tensor, "lessons items"], lessons: Lessons) -> Float[Tensor, " lessons"]:
        loss: Tensor = squared_error(scores[:, 0], lessons.outcomes)
        return loss


class HuberRegression(Regression):
    """As Regression, with Huber's loss: ratings far from the score pull no harder than those ``delta`` away.

    Args:
        model: the reward model.
        center: as for Regression.
        scale: as for Regression.
        each: as for Regression.
        delta: where squared error turns linear, in units of the score.
        selection: as for Regression.
    """

    def __init__(
        self,
        model: RewardModel,
        center: float = 0.0,
        scale: float = 1.0,
        each: bool = False,
        delta: float = 1.0,
        selection: Selection = Selection(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(model, center, scale, each, selection)
        if delta <= 0:
            raise UserError(f"delta must be above 0, got {delta}")
        self.delta = delta

    def of_lessons(self, scores: Float[Tensor, "lessons items"], lessons: Lessons) -> Float[Tensor, " lessons"]:
        loss: Tensor = huber(scores[:, 0], lessons.outcomes, self.delta)
        return loss


class OrdinalRegression(Preferences):
    """A rating is passed with probability sigmoid(r - t_k), the thresholds t_k being learned. McCullagh 1980.

    So nothing is said of how far apart the ratings are, and scores are log-odds, as those of comparisons. Every rating
    is learned by itself.

    Args:
        model: the reward model.
        levels: all ratings that there are, the worst first.
        selection: what is learned of an image's judgements in a step.
    """

    remedy = Regression.remedy

    def __init__(
        self,
        model: RewardModel,
        levels: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0),
        selection: Selection = Selection(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(model, selection)
        if len(levels) < 2 or any(low >= high for low, high in pairwise(levels)):
            raise UserError(f"levels must be 2 or more and grow, got {list(levels)}")
        self.levels = levels
        even = torch.arange(len(levels) - 1, dtype=torch.float32)
        self.free = nn.Parameter(free_thresholds(even - even.mean()))

    @property
    def thresholds(self) -> Float[Tensor, " thresholds"]:
        """The scores at which one rating is as probable to be passed as not."""
        thresholds: Tensor = ordered_thresholds(self.free)
        return thresholds

    def lessons(self, judged: Judged, rng: np.random.Generator) -> Sequence[Lesson]:
        return [Lesson((one.caption,), float(self._level(one)), one.weight) for one in judged.ratings]

    def _level(self, rating: Rating) -> int:
        if rating.value not in self.levels:
            raise UserError(f"a rating of {rating.value:g} is none of the levels {list(self.levels)}: name all of them")
        return self.levels.index(rating.value)

    def of_lessons(self, scores: Float[Tensor, "lessons items"], lessons: Lessons) -> Float[Tensor, " lessons"]:
        loss: Tensor = cumulative_logit(scores[:, 0], lessons.outcomes.long(), self.thresholds)
        return loss


def _means(judged: Judged) -> list[Rating]:
    """The mean rating of each rated caption."""
    weights: dict[int, list[float]] = {}
    for rating in judged.ratings:
        weights.setdefault(rating.caption, []).append(rating.weight)
    return [
        Rating(place, mean, sum(weights[place]) / len(weights[place]))
        for place, mean in enumerate(judged.mean_ratings())
        if mean is not None
    ]
