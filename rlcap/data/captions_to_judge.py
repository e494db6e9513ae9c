"""The captions of synthetic scenes that simulated people judge: references, wrong ones, and those of a policy."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from rewards.base import RewardError
from rewards.scoring.files import ByImage, read_captions
from rlcap.data.base import CaptionDataset, Record
from rlcap.data.judged import caption_key
from rlcap.data.negatives import Corruptor
from rlcap.data.replacements import Vocabulary
from rlcap.data.tastes import SCENE
from rlcap.errors import UserError

MOST_PASSED_OVER = 100  # images in a row that have too few captions to ask about


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


class TooFewCaptionsError(UserError):
    """An image has not as many captions as are asked about."""


class CaptionsToJudge:
    """Draws images of a split and captions of them to be judged.

    Args:
        dataset: the scenes.
        split: which of its splits.
        sources: where the captions are from; None: from all.
        predictions: files of captions of a policy.
        needed: whether that must have captions of this split.
    """

    def __init__(
        self,
        dataset: CaptionDataset,
        split: str,
        sources: Sources | None,
        predictions: Sequence[Path | str],
        needed: bool = True,
    ) -> None:
        self.records = [record for record in dataset.records(split) if SCENE in record.metadata]
        if len(self.records) < 2:
            raise UserError(
                f"split {split!r} has {len(self.records)} images with a scene graph: give Shapes with 2 or more"
            )
        references = chain.from_iterable(record.references for record in self.records)
        self.corruptor = Corruptor(Vocabulary.of(references, synonyms=dataset.synonyms))
        self.split = split
        self.sources = sources or Sources()
        self.sampled = _sampled(predictions, self.records)
        if predictions and needed and not self.sampled:
            raise UserError(
                f"{predictions[0]} has captions of none of the images in {split!r}: give predictions of that split"
            )

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Record, tuple[str, ...]]:
        """An image and different captions of it; one with too few, such as of a policy that is sure, is passed over."""
        for _ in range(MOST_PASSED_OVER):
            record = self.records[int(rng.integers(len(self.records)))]
            try:
                return record, self._of(record, count, rng)
            except TooFewCaptionsError as error:
                last = error
        raise last

    def _of(self, record: Record, count: int, rng: np.random.Generator) -> tuple[str, ...]:
        shares = np.array(astuple(self.sources), np.float64)
        shares[3] *= record.image_id in self.sampled
        if not shares.sum():
            raise TooFewCaptionsError(
                f"image {record.image_id!r} has no captions of a policy and no other source is to be drawn from"
            )
        few = TooFewCaptionsError(
            f"image {record.image_id!r} has fewer than {count} different captions to judge: draw from more sources"
        )
        if not shares[:3].any() and len({caption_key(caption) for caption in self.sampled[record.image_id]}) < count:
            raise few
        found: dict[str, str] = {}
        for _ in range(100 * count):  # few images have so few captions that this is not enough
            caption = self._any(record, int(rng.choice(4, p=shares / shares.sum())), rng)
            if caption is not None and caption_key(caption):
                found.setdefault(caption_key(caption), caption)
            if len(found) == count:
                return tuple(found.values())
        raise few

    def _any(self, record: Record, source: int, rng: np.random.Generator) -> str | None:
        if source == 3:
            return _one(self.sampled[record.image_id], rng)
        if source == 1:
            record = self.records[int(rng.integers(len(self.records)))]
        own = _one(record.references, rng)
        if source == 2:
            made = self.corruptor(own, rng, 1)
            return made[0].text if made else None
        return own


def _one(captions: Sequence[str], rng: np.random.Generator) -> str:
    return captions[int(rng.integers(len(captions)))]


def _sampled(paths: Sequence[Path | str], records: Sequence[Record]) -> dict[str, list[str]]:
    """The captions of a policy, such as ``predictions.jsonl`` of an evaluation holds, by image."""
    known = ByImage({record.image_id: record for record in records})
    found: dict[str, list[str]] = {}
    try:
        for caption in chain.from_iterable(read_captions(Path(path)) for path in paths):
            image_id = known.id_of(caption.image)
            if image_id is not None:
                found.setdefault(image_id, []).append(caption.text)
    except RewardError as error:
        raise UserError(str(error)) from error
    return found
