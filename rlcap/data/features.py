"""Encoder features computed once and read ever after: a frozen encoder need not see an image twice.

A folder holds ``features.npy`` [images, regions, width] and ``index.json`` with the image ids in the array's order, the
ids of images left out as unreadable, and the fingerprint of what made the features (encoder, image size, preparation).
It is complete or absent.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rlcap.data.base import CaptionDataset, Record
from rlcap.types import UserError

ARRAY = "features.npy"
INDEX = "index.json"


class FeatureWriter:
    """Writes a folder of features: aside first, then renamed into place when every image has been written.

    ::

        with FeatureWriter("features", len(ids), 25, 1280, fingerprint=fingerprint) as writer:
            writer.write(ids[:8], array)  # and so on

    An earlier folder of features is replaced at the end; a folder with anything else in it is refused.
    """

    def __init__(
        self,
        folder: Path | str,
        images: int,
        regions: int,
        width: int,
        dtype: Literal["float16", "float32"] = "float16",
        *,
        fingerprint: str,
    ) -> None:
        if min(images, regions, width) < 1:
            raise UserError(
                f"features need at least 1 of each, got {images} images x {regions} regions x {width} width"
            )
        self.folder = Path(folder)
        if self.folder.exists() and (
            not self.folder.is_dir() or any(path.name not in (ARRAY, INDEX) for path in self.folder.iterdir())
        ):
            raise UserError(f"{self.folder} exists and holds more than features: choose another folder for them")
        self.fingerprint = fingerprint
        self._ids: dict[str, int] = {}
        self._left_out: set[str] = set()
        self._aside = self.folder.with_name(f".{self.folder.name}.{uuid4().hex}.partial")
        shutil.rmtree(self._aside, ignore_errors=True)
        self._aside.mkdir(parents=True)
        self._array = np.lib.format.open_memmap(
            self._aside / ARRAY, mode="w+", dtype=np.dtype(dtype), shape=(images, regions, width)
        )

    def write(self, image_ids: Sequence[str], features: NDArray[Any]) -> None:
        """Adds the features [images, regions, width] of these images."""
        images, *rest = self._array.shape
        if features.shape != (len(image_ids), *rest):
            raise UserError(
                f"features of {len(image_ids)} images must be {[len(image_ids), *rest]}, got {list(features.shape)}"
            )
        start = len(self._ids)
        if start + len(image_ids) > images:
            raise UserError(f"features were announced for {images} images, got {start + len(image_ids)}")
        for image_id in image_ids:
            if image_id in self._ids:
                raise UserError(f"features of image {image_id!r} were written twice")
            self._ids[image_id] = len(self._ids)
        with np.errstate(over="ignore"):
            written = features.astype(self._array.dtype)
        if not np.isfinite(written).all():
            raise UserError(f"features of {image_ids[0]!r} and after are not finite in {written.dtype}: write float32")
        self._array[start : start + len(image_ids)] = written

    def leave_out(self, image_ids: Sequence[str]) -> None:
        """Notes announced images that cannot be read; those among them that were written do not count."""
        self._left_out.update(image_id for image_id in image_ids if image_id not in self._ids)

    def close(self) -> None:
        """Puts the folder into place.

        Raises:
            UserError: if an image was neither written nor left out.
        """
        if len(self._ids) + len(self._left_out) != len(self._array):
            raise UserError(
                f"features of {len(self._ids)} images were written and {len(self._left_out)} left out, "
                f"{len(self._array)} were announced"
            )
        if not self._ids:
            raise UserError(f"no image has features to write into {self.folder}: none could be read")
        self._array.flush()
        index = {"fingerprint": self.fingerprint, "image_ids": list(self._ids), "left_out": sorted(self._left_out)}
        (self._aside / INDEX).write_text(json.dumps(index), encoding="utf-8")
        if self.folder.exists():
            old = self._aside.with_suffix(".old")
            self.folder.rename(old)
            self._aside.rename(self.folder)
            shutil.rmtree(old)
        else:
            try:
                self._aside.rename(self.folder)
            except OSError:
                if not (self.folder / INDEX).is_file():
                    raise  # otherwise another run wrote the same features first

    def discard(self) -> None:
        """Leaves things as they were before."""
        shutil.rmtree(self._aside, ignore_errors=True)

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.discard()


class Features(CaptionDataset):
    """A data set whose images come with features computed earlier.

    Args:
        dataset: the images and their captions; these are decoded only where something asks to see them.
        folder: what :class:`FeatureWriter` wrote; it may hold features of more images than the data set.
        fingerprint: what the features must have been made by; None takes any.
    """

    def __init__(self, dataset: CaptionDataset, folder: Path | str, fingerprint: str | None = None) -> None:
        self.dataset = dataset
        self.synonyms = dataset.synonyms
        self.folder = Path(folder)
        index = _read_index(self.folder)
        self.fingerprint: str = index["fingerprint"]
        self._rows = {image_id: row for row, image_id in enumerate(index["image_ids"])}
        self._left_out = frozenset(index["left_out"])
        self._array: NDArray[Any] | None = None
        rows = len(self._open())
        listed = len(self._rows) + len(self._left_out)
        if rows != listed:
            raise UserError(f"{self.folder} is damaged: {ARRAY} has {rows} images and {INDEX} {listed}: write it anew")
        if fingerprint is not None:
            self.require(fingerprint)

    @property
    def shape(self) -> tuple[int, int]:
        """Regions and width of an image's features."""
        _, regions, width = self._open().shape
        return regions, width

    def require(self, fingerprint: str) -> None:
        """Makes sure the features are of this encoder and preparation.

        Raises:
            UserError: if they are of another.
        """
        if self.fingerprint != fingerprint:
            raise UserError(
                f"features in {self.folder} were made by {self.fingerprint!r}, not by {fingerprint!r}: write them anew"
            )

    def records(self, split: str) -> Sequence[Record]:
        """The wrapped data set's records without those that were left out; each has features."""
        records = [record for record in self.dataset.records(split) if record.image_id not in self._left_out]
        missing = [record.image_id for record in records if record.image_id not in self._rows]
        if missing:
            raise UserError(
                f"{self.folder} has no features of {len(missing)} of the {len(records)} images of split {split!r}, "
                f"such as {missing[0]!r}: write them anew"
            )
        return records

    def features(self, record: Record) -> NDArray[Any]:
        """The record's features [regions, width], in the type they were written in."""
        return np.array(self._open()[self._rows[record.image_id]])

    def open_image(self, record: Record) -> Image.Image:
        """The record's image, from the wrapped data set."""
        return self.dataset.open_image(record)

    def _open(self) -> NDArray[Any]:
        if self._array is None:
            try:
                self._array = np.load(self.folder / ARRAY, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise UserError(f"cannot read features {self.folder / ARRAY}: {error}") from error
            if self._array.ndim != 3:
                raise UserError(
                    f"{self.folder / ARRAY} must be [images, regions, width], got {list(self._array.shape)}"
                )
        return self._array

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}  # a pickled memory map is the whole array


def _read_index(folder: Path) -> Mapping[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"no features in {folder}: {INDEX} is missing") from error
    except ValueError as error:
        raise UserError(f"cannot read {path}: {error}") from error
    kinds = {"fingerprint": str, "image_ids": list, "left_out": list}
    if not isinstance(index, dict) or not all(isinstance(index.get(key), kind) for key, kind in kinds.items()):
        raise UserError(f"{path} must hold {', '.join(kinds)}: write the features anew")
    return index
