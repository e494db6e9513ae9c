"""Captions, references, images and scores in files: every form of them, and every mistake told with its place."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rewards.base import RewardError
from rewards.function import FunctionReward
from rewards.scoring import score
from rewards.scoring.files import images_of, read_candidates, read_references
from rewards.scoring.score_files import refuse_overwriting, scores_as_csv, scores_as_json, write_new

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
        (
            [*RESULTS, {"image_id": 5, "caption": "x"}],
            r"c\.json holds captions of an image without references in .*r\.json.*'5' .*: add references, or leave",
        ),
        (
            [{"image_id": 9, "caption": "x"}, {"image_id": 8, "caption": "y"}],
            r"of 2 images without .* first of image '9' \(an image there is '42'\): name images alike in both",
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


# --- other forms


PREDICTIONS = [
    {"image_id": "42", "caption": "a dog runs", "ended": True, "references": PLAIN["42"], "scores": {"CIDEr-D": 1.0}},
    {"image_id": 7, "caption": "a cat", "ended": False, "references": PLAIN["7"], "scores": {"CIDEr-D": 2.0}},
]
KARPATHY = {
    "images": [
        {"filename": "COCO_val2014_42.jpg", "cocoid": 42, "split": "test", "sentences": [{"raw": "the dog runs"}]},
        {"filename": "7.jpg", "split": "restval", "sentences": [{"raw": " a cat sleeps"}, {"raw": "a cat"}]},
    ]
}
TABLE = "image_id,caption\n42,a dog runs\n7,a cat\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_predictions_bring_their_own_references_and_endings(tmp_path: Path) -> None:
    path = write(tmp_path / "predictions.jsonl", "".join(json.dumps(row) + "\n" for row in PREDICTIONS) + "\n")
    candidates = read_candidates(path)
    assert candidates.references == [tuple(PLAIN["42"]), tuple(PLAIN["7"])]
    assert candidates.ended == [True, False]
    others = read_candidates(path, put(tmp_path / "r.json", {"42": ["x"], "7": ["y"]}))
    assert others.references == [["x"], ["y"]]
    assert read_references(path) == {"42": PLAIN["42"], "7": PLAIN["7"]}
    assert read_candidates(put(tmp_path / "c.json", RESULTS)).references is None
    several = write(tmp_path / "c.jsonl", '{"image": "a.jpg", "captions": ["x", "y"]}\n')
    assert read_candidates(several).captions == ["x", "y"]
    assert read_candidates(several).image_ids == ["a.jpg", "a.jpg"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.csv", TABLE),
        ("c.csv", "\ufeff" + TABLE.replace("\n", "\r\n")),
        ("c.csv", 'Image;score;Caption\n42;1;"a dog runs"\n\n7;2;a cat\n'),
        ("c.tsv", "image\tcaption\n42\ta dog runs\n7\ta cat\n"),
        ("c.csv.gz", TABLE),
    ],
    ids=["csv", "windows", "semicolons", "tsv", "gzipped"],
)
def test_tables_hold_captions_and_references(tmp_path: Path, name: str, text: str) -> None:
    content = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    candidates = read_candidates(tmp_path / name, put(tmp_path / "r.json", PLAIN))
    assert candidates.captions == ["a dog runs", "a cat"]
    assert candidates.image_ids == ["42", "7"]
    assert read_references(tmp_path / name) == {"42": ["a dog runs"], "7": ["a cat"]}


def test_plain_text_goes_line_by_line(tmp_path: Path) -> None:
    captions = write(tmp_path / "c.txt", "a dog runs\n\na\u2028cat")
    first = write(tmp_path / "r0.txt", "the dog runs\nx\na cat sleeps\n")
    second = write(tmp_path / "r1.txt", "a dog\r\ny\r\n\r\n")
    candidates = read_candidates(captions, [first, second])
    assert candidates.captions == ["a dog runs", "", "a\u2028cat"]
    assert candidates.references == [("the dog runs", "a dog"), ("x", "y"), ("a cat sleeps",)]
    assert candidates.image_ids == ["1", "2", "3"]


def test_references_may_be_karpathys_and_images_be_named_with_or_without_ending(tmp_path: Path) -> None:
    path = put(tmp_path / "dataset.json.gz", KARPATHY)
    assert read_references(path) == {"42": ["the dog runs"], "7": ["a cat sleeps", "a cat"]}
    assert read_references(path, training=True) == {"7": ["a cat sleeps", "a cat"]}
    table = write(tmp_path / "c.csv", "image,caption\nphotos/7.png,a cat\n")
    candidates = read_candidates(table, path)
    assert candidates.image_ids == ["7"]
    assert candidates.references == [["a cat sleeps", "a cat"]]
    twice = put(tmp_path / "twice.json", {"7.jpg": ["x"], "7.png": ["y"]})
    with pytest.raises(RewardError, match="captions of an image without references"):
        read_candidates(put(tmp_path / "c.json", [{"image_id": 7, "caption": "a cat"}]), twice)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "image_id,text\n42,a dog, running\n", r"c\.csv, line 2: 3 cells under 2 columns .*holds ','"),
        ("c.csv", 'image_id,caption\n1,x\n42,"a dog\n', r"c\.csv, line 3: unexpected end of data"),
        ("c.csv", "image_id,caption\n1,x\n,a dog\n", r"c\.csv, line 3: image_id is empty"),
        ("c.csv", "id,caption\n1,x\n", r"c\.csv has no column image_id or image or .*, only id, caption"),
        ("c.csv", "image_id,words\n1,x\n", r"c\.csv has no column caption or"),
        ("c.csv", "image_id,caption,caption\n1,x,y\n", "line 1: two columns are called 'caption'"),
        ("c.csv", "", r"c\.csv is empty: it must begin with a header"),
        ("c.csv", "image_id,caption\n", r"c\.csv holds no captions"),
        ("c.tsv", "image_id\tcaption\n1\n", r"c\.tsv, line 2: 1 cells under 2 columns .*a tab"),
        ("c.jsonl", '{"image_id": 42, "caption": "x"}\n{"image_id"\n', r"c\.jsonl, line 2: not JSON"),
        ("c.jsonl", '\n["a dog"]\n', r'c\.jsonl, line 2 is \["a dog"\], without an image_id'),
        ("c.jsonl", '{"image_id": 42, "caption": "x", "references": "y"}', "line 1: the references of image '42'"),
        ("c.txt", "a dog\n", r"c\.txt and .*r\.json do not belong together line by line"),
    ],
)
def test_wrong_tables_are_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = write(tmp_path / name, text)
    with pytest.raises(RewardError, match=message) as error:
        read_candidates(path, put(tmp_path / "r.json", PLAIN))
    assert "\n" not in str(error.value)


def test_wrong_companions_are_told(tmp_path: Path) -> None:
    captions, short = write(tmp_path / "c.txt", "a\nb\n"), write(tmp_path / "r.txt", "a\n")
    with pytest.raises(RewardError, match=r"r\.txt has 1 lines for the 2 captions of .*c\.txt: line i must be"):
        read_candidates(captions, short)
    with pytest.raises(RewardError, match="plain text references, which no other captions do"):
        read_candidates(put(tmp_path / "c.json", RESULTS), short)
    (tmp_path / "latin.csv").write_bytes("image_id,caption\n1,caf\xe9\n".encode("latin-1"))
    with pytest.raises(RewardError, match=r"latin\.csv is not UTF-8 text"):
        read_candidates(tmp_path / "latin.csv")
    broken = {"images": [KARPATHY["images"][0], {"filename": "x.jpg"}]}
    with pytest.raises(RewardError, match=r"k\.json: image number 1 is not in Karpathy's format .*'sentences'"):
        read_references(put(tmp_path / "k.json", broken))


# --- images


def test_images_are_found_by_id_and_opened_when_read(tmp_path: Path) -> None:
    for grey, name in enumerate(("42.png", "a.webp", "b.jpg", "COCO_val2014_000000000007.jpg", "000000000008.JPG")):
        Image.new("RGB", (4, 4), (grey * 40,) * 3).save(tmp_path / name, lossless=True)
    ids = ["42", "a.jpg", "a.webp", "b.jpg", "7", "8", "42"]
    images = images_of(ids, tmp_path)
    assert [round(float(np.asarray(image).mean()) / 40) for image in images] == [0, 1, 1, 2, 3, 4, 0]
    (tmp_path / "42.png").unlink()  # it was not opened before
    with pytest.raises(RewardError, match=r"cannot read image .*42\.png: no such file"):
        images[0]


def test_missing_images_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "here.png").touch()
    with pytest.raises(RewardError, match=r"no image of 'gone' nor of 2 others in .*: add files named by image id"):
        images_of(["here", "gone", "9", "gone", "8"], tmp_path)
    with pytest.raises(RewardError, match=r"no image of '9' in "):
        images_of(["9"], tmp_path)
    with pytest.raises(RewardError, match=r"there is no folder .*none"):
        images_of(["9"], tmp_path / "none")


# --- scores


def test_scores_are_written_whole_and_never_over_others(tmp_path: Path) -> None:
    candidates = read_candidates(put(tmp_path / "c.json", RESULTS), put(tmp_path / "r.json", PLAIN))
    letters = FunctionReward(lambda captions: [len(caption) for caption in captions])
    result = score(candidates, rewards={"letters": letters, "ROUGE-L": "ROUGE-L"})
    path, table = tmp_path / "new" / "scores.json", tmp_path / "new" / "deep" / "scores.csv"
    write_new({path: scores_as_json(result, more={"x": 1}), table: scores_as_csv(result)})

    written = json.loads(path.read_text())
    assert written["scores"] == {name: scored.summary() for name, scored in result.items()}
    assert written["scores"]["letters"]["value"] == 7.5
    assert written["scores"]["ROUGE-L"]["signature"].startswith("ROUGE-L|")
    assert written["bootstrap"] == {"resamples": 1000, "seed": 0, "confidence": 0.95}
    assert written["more"] == {"x": 1}
    assert written["statistics"]["length"] == 2.5
    assert [row["image_id"] for row in written["captions"]] == ["42", "7"]
    assert [row["scores"]["letters"] for row in written["captions"]] == [10, 5]
    assert written["captions"][1]["caption"] == "a cat"
    rouge = result["ROUGE-L"].scores
    assert table.read_text() == (
        f"image_id,caption,letters,ROUGE-L\n42,a dog runs,10.0,{rouge[0]}\n7,a cat,5.0,{rouge[1]}\n"
    )
    assert sorted(file.name for file in path.parent.iterdir()) == ["deep", "scores.json"]

    with pytest.raises(RewardError, match=r"scores\.json exists: choose another path"):
        write_new({tmp_path / "other.json": "{}", path: "{}"})
    assert not (tmp_path / "other.json").exists()
    with pytest.raises(RewardError, match=r"x\.json would be written twice"):
        refuse_overwriting({"--output": tmp_path / "x.json", "--csv": tmp_path / "x.json"})


def test_all_files_are_written_or_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RewardError, match=r"cannot write .*/file/x\.json"):
        write_new({tmp_path / "first.json": "{}", tmp_path / "file" / "x.json": "{}"})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
