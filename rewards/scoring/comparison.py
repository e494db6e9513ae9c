"""Scored captions held against human judgements: how well each reward agrees, and weights that agree better."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from rewards.failures import own_errors
from rewards.scoring.agreement import Agreement, Estimate, agreement
from rewards.scoring.bootstrap import image_numbers
from rewards.scoring.judgements import Judgements
from rewards.scoring.result import TOTAL, Result
from rewards.scoring.weights import LearnedWeights, WeightFit, fit_weights

HEADINGS = {
    "tau_b": "tau-b",
    "tau_c": "tau-c",
    "accuracy": "pairs right",
    "pearson": "Pearson",
    "spearman": "Spearman",
}
LEARNED = "learned sum"


@dataclass(frozen=True)
class Comparison:
    """How well rewards agree with the judgements of a file.

    Attributes:
        judgements: the file's.
        captions: how many captions are both scored and judged.
        ratings: how many ratings they have.
        images: how many images they are of.
        rewards: each reward's agreement.
        weights: of the rewards in a sum learned from the judgements, if asked for.
        names: the rewards of that sum.
    """

    judgements: Judgements
    captions: int
    ratings: int
    images: int
    rewards: Mapping[str, Agreement]
    weights: LearnedWeights | None = None
    names: tuple[str, ...] = ()

    def learned(self) -> dict[str, float]:
        """The learned weight of each reward's raw scores; none where none were learned."""
        return {} if self.weights is None else dict(zip(self.names, self.weights.weights.tolist(), strict=True))

    def remark(self) -> str:
        """Whether the learned sum is worth more than the best reward alone, on images it was not learned from."""
        accuracies = {name: own.accuracy.value for name, own in self.rewards.items() if own.accuracy is not None}
        if self.weights is None or self.weights.held_out.accuracy is None or not accuracies:
            return "no weights were learned"
        best = max(accuracies, key=lambda name: accuracies[name])
        found = f"{self.weights.held_out.accuracy.value:.1%} of pairs right on images not learned from"
        alone = f"{best} alone: {accuracies[best]:.1%}"
        better = self.weights.held_out.accuracy.value > accuracies[best]
        return f"learned weights: {found}; {alone}{'' if better else ', so the sum is no better'}"

    def as_json(self) -> dict[str, Any]:
        """All numbers, as JSON can hold them."""
        content: dict[str, Any] = {
            "file": self.judgements.path.name,
            "columns": list(self.judgements.columns),
            "ratings": self.ratings,
            "captions": self.captions,
            "images": self.images,
            "rewards": {name: _agreement_as_json(own) for name, own in self.rewards.items()},
        }
        if self.weights is not None:
            content["weights"] = {
                "weights": self.learned(),
                "standardised": dict(zip(self.names, self.weights.standardised.tolist(), strict=True)),
                "pairs": self.weights.pairs,
                "held_out": _agreement_as_json(self.weights.held_out),
            }
        return content

    def table(self) -> str:
        """A row per reward, with intervals in brackets."""
        rows = dict(self.rewards)
        if self.weights is not None:
            rows[LEARNED] = self.weights.held_out
        cells = [["", *HEADINGS.values()]]
        cells += [[name, *(_cell(getattr(own, field)) for field in HEADINGS)] for name, own in rows.items()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
        heading = (
            f"agreement with {self.judgements.path} ({', '.join(self.judgements.columns)}): {self.ratings} ratings of "
            f"{self.captions} captions of {self.images} images"
        )
        return "\n".join([heading, *lines, ""])


def compare(result: Result, judgements: Judgements, fit: WeightFit | None = None) -> Comparison:
    """How well the scores of captions agree with their judgements.

    Args:
        result: the scores.
        judgements: of some of the captions.
        fit: how weights are to be learned; None learns none.

    Raises:
        RewardError: if no caption was judged, or if a reward gives all the same score.
    """
    rows, ratings = judgements.matched(result.candidates)
    image = image_numbers([(result.candidates.image_ids or ())[row] for row in rows], len(rows))
    rewards = {}
    for name, scored in result.items():
        with own_errors(name):
            rewards[name] = agreement(scored.scores[rows], image, ratings, result.bootstrap)
    names = tuple(name for name in result if name != TOTAL)
    learned = None
    if fit is not None:
        scores = np.stack([result[name].scores[rows] for name in names], axis=1)
        learned = fit_weights(scores, image, ratings, fit, result.bootstrap)
    return Comparison(
        judgements,
        captions=len(rows),
        ratings=sum(map(len, ratings)),
        images=int(image.max()) + 1,
        rewards=rewards,
        weights=learned,
        names=names if fit is not None else (),
    )


def _agreement_as_json(own: Agreement) -> dict[str, Any]:
    return {
        field.name: None
        if (estimate := getattr(own, field.name)) is None
        else {"value": estimate.value, "interval": None if estimate.interval is None else list(estimate.interval)}
        for field in fields(own)
    }


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    interval = "" if estimate.interval is None else " [{:.3f}, {:.3f}]".format(*estimate.interval)
    return f"{estimate.value:.3f}{interval}"
