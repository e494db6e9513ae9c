"""A data set of the images that people judged captions of, for rewards that are learned from judgements.

What is said of an image's captions is one :class:`Judged`, which all that learn from judgements read; files of
judgements are described in :mod:`rlcap.data.judgement_files`.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from PIL import Image

from rewards.scoring.files import ByImage
from rlcap.data.base import CaptionDataset, Record
from rlcap.data.folder import SPLITS, assign_splits
from rlcap.data.judged import Comparison, Judged, Ranking, Rating, Tie, caption_key, merged, restricted
from rlcap.data.judgement_files import Columns, JudgementWriter, by_image, json_lines, read_judged, read_rows
from rlcap.types import UserError

__all__ = [
    "JUDGED",
    "Columns",
    "Comparison",
    "Division",
    "Judged",
    "JudgedCaptions",
    "JudgementWriter",
    "Ranking",
    "Rating",
    "Tie",
    "fold_of",
    "json_lines",
    "merged",
    "read_judged",
    "restricted",
    "shared_captions",
]

logger = logging.getLogger(__name__)

JUDGED = "judged"
"""The entry of a record's metadata, and so of a batch's, that holds what people said of the image's captions."""


def fold_of(image_id: str, folds: int, seed: int) -> int:
    """The one of several folds that an image is in, by its id and the seed alone."""
    digest = hashlib.blake2b(f"{seed} fold {image_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") * folds >> 64


@dataclass(frozen=True)
class Division:
    """How judged images are divided anew: every judgement of an image is in the split of the image.

    By shares, or with ``folds`` for cross-validation: then the images of one fold are ``test``.

    Attributes:
        val_fraction: share of images to validate on; with folds, of those that are not in the fold.
        test_fraction: share of images to test on; of no account with folds.
        folds: in how many equal parts to divide the images; 0 divides by shares.
        fold: which of them is ``test``, counted from 0.
        seed: of the division.
    """

    val_fraction: float = 0.1
    test_fraction: float = 0.1
    folds: int = 0
    fold: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        shares = (self.val_fraction, 0.0 if self.folds else self.test_fraction)
        if min(shares) < 0 or sum(shares) >= 1:
            raise UserError(
                "val_fraction and test_fraction must be 0 or more and leave some images to train on, "
                f"got {self.val_fraction} and {self.test_fraction}"
            )
        if self.folds == 1 or self.folds < 0:
            raise UserError(f"folds must be 2 or more, or 0 to divide by shares, got {self.folds}")
        if not 0 <= self.fold < max(1, self.folds):
            raise UserError(f"fold must be from 0 to folds - 1 = {max(0, self.folds - 1)}, got {self.fold}")

    def splits(self, image_ids: Sequence[str]) -> dict[str, str]:
        """The split of each image."""
        if not self.folds:
            return assign_splits(image_ids, self.val_fraction, self.test_fraction, self.seed)
        held = [image_id for image_id in image_ids if fold_of(image_id, self.folds, self.seed) == self.fold]
        if not held or len(held) == len(image_ids):
            raise UserError(
                f"fold {self.fold} of {self.folds} holds {len(held)} of {len(image_ids)} judged images: use fewer folds"
            )
        others = [image_id for image_id in image_ids if image_id not in set(held)]
        return assign_splits(others, self.val_fraction, 0.0, self.seed) | dict.fromkeys(held, "test")


def shared_captions(one: Iterable[Judged], other: Iterable[Judged]) -> set[str]:
    """Captions, spaces and capitals aside, that are judged in both: a model could know them by heart."""
    first, second = (
        {caption_key(caption).lower() for own in part for caption in own.captions} for part in (one, other)
    )
    return first & second


