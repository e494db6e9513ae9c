"""Simulated people who judge captions of the synthetic scenes, by tastes that are known.

People differ: each has tastes of their own around the mean (:mod:`rlcap.data.tastes`). They err: they choose between
two captions as Bradley and Terry (1952) or Thurstone (1927, case V) have it, with ties after Rao and Kupper (1967) and
Glenn and David (1960), and rate by thresholds with the same noise (McCullagh 1980). A reward that is learned from their
judgements can be compared with the utility it should have learned. One thousand choices in a file::

    write_judged("judgements.jsonl", choices(Crowd(), Shapes(), "train", 1000, seed=0))
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from rewards.base import RewardError
from rewards.scoring.files import ByImage, read_captions
from rlcap.data.base import CaptionDataset, Record
from rlcap.data.judged import Comparison, Judged, Rating, Tie, caption_key
from rlcap.data.judgement_files import json_lines
from rlcap.data.negatives import Corruptor, Vocabulary
from rlcap.data.shapes import SHAPES, SIZES
from rlcap.data.tastes import SCENE, Tastes, Told, Utility, told, utility
from rlcap.types import UserError

__all__ = [
    "SCENE",
    "SYNONYMS",
    "BradleyTerry",
    "Crowd",
    "Noise",
    "Rater",
    "Sources",
    "Tastes",
    "Thurstone",
    "Told",
    "Utility",
    "choice_probabilities",
    "choices",
    "rating_probabilities",
    "ratings",
    "told",
    "utility",
    "write_judged",
]

SYNONYMS: tuple[tuple[str, ...], ...] = (*SHAPES.values(), *SIZES.values())
"""Words of the scenes that are the same, in groups."""

# --- how people choose


class Noise(ABC):
    """How much more or less someone feels than there is."""

    @abstractmethod
    def below(self, difference: float) -> float:
        """The probability that this stays below a value."""


@dataclass(frozen=True)
class BradleyTerry(Noise):
    """Logistic noise: one caption is preferred with the sigmoid of the difference over the temperature.

    Attributes:
        temperature: large where people choose at random.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_above_zero("temperature", self.temperature)

    def below(self, difference: float) -> float:
        """The logistic distribution function."""
        return float(0.5 + 0.5 * math.tanh(difference / (2 * self.temperature)))


