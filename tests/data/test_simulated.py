"""What simulated people are asked: files and data sets of their judgements follow from a seed, and from their taste."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny

from rlcap.commands.train import experiment_parser
from rlcap.data.base import Record
from rlcap.data.captions_to_judge import CaptionsToJudge
from rlcap.data.judgements import JUDGED, Judged, JudgedCaptions, read_judged
from rlcap.data.people import BradleyTerry, Crowd, Tastes, Thurstone, utility
from rlcap.data.shapes import SYNONYMS, Shapes
from rlcap.data.simulated import RatingByAll, SimulatedJudgements, Sources, choices, ratings, write_judged
from rlcap.errors import UserError

EXACT = Crowd(raters=1, disagreement=0.0, noise=BradleyTerry(1e-4), tie=0.01)
"""Who prefers what has the higher known utility."""


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return Shapes(train=150, val=10, test=20, image_size=32)


def test_a_file_follows_from_the_seed_and_is_a_data_set(tmp_path: Path, shapes: Shapes) -> None:
    crowd = Crowd()
    write_judged(tmp_path / "a.jsonl", choices(crowd, shapes, "train", 200, seed=0))
    write_judged(tmp_path / "b.jsonl", choices(crowd, shapes, "train", 80, seed=0))
    write_judged(tmp_path / "c.jsonl", choices(crowd, shapes, "train", 80, seed=1))
    lines = [(tmp_path / name).read_text().splitlines() for name in ("a.jsonl", "b.jsonl", "c.jsonl")]
    assert len(lines[0]) == 200
    assert lines[0][:80] == lines[1]
    assert lines[1] != lines[2]
    data = JudgedCaptions(tmp_path / "a.jsonl", shapes)
    records = data.records("train")
    assert sum(len(record.metadata["judged"]) for record in records) == 200
    told_of = {own.rater for record in records for own in record.metadata["judged"].comparisons}
    assert told_of == {person.name for person in crowd.people}
    won = [
        utility(judged.captions[own.winner], record.metadata["scene"])
        > utility(judged.captions[own.loser], record.metadata["scene"])
        for record in records
        for judged in [record.metadata["judged"]]
        for own in judged.comparisons
    ]
    assert 0.8 < np.mean(won) < 1  # people err, and differ, but not much


def test_ratings_are_of_everyone_and_follow_utility(shapes: Shapes) -> None:
    crowd = Crowd(raters=4)
    found = list(ratings(crowd, shapes, "train", 150, seed=2))
    assert len(found) == 600
    assert {judged.ratings[0].value for _, judged in found} == {1.0, 2.0, 3.0, 4.0}
    scenes = {record.image_id: record.metadata["scene"] for record in shapes.records("train")}
    liked = [utility(judged.captions[0], scenes[image]) for image, judged in found]
    assert np.corrcoef(liked, [judged.ratings[0].value for _, judged in found])[0, 1] > 0.75


def test_captions_of_a_policy_are_judged(tmp_path: Path, shapes: Shapes) -> None:
    path = tmp_path / "predictions.jsonl"
    rows = [{"image_id": record.image_id, "caption": f"sampled {record.image_id}"} for record in shapes.records("test")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = Sources(own=0.0, others=1.0, corrupted=0.0, sampled=1.0)
    write_judged(
        tmp_path / "judged.jsonl", choices(Crowd(), shapes, "test", 60, 0, sources=sources, predictions=[path])
    )
    captions = {(image, text) for image, own in read_judged(tmp_path / "judged.jsonl").items() for text in own.captions}
    assert sum(text == f"sampled {image}" for image, text in captions) >= 15
    assert not any(text.startswith("sampled") and text != f"sampled {image}" for image, text in captions)
    sure = tmp_path / "sure.jsonl"  # of the first image the policy says two things, of the others one
    sure.write_text(json.dumps({"image_id": "test-00000", "caption": "a box"}) + "\n" + path.read_text())
    alone = [*choices(Crowd(), shapes, "test", 5, 0, sources=Sources(0.0, 0.0, 0.0, 1.0), predictions=[sure])]
    assert {(image, frozenset(judged.captions)) for image, judged in alone} == {
        ("test-00000", frozenset(("a box", "sampled test-00000")))
    }
    with pytest.raises(UserError, match="has captions of none of the images"):
        list(choices(Crowd(), shapes, "val", 1, 0, predictions=[path]))
    with pytest.raises(UserError, match="no captions of a policy and no other source"):
        list(choices(Crowd(), shapes, "val", 1, 0, sources=Sources(0.0, 0.0, 0.0, 1.0)))
    with pytest.raises(UserError, match="fewer than 2 different captions"):
        list(choices(Crowd(), shapes, "test", 1, 0, sources=Sources(0.0, 0.0, 0.0, 1.0), predictions=[path]))


class Square(Shapes):
    """Two scenes that say the same."""

    def records(self, split: str) -> list[Record]:
        records = super().records(split)[:2]
        return [
            replace(record, references=(f"a {name}",)) for record, name in zip(records, ("square", "box"), strict=True)
        ]


@pytest.mark.parametrize("known", [True, False], ids=["synonyms", "none"])
def test_what_means_the_same_in_the_data_set_is_not_made_wrong(known: bool, shapes: Shapes) -> None:
    scenes = Square(train=2, val=1, test=1)
    assert scenes.synonyms == shapes.synonyms == SYNONYMS
    if not known:
        scenes.synonyms = ()
    captions = CaptionsToJudge(scenes, "train", Sources(own=0.0, others=0.0, corrupted=1.0, sampled=0.0), ())
    rng = np.random.default_rng(0)
    drawn = {(record.references[0], text) for record, own in (captions.draw(1, rng) for _ in range(60)) for text in own}
    exchanged = {("a square", "a box"), ("a box", "a square")}
    assert drawn - exchanged  # such as "a a square"
    assert drawn & exchanged == (set() if known else exchanged)


def judged_of(record: Record) -> Judged:
    judged: Judged = record.metadata[JUDGED]
    return judged


def texts(record: Record) -> list[tuple[str, str]]:
    """Winners and losers."""
    judged = judged_of(record)
    return [(judged.captions[own.winner], judged.captions[own.loser]) for own in judged.comparisons]


def told_of(record: Record) -> list[tuple[str, ...]]:
    """Everything said, whatever the order in which captions are kept."""
    judged = judged_of(record)
    tied = [(*sorted((judged.captions[tie.first], judged.captions[tie.second])), tie.rater) for tie in judged.ties]
    return [*((*pair, own.rater) for pair, own in zip(texts(record), judged.comparisons, strict=True)), *tied]


def test_the_data_set_is_that_of_the_file(tmp_path: Path, shapes: Shapes) -> None:
    crowd = Crowd(raters=3)
    write_judged(tmp_path / "judged.jsonl", choices(crowd, shapes, "train", 120, seed=4))
    data = SimulatedJudgements(shapes, comparisons=120, crowd=crowd, seed=4)
    read = JudgedCaptions(tmp_path / "judged.jsonl", shapes).records("train")
    assert [record.image_id for record in data.records("train")] == [record.image_id for record in read]
    assert [told_of(record) for record in data.records("train")] == [told_of(record) for record in read]
    assert 50 < len(read) < 120
    record = data.records("train")[0]
    assert data.open_image(record).tobytes() == shapes.open_image(record).tobytes()
    assert data.synonyms == shapes.synonyms
    again = pickle.loads(pickle.dumps(SimulatedJudgements(shapes, 120, crowd=crowd, seed=4)))  # noqa: S301 - our own
    assert again.records("train") == data.records("train")


def test_more_comparisons_begin_with_fewer_and_leave_the_held_out_ones_alone(shapes: Shapes) -> None:
    few, many = (SimulatedJudgements(shapes, comparisons=count, held_out=30) for count in (50, 120))
    after = {record.image_id: judged_of(record) for record in many.records("train")}
    for record in few.records("train"):
        first, more = judged_of(record), after[record.image_id]
        assert more.captions[: len(first.captions)] == first.captions
        assert more.comparisons[: len(first.comparisons)] == first.comparisons
        assert more.ties[: len(first.ties)] == first.ties
    assert sum(len(judged) for judged in after.values()) == 120
    for split in ("val", "test"):
        assert few.records(split) == many.records(split)
        assert sum(len(judged_of(record)) for record in few.records(split)) == 30
    assert [texts(record) for record in few.records("val")] != [texts(record) for record in few.records("test")]
    assert SimulatedJudgements(shapes, 50, seed=1).records("train") != few.records("train")


def test_without_held_out_judgements_the_images_are_those_of_the_data_set(shapes: Shapes) -> None:
    data = SimulatedJudgements(shapes, comparisons=5, held_out=0)
    assert data.records("val") is shapes.records("val")
    assert data.records("test") is shapes.records("test")


def test_held_out_pairs_are_ordered_by_the_known_utility(shapes: Shapes) -> None:
    noisy = Crowd(noise=BradleyTerry(1.0))
    data = SimulatedJudgements(shapes, comparisons=120, held_out=60, crowd=noisy, held_out_crowd=EXACT)

    def agree(split: str) -> list[bool]:
        return [
            utility(winner, record.metadata["scene"]) > utility(loser, record.metadata["scene"])
            for record in data.records(split)
            for winner, loser in texts(record)
        ]

    for split in ("val", "test"):
        assert len(agree(split)) > 40  # the others are of the same worth
        assert all(agree(split))
    assert 0.6 < np.mean(agree("train")) < 0.95


def test_ratings_make_comparisons(shapes: Shapes) -> None:
    crowd = Crowd(raters=4)
    data = SimulatedJudgements(shapes, comparisons=100, held_out=20, question=RatingByAll(), crowd=crowd)
    parts = [judged_of(record) for record in data.records("train")]
    assert sum(len(judged.ratings) for judged in parts) == 400
    assert not any(judged.comparisons or judged.ties for judged in parts)
    assert sum(len(judged.rated_comparisons(0.5)) for judged in parts) > 10


def test_a_policys_captions_are_judged_in_the_splits_that_the_file_has(tmp_path: Path, shapes: Shapes) -> None:
    def written(*splits: str) -> Path:
        path = tmp_path / f"{'_'.join(splits)}.jsonl"
        names = [record.image_id for split in splits for record in shapes.records(split)]
        rows = [{"image_id": name, "caption": "a sampled box"} for name in names]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def asked(split: str, path: Path) -> int:
        records = SimulatedJudgements(shapes, 50, 30, predictions=[path]).records(split)
        return sum("a sampled box" in judged_of(record).captions for record in records)

    assert asked("train", written("train")) > 10
    assert asked("test", written("train")) == 0
    assert asked("test", written("train", "test")) > 5
    with pytest.raises(UserError, match="has captions of none of the images in 'train'"):
        asked("train", written("test"))


def test_all_can_be_said_in_yaml_and_on_the_command_line(tmp_path: Path) -> None:
    config = tiny.experiment(tiny.TEACHER_FORCING, steps=1)
    exact = {"raters": 1, "disagreement": 0.0, "tie": 0.01}
    exact["noise"] = {"class_path": "rlcap.data.people.BradleyTerry", "init_args": {"temperature": 1e-4}}
    config["data"] = {
        "class_path": "rlcap.data.simulated.SimulatedJudgements",
        "init_args": {"images": tiny.DATA, "crowd": {"raters": 3}, "held_out_crowd": exact},
    }
    said = {
        "comparisons": "7",
        "held_out": "3",
        "question": "rlcap.data.simulated.RatingByAll",
        "crowd.raters": "2",
        "crowd.tastes.length": "0.2",
        "crowd.noise": "rlcap.data.people.Thurstone",
        "sources.others": "0",
    }
    words = [word for name, value in said.items() for word in (f"--data.init_args.{name}", value)]
    parser = experiment_parser("rlcap train")
    data = parser.instantiate(
        parser.parse_args(["--config", str(tiny.write(tmp_path / "mine.yaml", config)), *words])
    ).data
    assert data.counts == {"train": 7, "val": 3, "test": 3}
    assert data.crowd == Crowd(raters=2, tastes=Tastes(length=0.2), noise=Thurstone())
    assert data.held_out_crowd == EXACT
    assert data.sources == Sources(others=0.0)
    assert isinstance(data.question, RatingByAll)


def test_mistakes_of_numbers(shapes: Shapes) -> None:
    for settings, message in [
        ({"comparisons": 0}, "comparisons must be at least 1, got 0"),
        ({"held_out": -1}, "held_out must be 0 or more, got -1"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
    ]:
        with pytest.raises(UserError, match=message):
            SimulatedJudgements(shapes, **settings)
    with pytest.raises(UserError, match="no split 'dev' in SimulatedJudgements; there are train, val, test"):
        SimulatedJudgements(shapes).records("dev")
