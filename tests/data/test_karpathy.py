"""Karpathy's format: splits, captions, and finding the images."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rlcap.data.base import UnreadableImageError
from rlcap.data.karpathy import Karpathy
from rlcap.types import UserError


def entry(filename: str, split: str, *captions: str, **more: Any) -> dict[str, Any]:
    return {"filename": filename, "split": split, "sentences": [{"raw": caption} for caption in captions], **more}


def write(folder: Path, *entries: Any) -> tuple[Path, Path]:
    (folder / "images").mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({"images": list(entries)}))
    return folder / "dataset.json", folder / "images"


def test_splits_and_raw_captions(tmp_path: Path) -> None:
    dataset = Karpathy(
        *write(
            tmp_path,
            entry("a.jpg", "train", " A Dog. ", "Two dogs"),
            entry("b.jpg", "restval", "a cat"),
            entry("c.jpg", "val", "a cow"),
            entry("d.jpg", "test", "a hen"),
        )
    )
    assert [record.image_id for record in dataset.records("train")] == ["a", "b"]  # restval is trained on
    assert dataset.records("train")[0].references == ("A Dog.", "Two dogs")
    assert [record.image_id for record in dataset.records("val")] == ["c"]
    assert [record.image_id for record in dataset.records("test")] == ["d"]
    with pytest.raises(UserError, match=r"no split 'restval' in .*; there are train, val, test"):
        dataset.records("restval")


def test_coco_ids_and_folders(tmp_path: Path) -> None:
    files = write(tmp_path, entry("x_42.jpg", "test", "a cat", cocoid=42, imgid=0, filepath="val2014"))
    (tmp_path / "images" / "val2014").mkdir()
    Image.new("RGB", (4, 3), "red").save(tmp_path / "images" / "val2014" / "x_42.jpg")
    (record,) = Karpathy(*files).records("test")
    assert record.image_id == "42"
    assert Karpathy(*files).open_image(record).size == (4, 3)


def test_further_fields_are_metadata(tmp_path: Path) -> None:
    known = {"category": "sports", "people": 3, "objects": ["dog", "ball"]}
    more = {**known, "box": [1, 2], "cocoid": 7, "imgid": 0, "sentids": [0]}
    first, second = Karpathy(
        *write(tmp_path, entry("a.jpg", "test", "x", **more), entry("b.jpg", "test", "y"))
    ).records("test")
    assert first.metadata == known
    assert second.metadata == {}


def test_gzipped_file_and_images_of_another_ending(tmp_path: Path) -> None:
    annotations, images = write(tmp_path, entry("a.jpg", "train", "x"), entry("b.jpg", "train", "y"))
    zipped = tmp_path / "dataset.json.gz"
    zipped.write_bytes(gzip.compress(annotations.read_bytes()))
    Image.new("L", (5, 5)).save(images / "a.png")
    Image.new("L", (6, 6)).save(images / "a.webp")
    (images / "a.json").write_text("{}")
    Image.new("L", (7, 7)).save(images / "b.jpg")
    Image.new("L", (8, 8)).save(images / "b.gif")
    dataset = Karpathy(zipped, images)
    first, second = dataset.records("train")
    assert dataset.open_image(first).size == (5, 5)  # the first of the two by name
    assert dataset.open_image(second).size == (7, 7)  # the very name, where it is there
    assert dataset.open_image(first).mode == "RGB"


def test_a_missing_image_is_named_when_it_is_opened(tmp_path: Path) -> None:
    dataset = Karpathy(*write(tmp_path, entry("a.jpg", "train", "x", filepath="nowhere")))
    with pytest.raises(UnreadableImageError, match=r"cannot read image .*images/nowhere/a\.jpg: no such file"):
        dataset.open_image(dataset.records("train")[0])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ((), "at least one image"),
        (({"filename": "a.jpg"},), r"image number 0 is not in Karpathy's format: KeyError\('sentences'\)"),
        (("a.jpg",), "image number 0 is not in Karpathy's format"),
        ((entry("a.jpg", "train", "x"), entry("a.png", "val", "y")), "image number 1 has the id 'a' of an earlier one"),
        ((entry("a.jpg", "train", " "),), "image 'a' has no caption"),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, entries: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Karpathy(*write(tmp_path, *entries))


def test_missing_and_broken_files(tmp_path: Path) -> None:
    annotations, images = write(tmp_path, entry("a.jpg", "train", "x"))
    with pytest.raises(UserError, match="images: no folder"):
        Karpathy(annotations, tmp_path / "pictures")
    with pytest.raises(UserError, match="annotations: no file"):
        Karpathy(tmp_path / "none.json", images)
    for name, content in {"a.json": b"{", "b.json.gz": b"{}", "c.json.gz": gzip.compress(b"{}")[:-9]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"cannot read annotations .*{name}"):
            Karpathy(tmp_path / name, images)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UserError, match="not in Karpathy's format"):
        Karpathy(tmp_path / "list.json", images)


def test_flickr8k(real_data: Path) -> None:
    dataset = Karpathy(real_data / "flickr8k" / "dataset_flickr8k.json.gz", real_data / "flickr8k" / "images")
    splits = {split: dataset.records(split) for split in ("train", "val", "test")}
    assert {split: len(records) for split, records in splits.items()} == {"train": 6000, "val": 1000, "test": 1000}
    records = [record for split in splits.values() for record in split]
    assert len({record.image_id for record in records}) == 8000
    assert all(len(record.references) == 5 and record.path is not None and record.path.exists() for record in records)
    assert splits["train"][0].image_id == "1000268201_693b08cb0e"
    assert dataset.open_image(splits["test"][-1]).size == (160, 160)
