"""Whether predicted preferences can be taken at their word: of pairs decided with 80%, 8 in 10 should be right."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from rlcap.errors import UserError


@dataclass(frozen=True)
class Bin:
    """Pairs that were decided about equally surely.

    Attributes:
        lower: the least confidence of the bin.
        upper: the greatest.
        pairs: how many pairs it holds.
        confidence: their mean confidence.
        accuracy: the share of them that was decided as the judges did.
    """

    lower: float
    upper: float
    pairs: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How good predicted preferences are.

    Attributes:
        accuracy: the share of pairs decided as the judges did; a probability of 1/2 is half right.
        brier: mean squared difference of probability and outcome. Brier 1950. Always saying 1/2 has 1/4.
        expected_calibration_error: mean over pairs of |accuracy - confidence| of the pair's bin.
        bins: those that hold pairs, for a reliability diagram.
    """

    accuracy: float
    brier: float
    expected_calibration_error: float
    bins: tuple[Bin, ...]


def calibration(
    probabilities: Float[ndarray, " pairs"],
    outcomes: Float[ndarray, " pairs"],
    bins: int = 10,
    weights: Float[ndarray, " pairs"] | None = None,
) -> Calibration:
    """Accuracy, Brier score, expected calibration error and reliability bins of predicted preferences.

    A pair's confidence is the larger of p and 1 - p, and it is right where the more probable side was preferred. The
    error is the sum over bins of pairs in bin / pairs * |accuracy - confidence|, the bins equally wide over [1/2, 1],
    upper border included. Guo et al. 2017, eq. 3. So nothing depends on which caption of a pair comes first: pairs
    written chosen-first have the same calibration as shuffled ones.

    Args:
        probabilities: that the first caption is preferred.
        outcomes: 1 where it was, 0 where the second was; shares of judges in between. A tie (1/2) is half right
            whatever was predicted.
        bins: how many; as many as Guo's 2 x bins over [0, 1], where half of them must be empty.
        weights: how often each pair counts; once where none are given.

    Raises:
        UserError: if there are no pairs, or a number is no probability.
    """
    if not len(probabilities):
        raise UserError("calibration needs at least one pair, got none")
    for name, numbers in (("probability", probabilities), ("outcome", outcomes)):
        wrong = numbers[~((numbers >= 0) & (numbers <= 1))]
        if len(wrong):
            raise UserError(f"{name} {wrong[0]} is not between 0 and 1: pass sigmoid(reward difference), not rewards")
    right = np.select([probabilities > 0.5, probabilities < 0.5], [outcomes, 1 - outcomes], 0.5)
    confidence = np.maximum(probabilities, 1 - probabilities)
    weights = np.ones(len(probabilities)) if weights is None else weights
    borders = np.linspace(0.5, 1, bins + 1)
    index = np.searchsorted(borders[1:-1], confidence, side="left")
    filled, shares = [], []
    for number in np.unique(index):
        inside = index == number
        shares.append(weights[inside].sum() / weights.sum())
        filled.append(
            Bin(
                lower=float(borders[number]),
                upper=float(borders[number + 1]),
                pairs=int(inside.sum()),
                confidence=float(np.average(confidence[inside], weights=weights[inside])),
                accuracy=float(np.average(right[inside], weights=weights[inside])),
            )
        )
    error = float(sum(share * abs(one.accuracy - one.confidence) for share, one in zip(shares, filled, strict=True)))
    brier = float(np.average(np.square(probabilities - outcomes), weights=weights))
    return Calibration(float(np.average(right, weights=weights)), brier, error, tuple(filled))
