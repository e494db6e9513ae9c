"""What people said of captions: read, written, divided by photo, and told with its line where it is wrong."""

import gzip
import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from rewards.scoring.judgements import read_judgements
from rlcap.data.judgements import (
    Columns,
    Comparison,
    Division,
    Judged,
    JudgedCaptions,
    JudgementWriter,
    Ranking,
    Rating,
    Tie,
    fold_of,
    json_lines,
    merged,
    read_judged,
    restricted,
    shared_captions,
)
from rlcap.data.karpathy import Karpathy
from rlcap.data.loader import loader
from rlcap.data.shapes import Shapes
from rlcap.types import UserError

LINES = [
    {"image": "test-00001", "chosen": "a red  star", "rejected": "a circle", "rater": "ann", "weight": 2},
    {"image": "test-00001", "tied": ["a circle", "a disc"], "seconds": 3.1, "runs": {"tied": [["a"], ["b"]]}},
    {"image": "test-00003.jpg", "caption": "a box", "rating": 3.5},
    {"image": "test-00001", "caption": "a red star", "ratings": [3, 4, 4]},
    {"image": "test-00001", "ranking": ["a red star", "a square", "a disc"], "rater": 7},
]


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return Shapes(train=60, val=8, test=8, image_size=32)


def written(path: Path, lines: list[object]) -> Path:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["judged.jsonl", "judged.jsonl.gz"])
def test_every_form_of_line(tmp_path: Path, name: str) -> None:
    found = read_judged(written(tmp_path / name, LINES))
    assert list(found) == ["test-00001", "test-00003.jpg"]
    assert found["test-00001"] == Judged(
        captions=("a red  star", "a circle", "a disc", "a square"),
        comparisons=(Comparison(0, 1, 2.0, "ann"),),
        ties=(Tie(1, 2),),
        ratings=(Rating(0, 3.0), Rating(0, 4.0), Rating(0, 4.0)),
        rankings=(Ranking((0, 3, 2), 1.0, "7"),),
    )
    assert found["test-00003.jpg"] == Judged(("a box",), ratings=(Rating(0, 3.5),))


def test_what_is_written_is_read_and_added_to(tmp_path: Path) -> None:
    path = tmp_path / "new" / "judged.jsonl"
    one = read_judged(written(tmp_path / "lines.jsonl", LINES))["test-00001"]
    other = Judged(("a\u2028b", "été"), comparisons=(Comparison(0, 1, 0.5),))
    with JudgementWriter(path) as writer:
        writer.write("test-00001", one)
        assert len(path.read_text(encoding="utf-8").split("\n")) == len(one) + 1  # on the disk before it is closed
    with JudgementWriter(path) as writer:
        writer.write("x", other)
    assert read_judged(path) == {"test-00001": one, "x": other}
    assert json_lines("x", other) == ['{"image": "x", "chosen": "a\u2028b", "rejected": "été", "weight": 0.5}\n']


def test_a_line_cut_short_damages_no_other(tmp_path: Path) -> None:
    path = tmp_path / "judged.jsonl"
    path.write_text('{"image": "1", "tied": ["a", "b"]}\n{"image": "1", "cho')
    with JudgementWriter(path) as writer:
        writer.write("2", Judged(("c", "d"), ties=(Tie(0, 1),)))
    assert path.read_text().count("\n") == 3
    with pytest.raises(UserError, match=r"judged\.jsonl, line 2: not JSON .*: mend the line, or leave it out"):
        read_judged(path)


