"""The synthetic set: what its references say is true, and its pictures show it."""

import copy
import pickle
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from rlcap.data.base import Record, UnreadableImageError
from rlcap.data.shapes import COLORS, Shapes
from rlcap.types import UserError

SHAPES = {
    "circle": "circle",
    "disc": "circle",
    "square": "square",
    "box": "square",
    "triangle": "triangle",
    "star": "star",
}
SIZES = {"large": "large", "big": "large", "small": "small", "little": "small"}
NOUN = rf"an? (?:({'|'.join(SIZES)}) )?(?:({'|'.join(COLORS)}) )?({'|'.join(SHAPES)})"
WHERE = "(?:to the )?(?:left|right) of|above|over|below|under"
TELLING = re.compile(rf"(?:there is )?(?P<first>{NOUN})(?: is)? (?P<where>{WHERE}) (?P<second>{NOUN})")
LIST = re.compile(rf"(?:there is )?{NOUN}(?: and {NOUN})*")


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return Shapes(train=600, val=150, test=150)


def fits(phrase: str, item: Mapping[str, Any]) -> bool:
    size, color, shape = re.fullmatch(NOUN, phrase).groups()  # type: ignore[union-attr]
    return (
        SHAPES[shape] == item["shape"]
        and (color is None or color == item["color"])
        and (size is None or SIZES[size] == item["size"])
    )


def lies(first: Mapping[str, Any], where: str, second: Mapping[str, Any]) -> bool:
    """Whether it does, by the coordinates; the relations that the scene names are not consulted."""
    right, down = np.subtract(second["center"], first["center"])
    match where.removeprefix("to the "):
        case "left of":
            return right > abs(down)
        case "right of":
            return -right > abs(down)
        case "above" | "over":
            return down > abs(right)
        case _:
            return -down > abs(right)


def is_true(caption: str, objects: Sequence[Mapping[str, Any]]) -> bool:
    if told := TELLING.fullmatch(caption):
        return any(
            fits(told["first"], first) and fits(told["second"], second) and lies(first, told["where"], second)
            for first in objects
            for second in objects
            if first is not second
        )
    assert LIST.fullmatch(caption), f"not of the grammar: {caption}"
    phrases = [found.group() for found in re.finditer(NOUN, caption)]
    return len(phrases) == len(objects) and all(any(fits(phrase, item) for item in objects) for phrase in phrases)


def everything(shapes: Shapes) -> list[Record]:
    return [record for split in ("train", "val", "test") for record in shapes.records(split)]


def test_every_reference_is_true(shapes: Shapes) -> None:
    for record in everything(shapes):
        for caption in record.references:
            assert is_true(caption, record.metadata["scene"]["objects"]), (caption, record.metadata["scene"])


def test_the_checker_knows_untruth() -> None:
    objects = [
        {"shape": "circle", "color": "red", "size": "large", "center": [0.2, 0.5]},
        {"shape": "star", "color": "orange", "size": "small", "center": [0.8, 0.5]},
    ]
    assert is_true("a big red disc is to the left of an orange star", objects)
    assert not is_true("a big red disc right of an orange star", objects)
    assert not is_true("a small red circle left of a star", objects)
    assert not is_true("there is a blue star and a circle", objects)


def test_named_relations_are_true_and_told_from_both_sides(shapes: Shapes) -> None:
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    for record in everything(shapes):
        objects, relations = record.metadata["scene"]["objects"], record.metadata["scene"]["relations"]
        for i, relation, j in relations:
            assert lies(objects[i], relation, objects[j])
            assert [j, opposite[relation], i] in relations


def test_every_kind_occurs_about_as_often_as_its_siblings(shapes: Shapes) -> None:
    scenes = [record.metadata["scene"] for record in shapes.records("train")]
    for key, kinds in {"shape": 4, "color": 6, "size": 2}.items():
        counts = Counter(item[key] for scene in scenes for item in scene["objects"])
        assert len(counts) == kinds
        assert min(counts.values()) > 0.7 * max(counts.values())
    relations = Counter(relation for scene in scenes for _, relation, _ in scene["relations"])
    assert set(relations) == {"left of", "right of", "above", "below"}
    assert min(relations.values()) > 0.7 * max(relations.values())
    assert set(Counter(len(scene["objects"]) for scene in scenes)) == {1, 2, 3}


