"""CHAIR: hand-worked captions, the synthetic scenes' own truth, COCO's everyday words, and what people say of COCO."""

import gzip
import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonargparse import ArgumentParser
from resamples import assert_resampled_is_the_aggregate

from rewards.base import Candidates, Reward, RewardError
from rewards.coco_objects import CATEGORIES, coco_lexicon
from rewards.hallucination import Chair, ChairCounts, ChairS, chair_i, chair_s, hallucinated
from rewards.phrases import words_of
from rlcap.data.shapes import COLORS, SHAPES, describe, sample_scene

SHAPE_WORDS = {shape: list(words[1:]) for shape, words in SHAPES.items()}
COLOR_WORDS: dict[str, list[str]] = {color: [] for color in COLORS}
SCENES: dict[str, Any] = {"objects": "scene.objects", "label": "shape", "use_references": False}


LEXICON = coco_lexicon()


def objects_in(text: str) -> list[tuple[str, str]]:
    """COCO categories that a text mentions, and the words it uses."""
    (words,) = words_of([text])
    return [(mention.name, " ".join(words[mention.start : mention.stop])) for mention in LEXICON.find(words)]


def test_by_hand() -> None:
    # Of the first's three objects the fork is not there; of the second's two neither; the third names none.
    captions = ["A man and a puppy with a fork.", "two cats on a couch", "a sunny day", "a dog and a dog and a cat"]
    candidates = Candidates(captions, metadata=[{"objects": ["person", "dog"]}] * 4)
    chair, sentences = Chair(use_references=False), ChairS(use_references=False)
    np.testing.assert_allclose(chair(candidates), [-1 / 3, -1, 0, -1 / 3], rtol=1e-12)
    assert sentences(candidates).tolist() == [-1, -1, 0, -1]
    assert chair.corpus(candidates) == pytest.approx(-4 / 8)  # over mentions: the mean of captions is -5/12
    assert sentences.corpus(candidates) == pytest.approx(-3 / 4)
    assert chair.found(candidates)[0] == (
        [("person", frozenset()), ("dog", frozenset()), ("fork", frozenset())],
        [("fork", frozenset())],
    )


@pytest.mark.parametrize("kind", [Chair, ChairS], ids=["mentions", "captions"])
def test_resamples_from_the_same_counts(kind: type[Chair]) -> None:
    captions = ["a man and a puppy with a fork", "two cats on a couch", "a sunny day", "a dog", "a cat and a dog"]
    candidates = Candidates(captions, metadata=[{"objects": ["person", "dog"]}] * 5)
    assert_resampled_is_the_aggregate(kind(use_references=False), candidates)