@dataclass(frozen=True)
class Thurstone(Noise):
    """Normal noise of each caption's utility alone, case V: that of a difference is the square root of 2 as wide.

    Attributes:
        temperature: standard deviation of the noise of one caption.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_above_zero("temperature", self.temperature)

    def below(self, difference: float) -> float:
        """The normal distribution function."""
        return NormalDist(0.0, math.sqrt(2) * self.temperature).cdf(difference)


def _check_above_zero(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{name} must be above 0, got {value}: a small one makes people sure of themselves")


def choice_probabilities(difference: float, tie: float, noise: Noise) -> tuple[float, float, float]:
    """The probabilities that the first of two captions wins, that they tie, and that the second wins.

    Args:
        difference: utility of the first less that of the second.
        tie: differences up to this, as they are felt, are none: Rao and Kupper 1967, Glenn and David 1960.
        noise: of the difference as it is felt.
    """
    wins, loses = noise.below(difference - tie), noise.below(-difference - tie)
    return wins, max(0.0, 1.0 - wins - loses), loses


def rating_probabilities(value: float, thresholds: Sequence[float], noise: Noise) -> tuple[float, ...]:
    """The probability of each rating from 1 to one above the number of thresholds, that of k being passed k - 1."""
    passed = [1.0, *(noise.below(value - threshold) for threshold in thresholds), 0.0]
    return tuple(before - after for before, after in pairwise(passed))


@dataclass(frozen=True)
class Rater:
    """One person.

    Attributes:
        name: of the person.
        tastes: what they like.
        noise: how they err.
        tie: differences up to this, as felt, are ties; 0: they always choose.
        thresholds: the utilities from which they rate 2, 3 and 4.
    """

    name: str
    tastes: Tastes
    noise: Noise
    tie: float
    thresholds: tuple[float, ...]

    def choose(self, captions: tuple[str, str], scene: Mapping[str, Any], rng: np.random.Generator) -> Judged:
        """The caption they find better, or a tie."""
        difference = utility(captions[0], scene, self.tastes) - utility(captions[1], scene, self.tastes)
        first, tied, _ = choice_probabilities(difference, self.tie, self.noise)
        felt = rng.random()
        if felt < first:
            return Judged(captions, comparisons=(Comparison(0, 1, rater=self.name),))
        if felt < first + tied:
            return Judged(captions, ties=(Tie(0, 1, rater=self.name),))
        return Judged(captions, comparisons=(Comparison(1, 0, rater=self.name),))

    def rate(self, caption: str, scene: Mapping[str, Any], rng: np.random.Generator) -> Judged:
        """Their rating of a caption, from 1."""
        shares = rating_probabilities(utility(caption, scene, self.tastes), self.thresholds, self.noise)
        value = 1 + int(np.searchsorted(np.cumsum(shares)[:-1], rng.random(), side="right"))
        return Judged((caption,), ratings=(Rating(0, float(value), rater=self.name),))


@dataclass(frozen=True)
class Crowd:
    """People who agree on the whole.

    Attributes:
        raters: how many.
        tastes: of the mean person.
        disagreement: standard deviation of the logarithm of each taste over people; 0: all have the same.
        noise: how they err.
        tie: differences of utility up to this, as felt, are ties.
        thresholds: the utilities from which they rate 2, 3 and so on, growing.
        seed: of the people's tastes.
    """

    raters: int = 5
    tastes: Tastes = field(default_factory=Tastes)
    disagreement: float = 0.3
    noise: Noise = field(default_factory=BradleyTerry)
    tie: float = 0.25
    thresholds: tuple[float, ...] = (0.0, 1.5, 3.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.raters < 1:
            raise UserError(f"a crowd has 1 rater or more, got {self.raters}")
        for name in ("disagreement", "tie", "seed"):
            if not getattr(self, name) >= 0:
                raise UserError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if not self.thresholds or any(a >= b for a, b in pairwise(self.thresholds)):
            raise UserError(f"thresholds must grow, one or more, got {list(self.thresholds)}")

    @cached_property
    def people(self) -> tuple[Rater, ...]:
        """The people. A larger crowd of the same seed begins with those of a smaller."""
        return tuple(
            Rater(f"rater-{number}", self._own_tastes(number), self.noise, self.tie, self.thresholds)
            for number in range(self.raters)
        )

    def _own_tastes(self, number: int) -> Tastes:
        """A person's tastes: those of the mean person times log-normal factors of mean 1."""
        rng = np.random.default_rng([self.seed, number])
        mean = np.array(astuple(self.tastes))
        factors = np.exp(self.disagreement * rng.standard_normal(len(mean)) - self.disagreement**2 / 2)
        return Tastes(*(mean * factors).tolist())


# --- what they are asked


@dataclass(frozen=True)
class Sources:
    """Where the captions that people judge are from: how often each source is drawn, relative to the others.

    Attributes:
        own: references of the scene.
        others: references of other scenes.
        corrupted: references of the scene made wrong (:mod:`rlcap.data.negatives`).
        sampled: captions of a policy, where there are any.
    """

    own: float = 2.0
    others: float = 1.0
    corrupted: float = 2.0
    sampled: float = 2.0

    def __post_init__(self) -> None:
        if min(astuple(self)) < 0 or sum(astuple(self)) <= 0:
            raise UserError(f"shares of sources must be 0 or more, and one above 0, got {list(astuple(self))}")