def test_references_disagree(shapes: Shapes) -> None:
    distinct = [len(set(record.references)) for record in everything(shapes)]
    assert all(len(record.references) == 5 for record in everything(shapes))
    assert 4 < np.mean(distinct) < 5  # five people seldom write the same
    words = {word for record in everything(shapes) for caption in record.references for word in caption.split()}
    assert 25 <= len(words) <= 45


def test_no_scene_is_in_two_splits(shapes: Shapes) -> None:
    def said(record: Record) -> tuple[frozenset[Any], frozenset[Any]]:
        names = [(item["shape"], item["color"], item["size"]) for item in record.metadata["scene"]["objects"]]
        relations = record.metadata["scene"]["relations"]
        return frozenset(names), frozenset((names[i], relation, names[j]) for i, relation, j in relations)

    train, val, test = ({said(record) for record in shapes.records(split)} for split in ("train", "val", "test"))
    assert not train & val
    assert not train & test
    assert not val & test
    ids = [record.image_id for record in everything(shapes)]
    assert len(set(ids)) == len(ids)


def test_pictures_show_the_colours_that_scenes_name(shapes: Shapes) -> None:
    palette = np.array(list(COLORS.values()))
    for record in shapes.records("test"):
        pixels = np.asarray(shapes.open_image(record)).astype(int)
        for item in record.metadata["scene"]["objects"]:
            x, y = (int(share * 64) for share in item["center"])
            nearest = np.linalg.norm(palette - pixels[y, x], axis=1).argmin()
            assert list(COLORS)[nearest] == item["color"]


def test_pictures_show_the_shapes_and_sizes_that_scenes_name() -> None:
    shapes = Shapes(train=300, val=0, test=0, image_size=128)
    filled = {"square": (0.9, 1.01), "circle": (0.7, 0.9), "triangle": (0.42, 0.62), "star": (0.2, 0.42)}
    checked = 0
    for record in shapes.records("train"):
        if len(record.metadata["scene"]["objects"]) == 1:
            (item,) = record.metadata["scene"]["objects"]
            pixels = np.asarray(shapes.open_image(record)).astype(int)
            shown = np.abs(pixels - COLORS[item["color"]]).max(axis=2) < 40
            rows, columns = np.nonzero(shown)
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            low, high = filled[item["shape"]]
            assert low < shown.sum() / (height * width) < high, item
            assert (max(height, width) > 0.28 * 128) == (item["size"] == "large")
            checked += 1
    assert checked > 10


def test_the_seed_decides_everything(shapes: Shapes) -> None:
    again = Shapes(train=40, val=10, test=10)
    for record, same in zip(again.records("train"), shapes.records("train"), strict=False):
        assert record == same  # and a smaller set is the beginning of a larger
        assert again.open_image(record).tobytes() == shapes.open_image(same).tobytes()
    other = Shapes(train=40, val=10, test=10, seed=1)
    assert [record.references for record in other.records("train")] != [
        record.references for record in again.records("train")
    ]


def test_a_copy_carries_no_pictures_and_draws_the_same(shapes: Shapes) -> None:
    record = shapes.records("val")[3]
    assert len(pickle.dumps(shapes)) < 1000
    assert copy.copy(shapes).open_image(record).tobytes() == shapes.open_image(record).tobytes()


def test_size_of_the_pictures() -> None:
    shapes = Shapes(train=1, val=0, test=0, image_size=96)
    image = shapes.open_image(shapes.records("train")[0])
    assert (image.size, image.mode) == ((96, 96), "RGB")


def test_mistakes(shapes: Shapes) -> None:
    with pytest.raises(UserError, match="no split 'dev' in Shapes; there are train, val, test"):
        shapes.records("dev")
    with pytest.raises(UnreadableImageError, match="no image 'train-99999'"):
        shapes.open_image(Record("train-99999", ()))
    with pytest.raises(UserError, match="fewer than 0"):
        Shapes(train=-1)
    with pytest.raises(UserError, match="at least 32"):
        Shapes(image_size=16)
