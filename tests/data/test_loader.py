"""Batches: each image once, orders that can be resumed, shares that add up, and images that cannot be read."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rlcap.data.base import CaptionDataset, Record, UnreadableImageError
from rlcap.data.features import Features, FeatureWriter
from rlcap.data.karpathy import Karpathy
from rlcap.data.loader import BatchLoader, EpochOrder, evaluation_plan, loader, training_batches, training_plan
from rlcap.data.shapes import Shapes
from rlcap.types import Batch, UserError


def process(images: list[Image.Image]) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2) / 255


def ids(batches: Sequence[Batch]) -> list[tuple[str, ...]]:
    return [batch.image_ids for batch in batches]


def steps(batches: BatchLoader, number: int, start_step: int = 0, seed: int = 5) -> list[tuple[int, Batch]]:
    return list(islice(training_batches(batches, seed, start_step), number))


class Noted(CaptionDataset):
    """Photos in a folder; notes which were opened."""

    def __init__(self, folder: Path, length: int) -> None:
        self.opened: list[str] = []
        self._records = [
            Record(str(number), (f"photo {number}",), folder / f"{number}.png") for number in range(length)
        ]
        for record in self._records:
            assert record.path is not None
            Image.new("RGB", (4, 4), (int(record.image_id), 0, 0)).save(record.path)

    def records(self, split: str) -> Sequence[Record]:
        return self._records if split == "train" else []

    def open_image(self, record: Record) -> Image.Image:
        self.opened.append(record.image_id)
        return super().open_image(record)


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return Shapes(train=20, val=7, test=0)


@pytest.fixture
def broken(tmp_path: Path) -> Noted:
    """Of ten photos, number 3 is missing and number 6 is cut short."""
    dataset = Noted(tmp_path, 10)
    (tmp_path / "3.png").unlink()
    (tmp_path / "6.png").write_bytes((tmp_path / "6.png").read_bytes()[:50])
    return dataset


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_reads_every_image_once_in_order(shapes: Shapes, workers: int) -> None:
    batches = loader(shapes, "val", process, 3, workers=workers)
    assert len(batches) == 3
    for _ in range(2):  # a second pass is like the first
        found = list(batches)
        assert [len(batch) for batch in found] == [3, 3, 1]
        assert [name for batch in found for name in batch.image_ids] == [r.image_id for r in shapes.records("val")]
        for batch in found:
            assert batch.images is None
            assert batch.features is None
            assert batch.pixel_values is not None
            for row, name in enumerate(batch.image_ids):
                record = shapes.records("val")[int(name[-5:])]
                assert batch.references[row] == record.references
                assert batch.metadata[row] == record.metadata
                assert batch.pixel_values[row].equal(process([shapes.open_image(record)])[0])


@pytest.mark.parametrize("workers", [0, 1])
def test_images_for_rewards(shapes: Shapes, workers: int) -> None:
    batch = next(iter(loader(shapes, "val", process, 2, workers=workers, with_images=True)))
    assert batch.images is not None
    assert [image.tobytes() for image in batch.images] == [
        shapes.open_image(record).tobytes() for record in shapes.records("val")[:2]
    ]


def test_without_a_process_nothing_is_opened(tmp_path: Path) -> None:
    dataset = Noted(tmp_path, 3)
    (batch,) = loader(dataset, "train", None, 5)
    assert batch.pixel_values is None
    assert batch.references == (("photo 0",), ("photo 1",), ("photo 2",))
    assert dataset.opened == []


def test_an_order_is_a_permutation_of_its_seed_and_epoch() -> None:
    order = EpochOrder(50, seed=1, epoch=2).indices()
    assert sorted(order) == list(range(50))
    assert order.tolist() == EpochOrder(50, seed=1, epoch=2).indices().tolist()
    assert order.tolist() != EpochOrder(50, seed=1, epoch=3).indices().tolist()
    assert order.tolist() != EpochOrder(50, seed=2, epoch=1).indices().tolist()


@pytest.mark.parametrize("length", [1, 7, 8, 9])
@pytest.mark.parametrize("world_size", [1, 2, 3, 9])
def test_shares_of_evaluation_hold_every_image_once(length: int, world_size: int) -> None:
    plans = [evaluation_plan(length, 2, rank, world_size) for rank in range(world_size)]
    assert sorted(index for plan in plans for batch in plan for index in batch) == list(range(length))
    assert all(0 < len(batch) <= 2 for plan in plans for batch in plan)


def test_two_processes_share_the_batches_of_one() -> None:
    order = EpochOrder(21, seed=0, epoch=0)
    one = training_plan(order, 6)
    shares = [training_plan(order, 3, rank, 2) for rank in range(2)]
    assert [len(batch) for batch in one] == [6, 6, 6]  # 3 images of 21 sit this epoch out
    assert [sorted(first + second) for first, second in zip(*shares, strict=True)] == [sorted(batch) for batch in one]
    assert all(len(batch) == 3 for share in shares for batch in share)
    assert len({index for batch in one for index in batch}) == 18


def test_a_split_smaller_than_a_batch_is_a_batch() -> None:
    order = EpochOrder(5, seed=0, epoch=0)
    assert [sorted(batch) for batch in training_plan(order, 8)] == [[0, 1, 2, 3, 4]]
    shares = [training_plan(order, 8, rank, 2) for rank in range(2)]
    assert sorted(index for share in shares for batch in share for index in batch) == [0, 1, 2, 3, 4]
    with pytest.raises(UserError, match="5 training images cannot be shared by 6 processes"):
        training_plan(order, 8, 0, 6)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_gets_what_the_uninterrupted_run_got(shapes: Shapes, workers: int) -> None:
    batches = loader(shapes, "train", process, 6, workers=workers)
    whole = steps(batches, 10)
    assert [epoch for epoch, _ in whole] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    for start in (1, 3, 5):
        resumed = steps(loader(shapes, "train", process, 6), 10 - start, start_step=start)
        for (epoch, batch), (same_epoch, same) in zip(whole[start:], resumed, strict=True):
            assert epoch == same_epoch
            assert batch.image_ids == same.image_ids
            assert batch.pixel_values is not None
            assert same.pixel_values is not None
            assert batch.pixel_values.equal(same.pixel_values)
    for epoch in range(3):
        seen = [name for number, batch in whole if number == epoch for name in batch.image_ids]
        assert len(set(seen)) == 18
        assert ids([batch for number, batch in whole if number == epoch]) == ids(
            list(loader(shapes, "train", process, 6, order=EpochOrder(20, 5, epoch)))
        )


def test_nothing_before_the_first_step_is_read(tmp_path: Path) -> None:
    dataset = Noted(tmp_path, 6)
    ((epoch, batch),) = steps(loader(dataset, "train", process, 2), 1, start_step=1_000_001)
    assert epoch == 333_333
    assert dataset.opened == list(batch.image_ids)


def test_training_shares_add_up(shapes: Shapes) -> None:
    whole = steps(loader(shapes, "train", process, 8), 5)
    shares = [steps(loader(shapes, "train", process, 4, rank=rank, world_size=2), 5) for rank in range(2)]
    for (epoch, batch), (_, first), (_, second) in zip(whole, *shares, strict=True):
        assert sorted(batch.image_ids) == sorted(first.image_ids + second.image_ids), epoch


def test_global_random_state_is_left_alone(shapes: Shapes) -> None:
    before = torch.get_rng_state()
    for workers in (0, 1):
        list(loader(shapes, "val", process, 4, workers=workers))
        steps(loader(shapes, "train", process, 4, workers=workers), 3)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_stops_in_one_line(broken: Noted, workers: int) -> None:
    batches = loader(broken, "train", process, 2, workers=workers)
    with pytest.raises(UnreadableImageError) as caught:
        list(batches)
    message = str(caught.value)
    assert message == (
        f"cannot read image {broken.records('train')[3].path}: no such file (on_bad_image: skip leaves such images out)"
    )
    assert batches.skipped == []
    with pytest.raises(UnreadableImageError, match=r"cannot read image .*/[36]\.png"):
        steps(batches, 5)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_images_are_skipped_and_kept_count_of(broken: Noted, workers: int) -> None:
    batches = loader(broken, "train", process, 2, workers=workers, on_bad_image="skip", with_images=True)
    for _ in range(2):
        found = list(batches)
        assert ids(found) == [("0", "1"), ("2",), ("4", "5"), ("7",), ("8", "9")]
        assert all(batch.images is not None and len(batch.images) == len(batch) for batch in found)
        assert all(batch.pixel_values is not None and len(batch.pixel_values) == len(batch) for batch in found)
        assert [Path(path).name for path in batches.skipped] == ["3.png", "6.png"]  # once, however many passes


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_of_bad_images_only(broken: Noted, workers: int) -> None:
    batches = loader(broken, "train", process, 1, workers=workers, on_bad_image="skip")
    assert len(list(batches)) == 8  # evaluation goes on without it
    with pytest.raises(UnreadableImageError, match=r"no image of training batch \d+ is readable: cannot read image"):
        steps(batches, 10)


def test_skipping_keeps_the_order_of_training(broken: Noted) -> None:
    batches = loader(broken, "train", process, 5, on_bad_image="skip")
    whole = steps(batches, 6)
    assert ids([batch for _, batch in whole[3:]]) == ids([batch for _, batch in steps(batches, 3, start_step=3)])
    assert sorted(name for _, batch in whole[:2] for name in batch.image_ids) == list("01245789")


@pytest.mark.parametrize("workers", [0, 2])
def test_features_spare_the_images(tmp_path: Path, workers: int) -> None:
    photos = Noted(tmp_path, 5)
    array = np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)
    with FeatureWriter(tmp_path / "features", 5, 2, 3, fingerprint="x") as writer:
        writer.write([record.image_id for record in photos.records("train")], array)
    for record in photos.records("train"):
        assert record.path is not None
        record.path.unlink()
    dataset = Features(photos, tmp_path / "features")
    found = list(loader(dataset, "train", process, 2, workers=workers))
    assert all(batch.pixel_values is None and batch.features is not None for batch in found)
    features = torch.cat([batch.features for batch in found if batch.features is not None])
    assert features.dtype == torch.float32
    np.testing.assert_array_equal(features.numpy(), array)
    with pytest.raises(UnreadableImageError, match="no such file"):
        list(loader(dataset, "train", process, 2, workers=workers, with_images=True))


def threads(images: list[Image.Image]) -> torch.Tensor:
    return torch.full((len(images), 3, 1, 1), float(torch.get_num_threads()))


def test_workers_use_one_thread(shapes: Shapes) -> None:
    batch = next(iter(loader(shapes, "val", threads, 2, workers=1)))
    assert batch.pixel_values is not None
    assert batch.pixel_values.unique().tolist() == [1.0]


READER = """
import os
import torch
from rlcap.data.loader import loader, training_batches
from rlcap.data.shapes import Shapes