class _Asked:
    """Draws images and captions of them to be judged."""

    def __init__(self, dataset: CaptionDataset, split: str, sources: Sources, predictions: Path | str | None) -> None:
        self.records = [record for record in dataset.records(split) if SCENE in record.metadata]
        if len(self.records) < 2:
            raise UserError(
                f"split {split!r} has {len(self.records)} images with a scene graph: give Shapes with 2 or more"
            )
        references = chain.from_iterable(record.references for record in self.records)
        self.corruptor = Corruptor(Vocabulary.of(references, synonyms=SYNONYMS))
        self.sources = sources
        self.sampled = _sampled(predictions, self.records) if predictions is not None else {}

    def captions(self, record: Record, count: int, rng: np.random.Generator) -> tuple[str, ...]:
        """Different captions to be judged of an image."""
        shares = np.array(astuple(self.sources), np.float64)
        shares[3] *= record.image_id in self.sampled
        if not shares.sum():
            raise UserError(
                f"image {record.image_id!r} has no captions of a policy and no other source is to be drawn from"
            )
        found: dict[str, str] = {}
        for _ in range(100 * count):  # few images have so few captions that this is not enough
            caption = self._caption(record, int(rng.choice(4, p=shares / shares.sum())), rng)
            if caption is not None and caption_key(caption):
                found.setdefault(caption_key(caption), caption)
            if len(found) == count:
                return tuple(found.values())
        raise UserError(
            f"image {record.image_id!r} has fewer than {count} different captions to judge: draw from more sources"
        )

    def _caption(self, record: Record, source: int, rng: np.random.Generator) -> str | None:
        if source == 3:
            return _any(self.sampled[record.image_id], rng)
        if source == 1:
            record = self.records[int(rng.integers(len(self.records)))]
        own = _any(record.references, rng)
        if source == 2:
            made = self.corruptor(own, rng, 1)
            return made[0].text if made else None
        return own


def _any(captions: Sequence[str], rng: np.random.Generator) -> str:
    return captions[int(rng.integers(len(captions)))]


def _sampled(path: Path | str, records: Sequence[Record]) -> dict[str, list[str]]:
    """The captions of a policy, such as ``predictions.jsonl`` of an evaluation holds, by image."""
    known = ByImage({record.image_id: record for record in records})
    found: dict[str, list[str]] = {}
    try:
        for caption in read_captions(Path(path)):
            image_id = known.id_of(caption.image)
            if image_id is not None:
                found.setdefault(image_id, []).append(caption.text)
    except RewardError as error:
        raise UserError(str(error)) from error
    if not found:
        raise UserError(f"{path} has captions of none of the images: give predictions of the split to be judged")
    return found


def choices(
    crowd: Crowd,
    dataset: CaptionDataset,
    split: str,
    count: int,
    seed: int,
    *,
    sources: Sources | None = None,
    predictions: Path | str | None = None,
) -> Iterator[tuple[str, Judged]]:
    """Image ids, and what someone said of two captions of it: ``count`` choices that follow from the seed.

    Choice k does not depend on how many there are.

    Args:
        crowd: the people; each question is put to one, at random.
        dataset: the scenes, :class:`rlcap.data.shapes.Shapes`.
        split: which of its splits.
        count: how many choices.
        seed: of the questions and answers.
        sources: where the captions are from.
        predictions: a file of captions of a policy, such as ``predictions.jsonl``.
    """
    return _answers(crowd, _Asked(dataset, split, sources or Sources(), predictions), count, seed, rated=False)


def ratings(
    crowd: Crowd,
    dataset: CaptionDataset,
    split: str,
    count: int,
    seed: int,
    *,
    sources: Sources | None = None,
    predictions: Path | str | None = None,
) -> Iterator[tuple[str, Judged]]:
    """Image ids, and everyone's ratings of a caption of it: ``count`` captions; arguments as those of ``choices``."""
    return _answers(crowd, _Asked(dataset, split, sources or Sources(), predictions), count, seed, rated=True)


def _answers(crowd: Crowd, asked: _Asked, count: int, seed: int, rated: bool) -> Iterator[tuple[str, Judged]]:
    for question in range(count):
        rng = np.random.default_rng([seed, question])
        record = asked.records[int(rng.integers(len(asked.records)))]
        scene = record.metadata[SCENE]
        if rated:
            (caption,) = asked.captions(record, 1, rng)
            for person in crowd.people:
                yield record.image_id, person.rate(caption, scene, rng)
        else:
            one, other = asked.captions(record, 2, rng)
            person = crowd.people[int(rng.integers(crowd.raters))]
            yield record.image_id, person.choose((one, other), scene, rng)


def write_judged(path: Path | str, judgements: Iterable[tuple[str, Judged]]) -> None:
    """Writes a new file of JSON lines, complete or not at all; an earlier one of the name is replaced."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = chain.from_iterable(json_lines(image_id, judged) for image_id, judged in judgements)
        aside.write_text("".join(lines), encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise UserError(f"cannot write judgements to {path}: {error.strerror}: choose another file") from error