MISTAKES = {
    "no form": (
        {"image": "1", "rejected": "a"},
        r'line 2 is \{"image": "1", "rejected": "a"\}: give one of chosen and',
    ),
    "half a form": ({"image": "1", "chosen": "a"}, "give one of chosen and rejected, tied, caption and rating"),
    "two forms": ({"image": "1", "tied": ["a", "b"], "ranking": ["a", "b"]}, "give one of"),
    "no object": ([1], r"line 2 is \[1\]: give one of"),
    "no image": ({"chosen": "a", "rejected": "b"}, "line 2: image must name the image, got null"),
    "typing error": (
        {"image": "1", "tied": ["a", "b"], "wieght": 2},
        "unknown 'wieght': write weight, or leave it out",
    ),
    "same caption": ({"image": "1", "chosen": "a", "rejected": " a"}, "line 2: caption 'a' is there twice"),
    "one tied": ({"image": "1", "tied": ["a"]}, r'line 2: tied must be a list of 2 captions or more, got \["a"\]'),
    "empty caption": ({"image": "1", "chosen": "a", "rejected": " "}, 'must be the text of captions, got " "'),
    "no number": ({"image": "1", "caption": "a", "rating": "4"}, 'line 2: rating must be a number, got "4"'),
    "not finite": ({"image": "1", "caption": "a", "rating": float("nan")}, "rating must be a number, got NaN"),
    "too large": ({"image": "1", "caption": "a", "rating": 10**400}, "rating must be a number, got 1000.*…$"),
    "no ratings": ({"image": "1", "caption": "a", "ratings": []}, r"ratings must be a list of numbers, got \[\]"),
    "no weight": ({"image": "1", "tied": ["a", "b"], "weight": 0}, "line 2: weight must be a number above 0, got 0"),
    "no rater": ({"image": "1", "tied": ["a", "b"], "rater": True}, "line 2: rater must be a name, got true"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_with_their_line(tmp_path: Path, mistake: str) -> None:
    line, message = MISTAKES[mistake]
    path = written(tmp_path / "judged.jsonl", [LINES[0], line])
    with pytest.raises(UserError, match=message) as raised:
        read_judged(path)
    assert str(raised.value).startswith(f"{path}, line 2")
    assert "\n" not in str(raised.value)


def test_mistakes_in_files(tmp_path: Path, shapes: Shapes) -> None:
    with pytest.raises(UserError, match=r"there is no file .*none\.jsonl"):
        read_judged(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="is empty: write lines"):
        read_judged(written(tmp_path / "judged.jsonl", []))
    with pytest.raises(UserError, match=r"must be a \.jsonl, \.csv or \.tsv file"):
        read_judged(tmp_path / "judged.txt")
    table = tmp_path / "judged.csv"
    table.write_text("image,caption,rating\n1,a,2\n1,,3\n")
    with pytest.raises(UserError, match=r"judged\.csv, line 3: caption is empty"):
        read_judged(table)
    table.write_text("image,caption,rating\n1,a,2\n1,b,good\n")
    with pytest.raises(UserError, match=r"judged\.csv, line 3: rating is 'good': ratings are numbers"):
        read_judged(table)
    path = written(tmp_path / "judged.jsonl", [LINES[0], {**LINES[0], "image": "dog.jpg"}])
    with pytest.raises(UserError, match=r"line 2: image 'dog\.jpg' is none of the 76 images given"):
        JudgedCaptions(path, shapes)
    with pytest.raises(UserError, match="columns choose from a CSV or TSV file"):
        JudgedCaptions(path, shapes, columns=Columns(ratings=("mos",)))


def test_judgements_are_of_captions_that_are_there() -> None:
    for wrong in (
        {"comparisons": (Comparison(0, 2),)},
        {"ties": (Tie(1, 1),)},
        {"rankings": (Ranking((0,)),)},
        {"ratings": (Rating(0, float("inf")),)},
        {"comparisons": (Comparison(0, 1, -1.0),)},
        {},
    ):
        with pytest.raises(UserError):
            Judged(("a", "b"), **wrong)  # type: ignore[arg-type]


def test_comparisons_from_ratings_and_rankings() -> None:
    ratings = [(0, 1, 1.0), (0, 3, 1.0), (1, 7 / 3, 1.0), (2, 4 / 3, 1.0), (3, 1, 3.0), (3, 5, 1.0), (4, 4 / 3, 1.0)]
    judged = Judged(
        ("a", "b", "c", "d", "e", "unrated"),
        ratings=tuple(Rating(*rating) for rating in ratings),
        rankings=(Ranking((5, 2, 0), 2.0, "ann"),),
    )
    assert judged.mean_ratings() == (2.0, 7 / 3, 4 / 3, 2.0, 4 / 3, None)  # (3 x 1 + 5) / 4 is 2
    told = {(own.winner, own.loser) for own in judged.rated_comparisons()}
    assert told == {(1, 0), (1, 2), (1, 3), (1, 4), (0, 2), (0, 4), (3, 2), (3, 4)}  # equal means are no comparison
    assert {(own.winner, own.loser) for own in judged.rated_comparisons(margin=1.0)} == {(1, 2), (1, 4)}
    assert judged.ranked_comparisons() == tuple(Comparison(*pair, 2.0, "ann") for pair in [(5, 2), (5, 0), (2, 0)])


def test_leaving_captions_out() -> None:
    judged = merged(
        [
            Judged(("a", "b"), comparisons=(Comparison(1, 0),), ratings=(Rating(0, 2.0),)),
            Judged(("c", "b", "d"), ties=(Tie(0, 1),), rankings=(Ranking((2, 0, 1)),)),
        ]
    )
    assert judged.captions == ("a", "b", "c", "d")
    assert judged.rankings == (Ranking((3, 2, 1)),)
    assert restricted(judged, lambda caption: caption != "c") == Judged(
        ("a", "b", "d"), (Comparison(1, 0),), ratings=(Rating(0, 2.0),), rankings=(Ranking((2, 1)),)
    )
    left = restricted(judged, lambda caption: caption in "ad")  # nothing is said of "d" any more
    assert left == Judged(("a",), ratings=(Rating(0, 2.0),))
    assert restricted(judged, lambda caption: caption == "d") is None


def test_a_batch_holds_what_people_said(tmp_path: Path, shapes: Shapes) -> None:
    data = JudgedCaptions(written(tmp_path / "judged.jsonl", LINES), shapes)
    assert [record.image_id for record in data.records("test")] == ["test-00001", "test-00003"]
    (batch,) = loader(data, "test", None, 4, with_images=True)
    assert batch.metadata[0]["judged"] == read_judged(tmp_path / "judged.jsonl")["test-00001"]
    assert batch.metadata[0]["scene"] == shapes.records("test")[1].metadata["scene"]
    assert batch.references[1] == shapes.records("test")[3].references
    assert batch.images is not None
    assert batch.images[0].tobytes() == shapes.open_image(shapes.records("test")[1]).tobytes()
    assert data.synonyms == shapes.synonyms != ()
    # of a split without judgements, on which a policy may be measured, every image is there
    assert data.records("train") == shapes.records("train")
    divided = JudgedCaptions(tmp_path / "judged.jsonl", shapes, Division(val_fraction=0.0, test_fraction=0.0))
    with pytest.raises(UserError, match=r"no split 'test' among the images judged .*; there are train \(a division"):
        divided.records("test")


def ids(data: JudgedCaptions, split: str) -> list[str]:
    return [record.image_id for record in data.records(split)]


def test_division_is_by_photo_and_stays_when_photos_are_added(tmp_path: Path, shapes: Shapes) -> None:
    lines = [
        {"image": f"train-{number:05d}", "tied": [f"a {number}", f"b {number} {copy}"]}
        for copy in range(2)
        for number in range(60)
    ]
    path = written(tmp_path / "judged.jsonl", lines)
    division = Division(val_fraction=0.2, test_fraction=0.3, seed=4)
    data = JudgedCaptions(path, shapes, division)
    parts = {split: ids(data, split) for split in ("train", "val", "test")}
    assert sorted(image for own in parts.values() for image in own) == [f"train-{number:05d}" for number in range(60)]
    assert abs(len(parts["test"]) / 60 - 0.3) < 0.18  # three standard deviations of a share of 60
    assert all(len(record.metadata["judged"].ties) == 2 for record in data.records("train"))
    fewer = JudgedCaptions(written(tmp_path / "fewer.jsonl", lines[:40]), shapes, division)
    for split in parts:
        assert ids(fewer, split) == [image for image in parts[split] if image < "train-00040"]
    assert ids(JudgedCaptions(path, shapes, Division(0.2, 0.3, seed=5)), "test") != parts["test"]


def test_folds_hold_every_photo_once(tmp_path: Path, shapes: Shapes) -> None:
    lines = [{"image": f"train-{number:05d}", "tied": ["a", "b"]} for number in range(60)]
    path = written(tmp_path / "judged.jsonl", lines)
    held = Counter[str]()
    for fold in range(4):
        data = JudgedCaptions(path, shapes, Division(val_fraction=0.2, folds=4, fold=fold))
        held.update(ids(data, "test"))
        parts = [set(ids(data, split)) for split in ("train", "val", "test")]
        assert not any(one & other for one, other in combinations(parts, 2))
        assert len(set.union(*parts)) == 60
    assert set(held.values()) == {1}
    assert len(held) == 60
    counts = np.bincount([fold_of(str(number), 5, seed=0) for number in range(5000)])
    assert abs(counts - 1000).max() < 4 * np.sqrt(5000 * 0.2 * 0.8)  # four standard deviations


def test_captions_shared_by_splits_are_counted_and_can_be_left_out(
    tmp_path: Path, shapes: Shapes, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [
        {"image": "train-00000", "ranking": ["a star", "a box", "a disc"]},
        {"image": "train-00001", "chosen": "A  star", "rejected": "a box"},
        {"image": "test-00000", "chosen": "a star", "rejected": "a circle"},
        {"image": "val-00000", "caption": "a star", "rating": 2},
    ]
    path = written(tmp_path / "judged.jsonl", lines)
    data = JudgedCaptions(path, shapes)
    assert data.shared == {("train", "val"): 1, ("train", "test"): 1, ("val", "test"): 1}
    assert "train shares judged captions, 1 with test, 1 with val" in caplog.text
    apart = JudgedCaptions(path, shapes, separate_captions=True)
    (record,) = apart.records("train")
    assert record.metadata["judged"] == Judged(("a box", "a disc"), rankings=(Ranking((0, 1)),))
    assert apart.records("test") == data.records("test")
    assert apart.shared[("train", "test")] == 0


def test_mistakes_in_divisions(tmp_path: Path, shapes: Shapes) -> None:
    for wrong, message in (
        ({"val_fraction": 0.6, "test_fraction": 0.4}, "leave some images to train on"),
        ({"folds": 1}, "folds must be 2 or more"),
        ({"folds": 3, "fold": 3}, "fold must be from 0 to folds - 1 = 2, got 3"),
    ):
        with pytest.raises(UserError, match=message):
            Division(**wrong)
    path = written(tmp_path / "judged.jsonl", LINES[:1])
    with pytest.raises(UserError, match=r"holds . of 1 judged images: use fewer folds"):
        JudgedCaptions(path, shapes, Division(folds=2))


def test_flickr8k_experts(real_data: Path) -> None:
    photos = Karpathy(real_data / "flickr8k" / "dataset_flickr8k.json.gz", real_data / "flickr8k" / "images")
    table = real_data / "human" / "flickr8k_expert.csv"
    columns = Columns(where=("caption_is_own_reference=0",))
    data = JudgedCaptions(table, photos, Division(folds=5, fold=1), columns=columns)
    records = {record.image_id: record for split in ("train", "val", "test") for record in data.records(split)}
    assert len(records) == 1000
    assert sum(len(record.metadata["judged"].captions) for record in records.values()) == 5664
    assert all(len(record.references) == 5 for record in records.values())
    given = read_judgements(table, where=columns.where)
    record = records[Path(given.captions[3].image).stem]
    judged: Judged = record.metadata["judged"]
    place = judged.captions.index(given.captions[3].text)
    assert tuple(rating.value for rating in judged.ratings if rating.caption == place) == given.ratings[3]
    means = judged.mean_ratings()
    for own in judged.rated_comparisons(1.0):
        assert means[own.winner] - means[own.loser] > 0.999  # type: ignore[operator]
    assert data.shared[("train", "test")] > 100  # every caption was shown with several photos
    parts = [[record.metadata["judged"] for record in data.records(split)] for split in ("train", "test")]
    assert len(shared_captions(*parts)) == data.shared[("train", "test")]


def test_flickr8k_crowd_is_read_from_gzip(real_data: Path) -> None:
    found = read_judged(real_data / "human" / "flickr8k_cf.csv.gz")
    assert sum(len(judged.ratings) for judged in found.values()) == 47288
    assert all(0 <= rating.value <= 1 for judged in found.values() for rating in judged.ratings)