def test_the_papers_numbers_are_shares_of_mentions_and_of_captions() -> None:
    counts = ChairCounts(np.array([3, 2, 0]), np.array([1, 2, 0]))
    assert (chair_i(counts), chair_s(counts)) == (3 / 5, 2 / 3)
    nothing = ChairCounts(np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert (chair_i(nothing), chair_s(nothing)) == (0, 0)


def test_what_references_mention_is_there_too() -> None:
    captions, references = ["a cat on a sofa with a remote"] * 2, [["A kitten sleeps."], ["a couch"]]
    listed = [{"objects": ["couch"]}, {"objects": []}]
    assert Chair()(Candidates(captions, references, metadata=listed)).tolist() == pytest.approx([-1 / 3, -2 / 3])
    assert Chair()(Candidates(captions, references)).tolist() == pytest.approx([-2 / 3, -2 / 3])
    assert Chair().needs_references
    alone = Chair(use_references=False)
    assert not alone.needs_references
    assert alone(Candidates(captions, references, metadata=listed)).tolist() == pytest.approx([-2 / 3, -1])
    # Metadata list the objects, so a caption needs no references.
    assert Chair()(Candidates(captions, metadata=listed)).tolist() == pytest.approx([-2 / 3, -1])


def test_labels_may_be_synonyms_or_unknown_to_the_lexicon() -> None:
    captions = ["a television and an orange on a table"]
    listed = [
        {"image": {"things": [{"category": "TV"}, {"category": "Orange"}, {"category": "table"}, {"category": "sky"}]}}
    ]
    reward = Chair(objects="image.things", label="category", use_references=False)
    assert reward.found(Candidates(captions, metadata=listed))[0][1] == []
    assert len(reward.found(Candidates(captions, metadata=listed))[0][0]) == 3


def test_where_nothing_tells_what_is_there() -> None:
    with pytest.raises(RewardError, match="'a dog' list no objects under 'objects': name the key in objects"):
        Chair(use_references=False)(Candidates(["a cat", "a dog"], metadata=[{"objects": ["cat"]}, {"scene": {}}]))
    with pytest.raises(RewardError, match="references is None"):
        Chair()(Candidates(["a cat"]))
    with pytest.raises(RewardError, match="metadata have 'cat' under 'objects': give a list"):
        Chair()(Candidates(["a cat"], metadata=[{"objects": "cat"}]))
    with pytest.raises(RewardError, match="its name as 'name'"):
        Chair()(Candidates(["a cat"], metadata=[{"objects": [{"category": "cat"}]}]))
    assert Chair()(Candidates([], [])).shape == (0,)
    assert ChairS().corpus(Candidates([], [])) == 0


@pytest.mark.parametrize("kind", [Chair, ChairS], ids=["mentions", "captions"])
def test_a_lexicon_of_other_objects_is_told_once(kind: type[Chair], caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(1)
    scenes = [sample_scene(rng) for _ in range(8)]
    said = [describe(scene, rng) for scene in scenes]
    candidates = Candidates(said, [[own] for own in said], metadata=[{"scene": scene} for scene in scenes])
    with caplog.at_level(logging.WARNING, logger="rewards.hallucination"):
        for reward in (kind(), kind(objects="scene.objects", label="shape")):
            assert not reward(candidates).any()
            assert reward.corpus(candidates) == 0
        assert len(caplog.messages) == 2
        assert all(
            "no image has an object that the lexicon knows (80 names, such as person" in said
            for said in caplog.messages
        )
        assert f"{kind.__name__}: of the first 8 captions" in caplog.messages[0]
        kind(SHAPE_WORDS)(candidates)  # from the references
        kind(SHAPE_WORDS, **SCENES)(candidates)  # from the scenes
        later = kind()
        later(Candidates(["a cat", "a sky"], [["a cat"], ["the sky"]]))
        later(candidates)  # nothing known, but the lexicon has been of use
        later(Candidates([], []))
    assert len(caplog.messages) == 2


def test_attributes_are_those_right_before_the_name_in_any_order() -> None:
    sizes = {"large": ["big"], "small": []}
    reward = Chair({"circle": ["disc"]}, attributes={"color": {"red": [], "blue": []}, "size": sizes}, **SCENES)
    scene = {"objects": [{"shape": "circle", "color": "red", "size": "large"}, {"shape": "circle", "color": "blue"}]}
    wrong = {
        "a circle": False,
        "a big red disc": False,
        "a red large circle": False,
        "a small red circle": True,
        "a blue circle": False,
        "a large blue circle": True,  # only the red one is known to be large
        "a small large red circle": False,  # the nearer word wins
        "blue and red discs": False,
        "small: a circle": False,  # not right before the name
    }
    candidates = Candidates(list(wrong), metadata=[{"scene": scene}] * len(wrong))
    assert (reward(candidates) < 0).tolist() == list(wrong.values())
    with pytest.raises(RewardError, match="value 'dark red' of attribute 'color' is more than one word"):
        Chair({"circle": []}, attributes={"color": {"dark red": []}})


@pytest.mark.parametrize("colored", [False, True], ids=["shape", "shape_and_color"])
def test_scenes_hallucinate_exactly_where_objects_differ(colored: bool) -> None:
    rng = np.random.default_rng(5)
    scenes = [sample_scene(rng) for _ in range(300)]
    sentences = [describe(scene, rng) for scene in scenes]
    reward = Chair(SHAPE_WORDS, attributes={"color": COLOR_WORDS} if colored else None, **SCENES)
    own = reward.counts(Candidates(sentences, metadata=[{"scene": scene} for scene in scenes]))
    assert not own.hallucinated.any()

    # The grammar read by itself: an object is a shape word, with a colour in front or without.
    shape_of = {word: shape for shape, words in SHAPES.items() for word in words}
    phrase = re.compile(rf"(?:({'|'.join(COLORS)}) )?({'|'.join(shape_of)})")
    mentioned, wrong = [], []
    for sentence, scene in zip(sentences, [*scenes[1:], scenes[0]], strict=True):
        objects = [(color if colored else "", shape_of[word]) for color, word in phrase.findall(sentence)]
        there = {(color, item["shape"]) for item in scene["objects"] for color in ("", item["color"])}
        mentioned.append(len(objects))
        wrong.append(sum(item not in there for item in objects))
    other = reward.counts(Candidates(sentences, metadata=[{"scene": scene} for scene in [*scenes[1:], scenes[0]]]))
    assert other.mentioned.tolist() == own.mentioned.tolist() == mentioned
    assert other.hallucinated.tolist() == wrong
    assert 0.3 < np.mean(wrong) < 2  # neither never nor always


def test_a_lexicon_is_yaml_inline_or_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "objects.yaml"
    path.write_text("circle: [disc]\nstar:\n")
    parser = ArgumentParser()
    parser.add_subclass_arguments(Reward, "reward")

    def built(kind: str, **init_args: Any) -> Chair:
        config = {"reward": {"class_path": f"rewards.hallucination.{kind}", "init_args": init_args}}
        reward = parser.instantiate(parser.parse_object(config)).reward
        assert isinstance(reward, Chair)
        return reward

    inline = built("Chair", lexicon={"circle": ["disc"], "star": []}, attributes={"color": {"red": []}})
    file = built("ChairS", lexicon=str(path), ignored=["rock star"])
    candidates = Candidates(["red discs and a rock star"], metadata=[{"objects": ["star"]}], references=[["a star"]])
    assert inline(candidates).tolist() == [-0.5]
    assert file(candidates).tolist() == [-1]
    assert file.found(candidates)[0][0] == [("circle", frozenset())]
    assert re.fullmatch(r"-CHAIRi\|lexicon:\w{8}\|truth:objects\+references\|tok:ptb\|v:0.1.0", str(inline.signature))
    assert inline.signature.settings["lexicon"] != file.signature.settings["lexicon"]
    assert Chair().signature == built("Chair").signature


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no names"),
        ("- circle", "holds no names"),
        ("circle: disc", "has 'circle': 'disc': write text"),
        ("circle: [off]", r"has 'circle': \[False\]: write text"),
        ("circle: [", "cannot read the lexicon"),
    ],
    ids=["empty", "list", "text", "boolean", "broken"],
)
def test_what_is_no_lexicon_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "objects.yaml"
    path.write_text(content)
    with pytest.raises(RewardError, match=message):
        Chair(str(path))
    with pytest.raises(RewardError, match="there is no lexicon"):
        Chair(str(tmp_path / "none.yaml"))


