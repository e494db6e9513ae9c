"""Weights of rewards learned from human judgements: their sum should prefer the captions that people prefer.

The probability that people prefer one caption of an image to another is the logistic function of the difference of
the weighted sums (Bradley and Terry 1952); the weights of standardised scores maximise the likelihood of all pairs with
different mean ratings, less an L2 penalty. How good such a sum is, is told by images that its weights have not seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from rewards.base import RewardError
from rewards.scoring.agreement import Agreement, agreement, rated_pairs
from rewards.scoring.bootstrap import Bootstrap

STEPS = 100  # Newton's; a dozen are enough unless the problem is degenerate
CONVERGED = 1e-9  # of the gradient per pair


@dataclass(frozen=True)
class WeightFit:
    """How weights are learned.

    Attributes:
        l2: strength of the penalty, half of which times the sum of squared weights is added to the summed losses.
        non_negative: keep weights at 0 or above, so that no reward is punished.
        folds: parts of the images, each of which is judged by the weights learned from the others.
        seed: of the division into folds.
    """

    l2: float = 1.0
    non_negative: bool = True
    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.l2 <= 0:
            raise RewardError(f"l2 must be above 0, got {self.l2}: rewards that agree need it")
        if self.folds < 2:
            raise RewardError(f"folds must be at least 2, got {self.folds}")


@dataclass(frozen=True)
class LearnedWeights:
    """Weights of rewards, and how well sums with such weights agree with ratings of images not learned from.

    Attributes:
        weights: of each reward's raw scores, scaled so that the sum has a standard deviation of 1.
        standardised: of scores divided by their standard deviations, on the same scale: they can be compared.
        pairs: how many pairs of captions were learned from.
        held_out: agreement of the cross-validated sum.
    """

    weights: Float64[np.ndarray, " rewards"]
    standardised: Float64[np.ndarray, " rewards"]
    pairs: int
    held_out: Agreement


def pairwise_logistic(
    differences: Float64[np.ndarray, "pairs rewards"], l2: float = 1.0, non_negative: bool = True
) -> Float64[np.ndarray, " rewards"]:
    """The weights that make the preferred caption of each pair likely, given its scores less those of the other.

    Minimises sum(log(1 + exp(-differences @ w))) + l2 / 2 * |w|^2, over w >= 0 if so, by projected Newton steps:
    weights at 0 that would fall are held, the others take the Newton step, halved until the loss falls enough.
    Bertsekas 1982.
    """
    pairs, rewards = differences.shape
    bound = 0.0 if non_negative else -np.inf

    def loss(weights: Float64[np.ndarray, " rewards"]) -> float:
        return float(np.logaddexp(0, -differences @ weights).sum() + l2 / 2 * weights @ weights)

    weights = np.zeros(rewards)
    before = loss(weights)
    for _ in range(STEPS):
        unsure = np.exp(-np.logaddexp(0, differences @ weights))  # 1 - probability of the preference
        gradient = l2 * weights - differences.T @ unsure
        free: Bool[np.ndarray, " rewards"] = (weights > bound) | (gradient < 0)
        if np.abs(gradient[free]).max(initial=0.0) <= CONVERGED * pairs:
            break
        own = differences[:, free]
        hessian = (own * (unsure * (1 - unsure))[:, None]).T @ own + l2 * np.eye(own.shape[1])
        direction = np.zeros(rewards)
        direction[free] = np.linalg.solve(hessian, gradient[free])
        step = 1.0
        while step > 1e-10:
            moved = np.maximum(weights - step * direction, bound)
            after = loss(moved)
            if after <= before + 1e-4 * gradient @ (moved - weights):
                break
            step /= 2
        else:
            break  # as near as numbers of this precision come
        weights, before = moved, after
    return weights


def fit_weights(
    scores: Float64[np.ndarray, "captions rewards"],
    image: Int64[np.ndarray, " captions"],
    ratings: Sequence[Sequence[float]],
    options: WeightFit | None = None,
    bootstrap: Bootstrap | None = None,
) -> LearnedWeights:
    """Weights of rewards by which their sum prefers the captions that people prefer.

    Args:
        scores: of each caption by each reward.
        image: the number of each caption's image, from 0 without gaps.
        ratings: one or more of each caption.
        options: how they are learned.
        bootstrap: of the intervals of the agreement.

    Raises:
        RewardError: if a reward is constant, or too few images have captions with different ratings.
    """
    options = options or WeightFit()
    rating = np.array([np.mean(own) for own in ratings])
    for column in range(scores.shape[1]):
        if np.ptp(scores[:, column]) == 0:
            raise RewardError(f"reward number {column + 1} gives {scores[0, column]:g} to all captions: leave it out")
    weights, pairs = _fit(scores, image, rating, options)
    images = int(image.max()) + 1
    usable = np.unique(image[rated_pairs(image, rating)[0]])
    if len(usable) < options.folds:
        raise RewardError(
            f"{len(usable)} images have captions with different ratings: {options.folds} folds need {options.folds}"
        )
    fold = np.empty(images, np.int64)
    fold[np.random.default_rng(options.seed).permutation(images)] = np.arange(images) % options.folds
    held_out = np.zeros(len(scores))
    for number in range(options.folds):
        own = fold[image] == number
        if own.any():
            learned, _ = _fit(scores[~own], image[~own], rating[~own], options)
            # A fold's sums are compared with those of the others: they share their centre.
            held_out[own] = (scores[own] - scores[~own].mean(axis=0)) @ learned
    return LearnedWeights(weights, weights * scores.std(axis=0), pairs, agreement(held_out, image, ratings, bootstrap))


def _fit(
    scores: Float64[np.ndarray, "captions rewards"],
    image: Int64[np.ndarray, " captions"],
    rating: Float64[np.ndarray, " captions"],
    options: WeightFit,
) -> tuple[Float64[np.ndarray, " rewards"], int]:
    """Weights of raw scores, whose sum has a standard deviation of 1, and how many pairs they come from."""
    better, worse = rated_pairs(image, rating)
    if not len(better):
        raise RewardError("no image has two captions with different ratings: weights are learned from such pairs")
    spread = scores.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    weights = pairwise_logistic((scores[better] - scores[worse]) / spread, options.l2, options.non_negative) / spread
    size = float((scores @ weights).std())
    if not size:
        raise RewardError("no reward agrees with the ratings: all weights are 0")
    return weights / size, len(better)