if __name__ == "__main__":
    batches = loader(Shapes(train=64, val=1, test=1), "train", None, 32, workers=2, with_images=True)
    stream = training_batches(batches, 0)
    next(stream)
    children = open(f"/proc/self/task/{os.getpid()}/children").read()
    print(children, flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="children are found through /proc")
def test_workers_end_with_a_parent_that_is_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", READER], env=environment, stdout=subprocess.PIPE, text=True, timeout=60
    )
    children = [int(number) for number in done.stdout.split()]
    assert len(children) >= 2
    deadline = time.monotonic() + 20
    while alive := [number for number in children if Path(f"/proc/{number}").exists()]:
        assert time.monotonic() < deadline, f"still there: {alive}"
        time.sleep(0.1)


def test_mistakes(shapes: Shapes) -> None:
    with pytest.raises(UserError, match="no split 'dev'"):
        loader(shapes, "dev", process, 2)
    with pytest.raises(UserError, match="split 'test' holds no images"):
        loader(shapes, "test", process, 2)
    with pytest.raises(UserError, match="images_per_batch must be 1 or more, got 0"):
        loader(shapes, "val", process, 0)
    with pytest.raises(UserError, match="workers must be 0"):
        loader(shapes, "val", process, 1, workers=-1)
    with pytest.raises(UserError, match=r"rank must be from 0 to world_size - 1 = 1, got 2"):
        loader(shapes, "val", process, 1, rank=2, world_size=2)
    with pytest.raises(UserError, match="order is of 20 images, but split 'val' holds 7"):
        loader(shapes, "val", process, 1, order=EpochOrder(20, 0, 0))
    with pytest.raises(UserError, match="start_step must be 0 or more"):
        training_batches(loader(shapes, "val", process, 1), 0, -1)


def small(images: list[Image.Image]) -> torch.Tensor:
    return process([image.resize((32, 32)) for image in images])


def test_flickr8k(real_data: Path) -> None:
    dataset = Karpathy(real_data / "flickr8k" / "dataset_flickr8k.json.gz", real_data / "flickr8k" / "images")
    found = list(loader(dataset, "val", small, 64, workers=2))
    assert sum(len(batch) for batch in found) == 1000
    assert all(batch.pixel_values is not None and batch.pixel_values.shape[1:] == (3, 32, 32) for batch in found)
    first = steps(loader(dataset, "train", small, 16, workers=2), 3)
    assert ids([batch for _, batch in first[2:]]) == ids(
        [batch for _, batch in steps(loader(dataset, "train", small, 16), 1, start_step=2)]
    )
