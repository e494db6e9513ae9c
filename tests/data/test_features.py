"""Stored features: what is written comes back, and only whole and for the right encoder."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from rlcap.data.features import Features, FeatureWriter
from rlcap.data.shapes import Shapes
from rlcap.types import UserError


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return Shapes(train=6, val=2, test=2)


def write(folder: Path, ids: list[str], fingerprint: str = "encoder A", offset: float = 0.0) -> np.ndarray:
    features = np.random.default_rng(0).standard_normal((len(ids), 3, 4)).astype(np.float32) + np.float32(offset)
    with FeatureWriter(folder, len(ids), 3, 4, "float32", fingerprint=fingerprint) as writer:
        for start in range(0, len(ids), 4):
            writer.write(ids[start : start + 4], features[start : start + 4])
    return features


def ids_of(shapes: Shapes, *splits: str) -> list[str]:
    return [record.image_id for split in splits for record in shapes.records(split)]


def test_what_is_written_comes_back(tmp_path: Path, shapes: Shapes) -> None:
    written = write(tmp_path / "features", ids_of(shapes, "val", "train"))
    dataset = Features(shapes, tmp_path / "features", fingerprint="encoder A")
    assert dataset.shape == (3, 4)
    assert dataset.synonyms == shapes.synonyms != ()
    for row, record in enumerate([*dataset.records("val"), *dataset.records("train")]):
        np.testing.assert_array_equal(dataset.features(record), written[row])
        assert dataset.open_image(record) == shapes.open_image(record)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features"]  # nothing is left aside


def test_images_without_features_are_named(tmp_path: Path, shapes: Shapes) -> None:
    write(tmp_path / "features", ids_of(shapes, "train"))
    dataset = Features(shapes, tmp_path / "features")
    with pytest.raises(UserError, match="no features of 2 of the 2 images of split 'val', such as 'val-00000'"):
        dataset.records("val")


def test_stale_features_are_refused(tmp_path: Path, shapes: Shapes) -> None:
    write(tmp_path / "features", ids_of(shapes, "train"))
    with pytest.raises(UserError, match=r"were made by 'encoder A', not by 'encoder B': write them anew"):
        Features(shapes, tmp_path / "features", fingerprint="encoder B")
    dataset = Features(shapes, tmp_path / "features")
    assert dataset.fingerprint == "encoder A"
    with pytest.raises(UserError, match="encoder B"):
        dataset.require("encoder B")


def test_complete_or_absent(tmp_path: Path, shapes: Shapes) -> None:
    folder = tmp_path / "deep" / "features"

    def write_one_of(images: int, error: type[Exception] | None = None) -> None:
        with FeatureWriter(folder, images, 3, 4, fingerprint="x") as writer:
            writer.write(["a"], np.zeros((1, 3, 4)))
            if error is not None:
                raise error

    with pytest.raises(UserError, match="features of 1 images were written and 0 left out, 2 were announced"):
        write_one_of(2)
    with pytest.raises(ZeroDivisionError):
        write_one_of(1, ZeroDivisionError)
    assert list(folder.parent.iterdir()) == []
    with pytest.raises(UserError, match=r"no features in .*features: index\.json is missing"):
        Features(shapes, folder)


def test_unreadable_images_are_left_out(tmp_path: Path, shapes: Shapes) -> None:
    ids = ids_of(shapes, "train")
    with FeatureWriter(tmp_path / "features", 6, 3, 4, fingerprint="x") as writer:
        writer.write(ids[:3], np.zeros((3, 3, 4)))
        writer.write(ids[4:], np.ones((2, 3, 4)))
        writer.leave_out(ids)
    dataset = Features(shapes, tmp_path / "features")
    assert [record.image_id for record in dataset.records("train")] == ids[:3] + ids[4:]
    assert [dataset.features(record).mean() for record in dataset.records("train")] == [0, 0, 0, 1, 1]
    writer = FeatureWriter(tmp_path / "none", 6, 3, 4, fingerprint="x")
    writer.leave_out(ids)
    with pytest.raises(UserError, match="none could be read"):
        writer.close()
    writer.discard()


def test_earlier_features_are_replaced_at_the_end_and_nothing_else_is(tmp_path: Path, shapes: Shapes) -> None:
    folder, ids = tmp_path / "features", ids_of(shapes, "train")
    before = write(folder, ids)
    with pytest.raises(UserError, match="were written"), FeatureWriter(folder, 6, 3, 4, fingerprint="y"):
        pass
    np.testing.assert_array_equal(Features(shapes, folder).features(shapes.records("train")[0]), before[0])
    after = write(folder, ids, "encoder B", offset=1.0)
    np.testing.assert_array_equal(Features(shapes, folder, "encoder B").features(shapes.records("train")[0]), after[0])
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="holds more than features"):
        FeatureWriter(folder, 6, 3, 4, fingerprint="z")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features"]


def test_mistakes_of_the_writer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least 1 of each"):
        FeatureWriter(tmp_path / "features", 1, 0, 4, fingerprint="x")
    writer = FeatureWriter(tmp_path / "features", 2, 3, 4, fingerprint="x")
    with pytest.raises(UserError, match=r"of 1 images must be \[1, 3, 4\], got \[1, 4, 3\]"):
        writer.write(["a"], np.zeros((1, 4, 3)))
    with pytest.raises(UserError, match=r"not finite in float16: write float32"):
        writer.write(["a"], np.full((1, 3, 4), 1e5))
    with pytest.raises(UserError, match="'a' were written twice"):
        writer.write(["a"], np.zeros((1, 3, 4)))
    with pytest.raises(UserError, match="announced for 2 images, got 3"):
        writer.write(["b", "c"], np.zeros((2, 3, 4)))
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_damaged_folders(tmp_path: Path, shapes: Shapes) -> None:
    folder = tmp_path / "features"
    write(folder, ids_of(shapes, "train"))
    index = json.loads((folder / "index.json").read_text())
    for content, message in {
        "{": "cannot read .*index.json",
        "[]": "must hold fingerprint, image_ids, left_out",
        json.dumps(
            {**index, "image_ids": index["image_ids"][1:]}
        ): "damaged: features.npy has 6 images and index.json 5",
    }.items():
        (folder / "index.json").write_text(content)
        with pytest.raises(UserError, match=message):
            Features(shapes, folder)
    (folder / "index.json").write_text(json.dumps(index))
    for array, message in {(6, 3): r"must be \[images, regions, width\], got \[6, 3\]"}.items():
        np.save(folder / "features.npy", np.zeros(array))
        with pytest.raises(UserError, match=message):
            Features(shapes, folder)
    np.save(folder / "features.npy", np.array([{}] * 6), allow_pickle=True)
    with pytest.raises(UserError, match="cannot read features"):
        Features(shapes, folder)
    (folder / "features.npy").write_bytes(b"")
    with pytest.raises(UserError, match="cannot read features"):
        Features(shapes, folder)


def test_a_copy_carries_no_array(tmp_path: Path) -> None:
    shapes = Shapes(train=2, val=0, test=0)
    with FeatureWriter(tmp_path / "features", 2, 100, 100, fingerprint="x") as writer:
        writer.write(ids_of(shapes, "train"), np.ones((2, 100, 100)))
    dataset = Features(shapes, tmp_path / "features")
    assert len(pickle.dumps(dataset)) < 2000
    assert copy.copy(dataset).features(shapes.records("train")[1]).sum() == 10000
    assert dataset.features(shapes.records("train")[0]).dtype == np.float16