def test_hallucinated_objects_keep_their_order_and_number() -> None:
    red, blue = frozenset({("color", "red")}), frozenset({("color", "blue")})
    said = [("star", red), ("circle", red), ("star", red), ("circle", frozenset())]
    assert hallucinated(said, [("circle", blue)]) == [("star", red), ("circle", red), ("star", red)]


# --- COCO


def test_the_80_categories_are_themselves() -> None:
    assert len(CATEGORIES) == 80
    assert all(LEXICON.resolve(name) == name for name in CATEGORIES)
    unread = [name for name in CATEGORIES if [found for found, _ in objects_in(f"the {name} there")] != [name]]
    assert unread == ["orange"]  # alone it is mostly a colour


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a hot dog with a dog", ["hot dog", "dog"]),
        ("teddy bears beside polar bears", ["teddy bear", "bear"]),
        ("a toilet seat and a chair", ["toilet", "chair"]),
        ("a baby elephant and its baby", ["elephant"]),
        ("a mother bear holds her baby", ["bear", "person"]),
        ("a bow tie on a tie dyed shirt", ["tie"]),
        ("a stove top oven", ["oven"]),
        ("a laptop computer with a computer mouse", ["laptop", "mouse"]),
        ("a flat-screen TV, a remote control", ["tv", "remote"]),
        ("a train car at a train station", ["train"]),
        ("a street light by a traffic-light", ["traffic light"]),
        ("an orange cat eats oranges", ["cat", "orange"]),
        ("an orange on a plate of apple pie", ["orange"]),
        ("men's skis on a ski slope", ["person", "skis"]),
        ("a couple of knives, mice and geese", ["knife", "mouse", "bird"]),
        ("a couple of policemen", ["person"]),
        ("an officer on a horse drawn carriage", ["person"]),
        ("a glass of wine and a glass of milk", ["wine glass", "cup"]),
        ("a carrot cake, cupcakes", ["cake", "cake"]),
        ("catching the catalogue of a businessman", ["person"]),
    ],
)
def test_double_words_and_plurals(text: str, expected: list[str]) -> None:
    assert [name for name, _ in objects_in(text)] == expected


def test_people_seldom_hallucinate(real_data: Path) -> None:
    with gzip.open(real_data / "coco" / "captions_val2014.json.gz", "rt") as file:
        images = [captions for captions in json.load(file).values() if len(captions) >= 5][:3000]
    held_out = Candidates([captions[0] for captions in images], [captions[1:5] for captions in images])
    among = Candidates(held_out.captions, [captions[:5] for captions in images])
    strangers = Candidates(held_out.captions, [*(held_out.references or [])[1:], *(held_out.references or [])[:1]])
    chair = Chair()
    assert 0.04 < -chair.corpus(held_out) < 0.08  # what four other people did not mention: 0.057 over all of val2014
    assert chair.corpus(among) == 0
    assert -chair.corpus(strangers) > 0.6