class JudgedCaptions(CaptionDataset):
    """The images that people judged captions of, with what they said as ``metadata["judged"]``, a :class:`Judged`.

    Images, references and other metadata are those of the data set given, whose ``train``, ``val`` and ``test`` are
    looked through; images without judgements are left out. Train no policy on the images that a learned reward is
    tested on.

    A caption may be shown with several photos, as all of Flickr8k's were. ``shared`` counts the captions that are
    judged in two splits; the log tells of those in ``train``.

    Args:
        judgements: a file of JSON lines, or CSV or TSV; see :mod:`rlcap.data.judgement_files`.
        images: where the images are from. The file names them by their ids, with or without ``.jpg`` or the like.
        division: how the judged images are divided; None leaves each in the split that ``images`` has it in. A split
            without any judged image is then that of ``images``: a policy that learns from judgements is measured on it.
        separate_captions: leave out of ``train`` the captions that are judged in another split, too. It costs most of
            the training part where every caption was shown with many photos: of Flickr8k's experts' four fifths, of its
            crowd's nearly all.
        columns: which part of a CSV or TSV file to read.
    """

    def __init__(
        self,
        judgements: Path | str,
        images: CaptionDataset,
        division: Division | None = None,
        separate_captions: bool = False,
        columns: Columns | None = None,
    ) -> None:
        self.path = Path(judgements)
        self.images = images
        self.synonyms = images.synonyms
        known = _known(images)
        judged = self._of_known(columns, ByImage(known))
        splits = division.splits(list(judged)) if division else {image: known[image][0] for image in judged}
        parts = {name: {image: judged[image] for image in judged if splits[image] == name} for name in SPLITS}
        self.shared = {
            pair: len(shared_captions(*(parts[name].values() for name in pair))) for pair in combinations(SPLITS, 2)
        }
        if separate_captions:
            parts["train"] = _separated(parts)
            self.shared |= {pair: 0 for pair in self.shared if "train" in pair}
        leaked = {f"{count} with {pair[1]}" for pair, count in self.shared.items() if count and pair[0] == "train"}
        if leaked:
            logger.warning(
                "%s: train shares judged captions, %s: separate_captions leaves them out",
                self.path,
                ", ".join(sorted(leaked)),
            )
        self._splits = {
            name: tuple(
                replace(known[image][1], metadata={**known[image][1].metadata, JUDGED: own})
                for image, own in part.items()
            )
            for name, part in parts.items()
            if part
        }
        if division is None:
            own = {name: tuple(record for split, record in known.values() if split == name) for name in SPLITS}
            self._splits = {name: part for name, part in own.items() if part} | self._splits

    def records(self, split: str) -> Sequence[Record]:
        """The judged images of a split, in the order in which the file names them first."""
        if split not in self._splits:
            raise UserError(
                f"no split {split!r} among the images judged in {self.path}; there are {', '.join(self._splits)} "
                "(a division divides them anew)"
            )
        return self._splits[split]

    def open_image(self, record: Record) -> Image.Image:
        """The image, as its own data set opens it."""
        return self.images.open_image(record)

    def _of_known(self, columns: Columns | None, known: ByImage[tuple[str, Record]]) -> dict[str, Judged]:
        """What is said of each image, by the ids of the data set."""
        found: dict[str, list[Judged]] = {}
        for image, (line, parts) in by_image(read_rows(self.path, columns)).items():
            image_id = known.id_of(image)
            if image_id is None:
                raise UserError(
                    f"{self.path}, line {line}: image {image!r} is none of the {len(known.known)} images given, the "
                    f"first of which is {next(iter(known.known))!r}: write its id so, or leave its lines out"
                )
            found.setdefault(image_id, []).extend(parts)
        return {image: merged(parts) for image, parts in found.items()}


def _known(images: CaptionDataset) -> dict[str, tuple[str, Record]]:
    """Every image of a data set, by its id, with its split."""
    found: dict[str, tuple[str, Record]] = {}
    missing: UserError | None = None
    for split in SPLITS:
        try:
            found |= {record.image_id: (split, record) for record in images.records(split)}
        except UserError as error:  # the only way to learn that there is no such split
            missing = error
    if not found:
        raise missing or UserError("images: there is no image in train, val or test to be judged")
    return found


def _separated(parts: Mapping[str, Mapping[str, Judged]]) -> dict[str, Judged]:
    """The training part without the captions of the others."""
    held = {
        caption_key(caption).lower()
        for name in ("val", "test")
        for own in parts[name].values()
        for caption in own.captions
    }
    kept = {
        image: restricted(own, lambda caption: caption_key(caption).lower() not in held)
        for image, own in parts["train"].items()
    }
    return {image: own for image, own in kept.items() if own is not None}
