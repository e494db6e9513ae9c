"""Captions, references and scores in files: both forms of references, and every mistake told with file and value."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from rewards.base import Candidates, RewardError
from rewards.composite import FunctionReward
from rewards.files import read_candidates, write_scores
from rewards.metrics import standard_metrics

RESULTS = [{"image_id": 42, "caption": "a dog runs"}, {"image_id": "7", "caption": "a cat"}]
PLAIN = {"42": ["the dog runs", "a dog"], "7": ["a cat sleeps"], "9": []}
COCO = {
    "images": [{"id": 42}, {"id": 7}],
    "annotations": [
        {"id": 1, "image_id": 42, "caption": "the dog runs"},
        {"id": 2, "image_id": 7, "caption": "a cat sleeps"},
        {"id": 3, "image_id": 42, "caption": "a dog"},
    ],
}


def put(path: Path, content: Any) -> Path:
    """The content as JSON, gzipped where the name says so."""
    text = json.dumps(content).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
@pytest.mark.parametrize("references", [PLAIN, COCO], ids=["plain", "coco"])
def test_captions_get_the_references_of_their_images(tmp_path: Path, references: Any, suffix: str) -> None:
    candidates = read_candidates(put(tmp_path / f"c{suffix}", RESULTS), put(tmp_path / f"r{suffix}", references))
    assert candidates.captions == ["a dog runs", "a cat"]
    assert candidates.image_ids == ["42", "7"]
    assert candidates.references == [["the dog runs", "a dog"], ["a cat sleeps"]]


def test_an_image_may_have_several_captions(tmp_path: Path) -> None:
    results = [*RESULTS, {"image_id": 42, "caption": "dogs"}]
    candidates = read_candidates(put(tmp_path / "c.json", results), put(tmp_path / "r.json", PLAIN))
    assert candidates.image_ids == ["42", "7", "42"]
    assert candidates.references is not None
    assert candidates.references[2] == candidates.references[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"c\.json holds no captions"),
        ({"42": "a dog"}, r"c\.json holds an object where a list of captions should be"),
        ("a dog", r"c\.json holds a text where"),
        ([{"image_id": 42}], r'c\.json: caption 1 is \{"image_id": 42\}, without'),
        ([*RESULTS, {"caption": "a dog"}], r'caption 3 is \{"caption": "a dog"\}'),
        ([{"image_id": 4.5, "caption": "a dog"}], "caption 1 is"),
        ([{"image_id": True, "caption": "a dog"}], "caption 1 is"),
        ([{"image_id": 1, "caption": None}], "caption 1 is"),
        (["a dog"], 'caption 1 is "a dog", without an image_id'),
        ([["x" * 200]], "caption 1 is .{79}…, without"),
        ([*RESULTS, {"image_id": 5, "caption": "x"}], r"captions of an image without references in .*r\.json.*'5'"),
        (
            [{"image_id": 9, "caption": "x"}, {"image_id": 8, "caption": "y"}],
            "of 2 images without .* first of image '9'",
        ),
    ],
)
def test_wrong_captions_are_told(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(RewardError, match=message) as error:
        read_candidates(put(tmp_path / "c.json", content), put(tmp_path / "r.json", PLAIN))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([["a dog"]], r"r\.json holds a list where references are"),
        (None, r"r\.json holds null"),
        (3, r"r\.json holds a number"),
        ({"42": "a dog"}, "the references of image '42' are no list"),
        ({"42": ["a dog", 3]}, "the references of image '42' are no list"),
        ({"annotations": {"42": ["a dog"]}}, r"r\.json holds an object where a list of captions should be"),
        ({"annotations": [{"image_id": 42}]}, r"r\.json: caption 1 is"),
        ({}, "captions of 2 images without references in .* first of image '42': add references"),
    ],
)
def test_wrong_references_are_told(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        read_candidates(put(tmp_path / "c.json", RESULTS), put(tmp_path / "r.json", content))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.json", b"[{", r"c\.json is not valid JSON .*line 1 column 3"),
        ("c.json", b"", r"c\.json is not valid JSON"),
        ("c.json", b"\xff\x00\xfe", r"c\.json is not valid JSON"),
        ("c.json", b"[" * 100_000, r"c\.json is not valid JSON"),
        ("c.json.gz", gzip.compress(b"[]", mtime=0)[:-9], r"c\.json\.gz is no whole gzip file"),
        ("c.json.gz", b"\x1f\x8b\x07" + b"0" * 20, r"c\.json\.gz is no whole gzip file"),
    ],
)
def test_damaged_files_are_told(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RewardError, match=message):
        read_candidates(tmp_path / name, put(tmp_path / "r.json", PLAIN))


def test_missing_files_are_told(tmp_path: Path) -> None:
    results = put(tmp_path / "c.json", RESULTS)
    with pytest.raises(RewardError, match=r"there is no file .*none\.json: check the path"):
        read_candidates(tmp_path / "none.json", results)
    with pytest.raises(RewardError, match=r"there is no file .*none\.json: check the path"):
        read_candidates(results, tmp_path / "none.json")
    with pytest.raises(RewardError, match=r"cannot read .*: Is a directory"):
        read_candidates(tmp_path, results)


def test_scores_are_written_whole_and_never_over_others(tmp_path: Path) -> None:
    candidates = read_candidates(put(tmp_path / "c.json", RESULTS), put(tmp_path / "r.json", PLAIN))
    path = tmp_path / "new" / "scores.json"
    letters = FunctionReward(lambda captions: [len(caption) for caption in captions])
    summary = write_scores(path, candidates, {"letters": letters, "ROUGE-L": standard_metrics()["ROUGE-L"]})
    written = json.loads(path.read_text())
    assert written["scores"] == summary
    assert summary["letters"]["value"] == 7.5
    assert summary["ROUGE-L"]["signature"].startswith("ROUGE-L|")
    assert written["statistics"]["length"] == 2.5
    assert [row["image_id"] for row in written["captions"]] == ["42", "7"]
    assert [row["scores"]["letters"] for row in written["captions"]] == [10, 5]
    assert written["captions"][1]["caption"] == "a cat"
    assert [file.name for file in path.parent.iterdir()] == ["scores.json"]

    with pytest.raises(RewardError, match=r"scores\.json exists: choose another --output"):
        write_scores(path, candidates, {"letters": letters})
    with pytest.raises(RewardError, match=r"cannot write .*/c\.json/x\.json"):
        write_scores(tmp_path / "c.json" / "x.json", candidates, {"letters": letters})


def test_a_reward_of_images_is_refused_before_anything_is_scored(tmp_path: Path) -> None:
    def brightness(captions: list[str], images: Any) -> list[float]:
        raise AssertionError

    candidates = Candidates(["a dog"], [["a dog"]], image_ids=["1"])
    with pytest.raises(RewardError, match="reward 'light' looks at images, and rlcap score has no images"):
        write_scores(tmp_path / "s.json", candidates, {"light": FunctionReward(brightness)})
    assert not list(tmp_path.iterdir())
