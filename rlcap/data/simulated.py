"""What simulated people (:mod:`rlcap.data.people`) are asked about captions of the synthetic scenes, and their answers.

A data set of their judgements, :class:`SimulatedJudgements`, which a reward or a policy learns from; or a file of them,
one thousand choices for instance::

    write_judged("judgements.jsonl", choices(Crowd(), Shapes(), "train", 1000, seed=0))
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rlcap.data.base import CaptionDataset, Record
from rlcap.data.captions_to_judge import CaptionsToJudge, Sources
from rlcap.data.folder import SPLITS
from rlcap.data.judged import Judged, merged
from rlcap.data.judgement_files import write_judged
from rlcap.data.judgements import JUDGED
from rlcap.data.people import Crowd
from rlcap.data.tastes import SCENE
from rlcap.errors import UserError

__all__ = [
    "ChoiceOfTwo",
    "Question",
    "RatingByAll",
    "SimulatedJudgements",
    "Sources",
    "choices",
    "ratings",
    "write_judged",
]

# --- what is asked


class Question(ABC):
    """What people are asked of captions of an image.

    Attributes:
        captions: how many different captions it takes.
    """

    captions: int

    @abstractmethod
    def answers(
        self, crowd: Crowd, captions: Sequence[str], scene: Mapping[str, Any], rng: np.random.Generator
    ) -> Iterator[Judged]:
        """What those who are asked say."""


class ChoiceOfTwo(Question):
    """Someone, at random, says which of two captions is better, or that neither is."""

    captions = 2

    def answers(
        self, crowd: Crowd, captions: Sequence[str], scene: Mapping[str, Any], rng: np.random.Generator
    ) -> Iterator[Judged]:
        """One answer."""
        one, other = captions
        yield crowd.people[int(rng.integers(crowd.raters))].choose((one, other), scene, rng)


class RatingByAll(Question):
    """Everyone rates a caption."""

    captions = 1

    def answers(
        self, crowd: Crowd, captions: Sequence[str], scene: Mapping[str, Any], rng: np.random.Generator
    ) -> Iterator[Judged]:
        """As many answers as there are people."""
        return (person.rate(captions[0], scene, rng) for person in crowd.people)


# --- what is answered


def choices(
    crowd: Crowd,
    dataset: CaptionDataset,
    split: str,
    count: int,
    seed: int,
    *,
    sources: Sources | None = None,
    predictions: Sequence[Path | str] = (),
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
        predictions: files of captions of a policy, such as ``predictions.jsonl``.
    """
    return _answers(ChoiceOfTwo(), crowd, CaptionsToJudge(dataset, split, sources, predictions), count, seed)


def ratings(
    crowd: Crowd,
    dataset: CaptionDataset,
    split: str,
    count: int,
    seed: int,
    *,
    sources: Sources | None = None,
    predictions: Sequence[Path | str] = (),
) -> Iterator[tuple[str, Judged]]:
    """Image ids, and everyone's ratings of a caption of it: ``count`` captions; arguments as those of ``choices``."""
    return _answers(RatingByAll(), crowd, CaptionsToJudge(dataset, split, sources, predictions), count, seed)


def _answers(
    question: Question, crowd: Crowd, captions: CaptionsToJudge, count: int, seed: int
) -> Iterator[tuple[str, Judged]]:
    for number in range(count):
        rng = np.random.default_rng([seed, number, SPLITS.index(captions.split)])
        record, asked = captions.draw(question.captions, rng)
        for judged in question.answers(crowd, asked, record.metadata[SCENE], rng):
            yield record.image_id, judged


class SimulatedJudgements(CaptionDataset):
    """Scenes with what simulated people said of their captions as ``metadata["judged"]``, made from a seed.

    Images without judgements are left out, as of :class:`rlcap.data.judgements.JudgedCaptions`. The first judgements
    are the same however many there are, and those of one split do not depend on another's. A split is judged when its
    records are first asked for.

    Args:
        images: the scenes, :class:`rlcap.data.shapes.Shapes`.
        comparisons: how many questions are asked of the images in ``train``.
        held_out: how many of each of ``val`` and ``test``; 0 leaves these two as ``images`` has them, without
            judgements: a policy that learns from judgements is then measured on all of them.
        question: what is asked; None: which of two captions is better (:class:`ChoiceOfTwo`).
        crowd: the people; None: those by default.
        held_out_crowd: the people who judge ``val`` and ``test``; None: the same. Where they have the mean person's
            tastes and hardly any noise, each held-out pair is ordered by the known utility. With a tie of 0, pairs
            of the same utility are ordered by chance; a small one, such as 0.01, leaves them out.
        sources: where the captions are from.
        predictions: files of captions of a policy to be judged, such as ``predictions.jsonl`` of evaluations of
            ``train``, perhaps of ``val`` and ``test`` too.
        seed: of the questions and answers.
    """

    def __init__(
        self,
        images: CaptionDataset,
        comparisons: int = 1000,
        held_out: int = 500,
        *,
        question: Question | None = None,
        crowd: Crowd | None = None,
        held_out_crowd: Crowd | None = None,
        sources: Sources | None = None,
        predictions: Sequence[Path | str] = (),
        seed: int = 0,
    ) -> None:
        if comparisons < 1:
            raise UserError(f"comparisons must be at least 1, got {comparisons}: there is nothing else to learn from")
        if held_out < 0:
            raise UserError(f"held_out must be 0 or more, got {held_out}")
        if seed < 0:
            raise UserError(f"seed must be 0 or more, got {seed}")
        self.images = images
        self.synonyms = images.synonyms
        self.counts = {"train": comparisons, "val": held_out, "test": held_out}
        self.question = question or ChoiceOfTwo()
        self.crowd = crowd or Crowd()
        self.held_out_crowd = held_out_crowd or self.crowd
        self.sources = sources
        self.predictions = predictions
        self.seed = seed
        self._judged: dict[str, tuple[Record, ...]] = {}

    def records(self, split: str) -> Sequence[Record]:
        """The judged images of a split, in the order in which they were first asked about."""
        if split not in self.counts:
            raise UserError(f"no split {split!r} in SimulatedJudgements; there are {', '.join(self.counts)}")
        if not self.counts[split]:
            return self.images.records(split)
        if split not in self._judged:
            self._judged[split] = self._ask(split)
        return self._judged[split]

    def open_image(self, record: Record) -> Image.Image:
        """The image, as its own data set opens it."""
        return self.images.open_image(record)

    def _ask(self, split: str) -> tuple[Record, ...]:
        crowd = self.crowd if split == "train" else self.held_out_crowd
        captions = CaptionsToJudge(self.images, split, self.sources, self.predictions, needed=split == "train")
        said: dict[str, list[Judged]] = {}
        for image_id, judged in _answers(self.question, crowd, captions, self.counts[split], self.seed):
            said.setdefault(image_id, []).append(judged)
        known = {record.image_id: record for record in captions.records}
        return tuple(
            replace(known[image_id], metadata={**known[image_id].metadata, JUDGED: merged(parts)})
            for image_id, parts in said.items()
        )
