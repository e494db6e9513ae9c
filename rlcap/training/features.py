"""Compute a frozen encoder's features of every image once, and read them from disk ever after."""

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from rlcap.data.base import CaptionDataset
from rlcap.data.features import Features, FeatureWriter
from rlcap.data.loader import loader
from rlcap.models import Model
from rlcap.types import UserError

logger = logging.getLogger(__name__)

IMAGES_AT_ONCE = 8  # small convolution batches stay in the processor's cache
TEMPORARY = "temporary"


@dataclass(frozen=True)
class FeaturesPlace:
    """Where a run keeps features.

    Attributes:
        folder: None keeps none.
        temporary: whether it goes when the run ends.
    """

    folder: Path | None
    temporary: bool = False

    @classmethod
    def of(cls, features: str | None, run: Path) -> "FeaturesPlace":
        """What ``training.features`` stands for in a run folder."""
        if features == TEMPORARY:  # in the run folder, which all processes know and a killed run is resumed in
            return cls(run / ".features", temporary=True)
        return cls(None if features is None else Path(features))

    @contextmanager
    def opened(self, main: bool) -> Iterator[None]:
        """A run's time with the features; however it ends, the main process takes temporary ones away."""
        try:
            yield
        finally:
            if self.temporary and self.folder is not None and main:
                shutil.rmtree(self.folder, ignore_errors=True)


def features_of(
    dataset: CaptionDataset,
    splits: Sequence[str],
    model: Model,
    folder: Path,
    *,
    workers: int = 0,
    on_bad_image: Literal["stop", "skip"] = "stop",
    progress: Callable[[int], object] = lambda images: None,
) -> None:
    """Fill a folder with the features of all images of the splits, one sub-folder per encoder and split.

    What is there already, from the same encoder and image processor, is kept.

    Raises:
        UserError: if the model's encoder learns, so that its features change.
    """
    if model.feature_shape is None:
        raise UserError(
            "training.features needs a frozen encoder: freeze the model's image encoder, or leave features out"
        )
    for split in splits:
        place = feature_folder(dataset, split, model, folder)
        if place.exists() and (on_bad_image == "skip" or _whole(dataset, split, place)):
            continue  # else an earlier run skipped images: read again, so that this one stops at the first
        batches = loader(
            dataset, split, model.process_images, IMAGES_AT_ONCE, workers=workers, on_bad_image=on_bad_image
        )
        with FeatureWriter(place, batches.length, *model.feature_shape, fingerprint=model.fingerprint) as writer:
            for batch in batches:
                assert batch.pixel_values is not None
                features = model.features(batch.pixel_values.to(model.device))
                writer.write(batch.image_ids, features.to("cpu", torch.float32).numpy())
                progress(len(batch))
            writer.leave_out([record.image_id for record in dataset.records(split)])
        if batches.skipped:
            logger.warning(
                "%d unreadable images have no features, such as %s", len(batches.skipped), batches.skipped[0]
            )


def _whole(dataset: CaptionDataset, split: str, place: Path) -> bool:
    return len(Features(dataset, place).records(split)) == len(dataset.records(split))


def feature_folder(dataset: CaptionDataset, split: str, model: Model, folder: Path) -> Path:
    """Where the features of a split lie: by encoder and by images, so that several runs can share the place."""
    digest = hashlib.sha256()
    for record in dataset.records(split):
        file = record.path.stat() if record.path is not None and record.path.exists() else None
        seen = (record.references,) if file is None else (file.st_size, file.st_mtime_ns)
        digest.update(repr((record.image_id, seen)).encode())
    return folder / model.fingerprint / f"{split}-{digest.hexdigest()[:12]}"


def open_features(dataset: CaptionDataset, split: str, model: Model, folder: Path) -> Features:
    """The data set with the features of a split in place of its images."""
    return Features(dataset, feature_folder(dataset, split, model, folder), fingerprint=model.fingerprint)
