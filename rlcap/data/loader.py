"""Batches of a split, read in worker processes, in an order that any step of a training run can be resumed from.

Evaluation passes over a split once, in its own order, each image exactly once. Training passes over it for ever, each
epoch in an order that follows from the seed and the epoch alone. With several processes each reads its share of every
batch, so that 2 processes of 16 images learn from the same 32 images as 1 process of 32.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rlcap.data.base import CaptionDataset, Record, UnreadableImageError
from rlcap.data.features import Features
from rlcap.types import Batch, UserError

Process = Callable[[list[Image.Image]], Tensor]


@dataclass(frozen=True)
class EpochOrder:
    """The order of one epoch: a permutation that follows from its seed and number alone."""

    length: int
    seed: int
    epoch: int

    def indices(self) -> NDArray[np.int64]:
        """Which image comes when."""
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.length)


def training_plan(order: EpochOrder, images_per_batch: int, rank: int = 0, world_size: int = 1) -> list[list[int]]:
    """The images of each batch of an epoch, for one process of several; every process has as many batches.

    Images that do not fill a last batch are left out; another epoch's order takes them in. A split too small for one
    batch is a batch by itself.
    """
    if order.length < world_size:
        raise UserError(f"{order.length} training images cannot be shared by {world_size} processes: use fewer")
    indices = order.indices().tolist()
    together = images_per_batch * world_size
    starts = range(0, max(1, order.length // together) * together, together)
    return [indices[start : start + together][rank::world_size] for start in starts]


def evaluation_plan(length: int, images_per_batch: int, rank: int = 0, world_size: int = 1) -> list[list[int]]:
    """The images of each batch of one pass, for one process of several; all together hold every image once."""
    share = range(rank, length, world_size)
    return [list(share[start : start + images_per_batch]) for start in range(0, len(share), images_per_batch)]


@dataclass(frozen=True)
class _Bad:
    """An image that could not be read. A worker returns it, since what it raises arrives wrapped in a traceback."""

    path: str
    message: str


@dataclass(frozen=True)
class _Read:
    """What a worker made of one batch of the plan: the readable images, if any, and the others."""

    batch: Batch | None
    bad: tuple[_Bad, ...]


class _Reader(Dataset[_Read]):
    """Reads a whole batch at an index that is a list of images. Lives in the worker processes."""

    def __init__(
        self, dataset: CaptionDataset, records: Sequence[Record], process: Process | None, with_images: bool
    ) -> None:
        self.dataset = dataset
        self.records = records
        self.process = None if isinstance(dataset, Features) else process
        self.with_images = with_images

    def __getitem__(self, indices: Sequence[int]) -> _Read:
        records, images, bad = [self.records[index] for index in indices], [], []
        if self.process is not None or self.with_images:
            chosen, records = records, []
            for record in chosen:
                try:
                    images.append(self.dataset.open_image(record))
                    records.append(record)
                except UnreadableImageError as error:
                    bad.append(_Bad(str(record.path or record.image_id), str(error)))
        return _Read(self._batch(records, images) if records else None, tuple(bad))

    def _batch(self, records: Sequence[Record], images: list[Image.Image]) -> Batch:
        features = None
        if isinstance(self.dataset, Features):
            features = torch.from_numpy(np.stack([self.dataset.features(record) for record in records])).float()
        return Batch(
            image_ids=tuple(record.image_id for record in records),
            references=tuple(record.references for record in records),
            pixel_values=None if self.process is None else self.process(images),
            features=features,
            images=tuple(images) if self.with_images else None,
            metadata=tuple(record.metadata for record in records),
        )


class BatchLoader:
    """One pass over a split at each iteration; made by :func:`loader`.

    Attributes:
        length: images in the split, in all processes together.
        skipped: the paths of the images that were left out because they could not be read, each once.
    """

    def __init__(
        self,
        reader: _Reader,
        plan: Sequence[Sequence[int]],
        *,
        images_per_batch: int,
        workers: int,
        on_bad_image: Literal["stop", "skip"],
        share: tuple[int, int],
    ) -> None:
        self.length = len(reader.records)
        self.images_per_batch = images_per_batch
        self.rank, self.world_size = share
        self.skipped: list[str] = []
        self._reader = reader
        self._plan = plan
        self._workers = workers
        self._on_bad_image = on_bad_image

    def __len__(self) -> int:
        """Batches of one pass."""
        return len(self._plan)

    def __iter__(self) -> Iterator[Batch]:
        for read in self._reading(self._plan):
            self._note(read)
            if read.batch is not None:
                yield read.batch

    def endless(self, seed: int, start_step: int) -> Generator[tuple[int, Batch], None, None]:
        """Training batches with their epochs; see :func:`training_batches`."""
        per_epoch = len(training_plan(self._order(seed, 0), self.images_per_batch, self.rank, self.world_size))
        epoch, batch = divmod(start_step, per_epoch)
        for step, read in enumerate(self._reading(self._endless_plan(seed, epoch, batch)), start=start_step):
            self._note(read)
            if read.batch is None:  # to go on would shift every later batch against an uninterrupted run
                raise UnreadableImageError(f"no image of training batch {step + 1} is readable: {read.bad[0].message}")
            yield step // per_epoch, read.batch

    def _order(self, seed: int, epoch: int) -> EpochOrder:
        return EpochOrder(self.length, seed, epoch)

    def _endless_plan(self, seed: int, epoch: int, batch: int) -> Iterator[list[int]]:
        for later in count(epoch):
            plan = training_plan(self._order(seed, later), self.images_per_batch, self.rank, self.world_size)
            yield from plan[batch if later == epoch else 0 :]

    def _reading(self, plan: Iterable[Sequence[int]]) -> DataLoader[_Read]:
        """Reads the plan; workers run one thread each, as DataLoader sees to.

        On Linux they are forked whatever Python's default, so that they share what the data set holds in memory and
        need not be sent the policy whose method ``process`` may be.
        """
        return DataLoader(
            self._reader,
            batch_size=None,
            sampler=plan,
            num_workers=self._workers,
            collate_fn=_as_it_is,
            worker_init_fn=_Worker(os.getpid()),
            multiprocessing_context="fork" if self._workers > 0 and sys.platform == "linux" else None,
            generator=torch.Generator(),  # else each pass draws a number from the global one
        )

    def _note(self, read: _Read) -> None:
        if read.bad and self._on_bad_image == "stop":
            raise UnreadableImageError(f"{read.bad[0].message} (on_bad_image: skip leaves such images out)")
        self.skipped += [bad.path for bad in read.bad if bad.path not in self.skipped]


@dataclass(frozen=True)
class _Worker:
    """Makes a process one that reads for its parent, and ends when the parent has, however that came about."""

    parent: int

    def __call__(self, worker: int) -> None:
        # Ctrl-C and SIGTERM reach every process of a group; the loop decides when to stop, and reads on until then.
        for kind in (signal.SIGINT, signal.SIGTERM):
            signal.signal(kind, signal.SIG_IGN)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while os.getppid() == self.parent:
            time.sleep(1.0)
        os._exit(1)  # it may be stuck handing over an image that nobody takes


def _as_it_is(value: Any) -> Any:
    return value


def loader(
    dataset: CaptionDataset,
    split: str,
    process: Process | None,
    images_per_batch: int,
    *,
    order: EpochOrder | None = None,
    workers: int = 0,
    with_images: bool = False,
    on_bad_image: Literal["stop", "skip"] = "stop",
    rank: int = 0,
    world_size: int = 1,
) -> BatchLoader:
    """The batches of one pass over a split.

    Args:
        dataset: where the images are from. When it is :class:`Features` batches hold these instead of pixel values.
        split: which of its splits.
        process: makes pixel values of images, in the worker processes; None leaves images unread, or unprocessed.
        images_per_batch: for this process; all processes together read ``world_size`` times as many.
        order: None passes over every image in the data set's order; an epoch's order passes over that epoch's full
            batches, as training does.
        workers: processes that read ahead; 0 reads here, when a batch is asked for.
        with_images: whether batches hold the decoded images too, for rewards that look at them.
        on_bad_image: ``stop`` raises at the first image that cannot be read, ``skip`` leaves it out and keeps its path
            in ``skipped``.
        rank: which of several processes this is.
        world_size: how many there are.

    Raises:
        UnreadableImageError: while iterating, if an image cannot be read.
    """
    records = dataset.records(split)
    if not records:
        raise UserError(f"split {split!r} holds no images")
    if images_per_batch < 1:
        raise UserError(f"images_per_batch must be 1 or more, got {images_per_batch}")
    if workers < 0:
        raise UserError(f"workers must be 0 (read in this process) or more, got {workers}")
    if not 0 <= rank < world_size:
        raise UserError(f"rank must be from 0 to world_size - 1 = {world_size - 1}, got {rank}")
    if order is not None and order.length != len(records):
        raise UserError(f"order is of {order.length} images, but split {split!r} holds {len(records)}")
    if order is None:
        plan = evaluation_plan(len(records), images_per_batch, rank, world_size)
    else:
        plan = training_plan(order, images_per_batch, rank, world_size)
    return BatchLoader(
        _Reader(dataset, records, process, with_images),
        plan,
        images_per_batch=images_per_batch,
        workers=workers,
        on_bad_image=on_bad_image,
        share=(rank, world_size),
    )


def training_batches(batches: BatchLoader, seed: int, start_step: int = 0) -> Generator[tuple[int, Batch], None, None]:
    """Batches for ever: the epoch, counted from 0, and the batch of step ``start_step + 1``, and so on.

    Epoch e is in the order ``EpochOrder(length, seed, e)``, so a run resumed after step k gets what the uninterrupted
    run got at step k + 1, and nothing before it is read. In an epoch of training every batch is full, unless the whole
    split is smaller than one. An image left out by ``on_bad_image="skip"`` makes its batch smaller. The same worker
    processes read all epochs; ``close()`` ends them.

    Args:
        batches: the split, from :func:`loader`; its ``order`` plays no part.
        seed: of the orders.
        start_step: steps already taken.
    """
    if start_step < 0:
        raise UserError(f"start_step must be 0 or more, got {start_step}")
    return batches.endless(seed, start_step)
