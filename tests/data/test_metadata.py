"""What is written of an image's metadata: plain, short, and objects as a number and their kinds."""

import json
from typing import Any

import pytest

from rlcap.data.metadata import MOST_CHARACTERS, plain_metadata
from rlcap.data.shapes import Shapes

DOG, CAT = {"name": "dog", "color": "red"}, {"name": "cat", "box": [1, 2]}


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, {}),
        ({"place": "indoors", "people": 3, "sharp": 0.5, "old": False, "tags": ["a", "b"]}, ...),
        ({"tags": ("a", "b")}, {"tags": ["a", "b"]}),
        ({"box": [1, 2], "nothing": None, "nan": float("nan"), "none": [], "nested": {"a": 1}, "own": object()}, {}),
        ({"objects": ["dog", "cat", "dog"]}, {"objects": 3, "categories": ["cat", "dog"]}),
        ({"objects": [DOG, CAT]}, {"objects": 2, "categories": ["cat", "dog"]}),
        ({"objects": [DOG, CAT], "categories": ["animal"]}, {"objects": 2, "categories": ["animal"]}),
        ({"objects": []}, {"objects": 0}),
        ({"objects": 4}, {"objects": 4}),
        ({"scene": {"objects": [{"shape": "star"}]}}, {"objects": 1}),
    ],
    ids=["nothing", "plain", "tuple", "not-plain", "names", "mappings", "categories", "empty", "number", "scene"],
)
def test_what_is_plain_is_kept(metadata: dict[str, Any], expected: Any) -> None:
    assert plain_metadata(metadata) == (metadata if expected is ... else expected)


def test_what_is_long_is_left_out() -> None:
    metadata = {"story": "x" * MOST_CHARACTERS, "place": "indoors", "tags": ["y" * 10] * 80, "people": 2}
    assert plain_metadata(metadata) == {"place": "indoors", "people": 2}
    many = {f"key {number}": "z" * 20 for number in range(100)}
    assert 0.9 * MOST_CHARACTERS < len(json.dumps(plain_metadata(many))) <= MOST_CHARACTERS


def test_shapes_say_what_is_in_a_scene() -> None:
    for record in Shapes(train=0, val=0, test=20).records("test"):
        objects = record.metadata["scene"]["objects"]
        assert plain_metadata(record.metadata) == {
            "objects": len(objects),
            "categories": sorted({item["shape"] for item in objects}),
            "colors": sorted({item["color"] for item in objects}),
        }
