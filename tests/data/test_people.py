"""Simulated people: their taste is the scene's truth, and they choose as their model says."""

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from rewards.base import Candidates, RewardError
from rlcap.data.judgements import Comparison, Judged, Tie
from rlcap.data.negatives import LINGUISTIC, SEMANTIC, Corruptor
from rlcap.data.people import (
    BradleyTerry,
    Crowd,
    Noise,
    Tastes,
    Thurstone,
    Told,
    Utility,
    choice_probabilities,
    rating_probabilities,
    told,
    utility,
)
from rlcap.data.replacements import Vocabulary
from rlcap.data.shapes import SYNONYMS, Shapes
from rlcap.data.tastes import misplaced, stuttered
from rlcap.types import UserError

CIRCLE = {"shape": "circle", "color": "red", "size": "large"}
SQUARE = {"shape": "square", "color": "blue", "size": "small"}
OTHER = {"shape": "circle", "color": "green", "size": "small"}
TWO: dict[str, Any] = {"objects": [CIRCLE, SQUARE], "relations": [[0, "left of", 1], [1, "right of", 0]]}
CIRCLES: dict[str, Any] = {"objects": [CIRCLE, OTHER], "relations": [[0, "above", 1], [1, "below", 0]]}
ONE: dict[str, Any] = {"objects": [CIRCLE], "relations": []}


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    return Shapes(train=150, val=10, test=20, image_size=32)


TOLD = {
    "a large red circle left of a small blue square": (TWO, Told(1, 1, 1, length=10)),
    "there is a little blue box to the right of a big red disc": (TWO, Told(1, 1, 1, length=14)),
    "a circle": (TWO, Told(0.5, 0, 0, length=2)),
    "a circle right of a square": (TWO, Told(1, 0, 0, wrong_relations=1, length=6)),
    "a blue circle left of a star": (TWO, Told(0.5, 0, 0, 1, 1, 1, length=7)),
    "two circles": (TWO, Told(0.5, 0, 0, wrong_attributes=1, length=2)),
    "one circle": (TWO, Told(0.5, 0, 0, length=2)),
    "two circles ": (CIRCLES, Told(0.5, 0, 0, length=2)),
    # What is said of an object is true of that object, not of another of its name.
    "a large green circle": (CIRCLES, Told(0.5, 0.25, 0, wrong_attributes=1, length=4)),
    "a green circle under a red circle": (CIRCLES, Told(1, 0.5, 1, length=7)),
    "a red circle under a circle": (CIRCLES, Told(1, 0.25, 0, wrong_relations=1, length=6)),
    "a circle and a circle and a circle": (CIRCLES, Told(1, 0, 0, 1, length=8, repeated=5)),
    "a red circle and a large circle": (TWO, Told(0.5, 0.25, 0, 1, 1, length=7)),  # one circle is not two
    "a large red circle": (ONE, Told(1, 1, 1, length=4)),
    "a red circle left of a": (TWO, Told(0.5, 0.25, 0, length=6, unfinished=1)),
    "a circle circle": (ONE, Told(1, 0, 1, wrong_attributes=1, length=3, repeated=1)),
    "": (ONE, Told(0, 0, 1, unfinished=1)),
}


@pytest.mark.parametrize("caption", TOLD)
def test_what_a_caption_tells(caption: str) -> None:
    scene, expected = TOLD[caption]
    assert told(caption, scene) == expected


def test_faults_of_language() -> None:
    assert stuttered(["a", "star", "a", "star"]) == 2
    assert stuttered(["a", "star", "a", "star", "a", "star", "left", "left"]) == 5
    assert stuttered(["a", "red", "star", "and", "a", "red", "box"]) == 0
    assert misplaced(list("DJNIDN")) == 0
    assert misplaced(list("DIN")) == 1  # "a of star"
    assert misplaced(list("JND")) == 1  # "red star a"
    assert misplaced(list("NJI")) == 2  # "star red of"


def test_utility_is_the_sum_of_worths_less_costs() -> None:
    caption_told = Told(0.5, 0.25, 1, 1, 2, 3, 10, 4, 5, 1)
    tastes = Tastes(2.0, 4.0, 8.0, 1.0, 10.0, 100.0, 0.1, 0.01, 0.001, 7.0)
    assert tastes.of(caption_told) == pytest.approx(1 + 1 + 8 - 1 - 20 - 300 - 1 - 0.04 - 0.005 - 7, rel=1e-12)
    # Two objects and three attributes of four told, nothing wrong, nine words: 2 + 1.5 + 1 - 0.45.
    assert utility("a red circle left of a small blue square", TWO) == pytest.approx(4.05, rel=1e-12)


def test_the_reward_is_the_utility() -> None:
    candidates = Candidates(["a circle", "two stars"], metadata=[{"scene": TWO}, {"scene": ONE}])
    tastes = Tastes(objects=5.0)
    assert Utility(tastes)(candidates).tolist() == [utility("a circle", TWO, tastes), utility("two stars", ONE, tastes)]
    assert str(Utility().signature) != str(Utility(tastes).signature)
    with pytest.raises(RewardError, match="the images' metadata have no 'scene'"):
        Utility()(Candidates(["a circle"]))
    with pytest.raises(UserError, match=r"tastes\.length must be 0 or more, got -1"):
        Tastes(length=-1.0)


def test_references_are_better_than_what_is_made_of_them(shapes: Shapes) -> None:
    """Of scenes with one or two objects of different shapes, where what is made wrong is wrong: without exception.

    Shuffled words may come out right: "a large red star" and "a red large star" are worth the same.
    """
    records = shapes.records("train")[:60]
    vocabulary = Vocabulary.of([caption for record in records for caption in record.references], synonyms=SYNONYMS)
    rng = np.random.default_rng(0)
    better = dict.fromkeys((*SEMANTIC, *LINGUISTIC), 0)
    made = dict(better)
    for record in records:
        scene = record.metadata["scene"]
        names = [item["shape"] for item in scene["objects"]]
        for kind in better if len(set(names)) == len(names) < 3 else ():
            for caption in record.references[:2]:
                for negative in Corruptor(vocabulary, [kind])(caption, rng, 1):
                    made[kind] += 1
                    better[kind] += utility(caption, scene) > utility(negative.text, scene)
    assert min(made.values()) > 30
    assert better["shuffle_words"] > 0.98 * made["shuffle_words"]
    assert better | {"shuffle_words": 0} == made | {"shuffle_words": 0}


def test_references_are_better_than_those_of_other_scenes(shapes: Shapes) -> None:
    records = shapes.records("train")
    own = [utility(record.references[0], record.metadata["scene"]) for record in records]
    others = [utility(a.references[0], b.metadata["scene"]) for a, b in pairwise(records)]
    assert np.median(own) > np.quantile(others, 0.99)
    faults = [sum(told(caption, record.metadata["scene"])[3:6]) for record in records for caption in record.references]
    assert not any(faults)  # references say nothing wrong


def test_choice_probabilities() -> None:
    for difference in (-2.0, 0.0, 0.7):
        wins, tied, loses = choice_probabilities(difference, 0.0, BradleyTerry(0.5))
        assert wins == pytest.approx(1 / (1 + math.exp(-difference / 0.5)), rel=1e-12)
        assert (tied, wins + loses) == (pytest.approx(0.0, abs=1e-12), pytest.approx(1.0, rel=1e-12))
    # Rao and Kupper 1967: p_i / (p_i + theta p_j) with p the exponential of the utility and theta that of the tie.
    p, q, theta = math.exp(0.9 / 0.5), math.exp(0.2 / 0.5), math.exp(0.3 / 0.5)
    expected = (p / (p + theta * q), p * q * (theta**2 - 1) / ((p + theta * q) * (q + theta * p)), q / (q + theta * p))
    assert choice_probabilities(0.7, 0.3, BradleyTerry(0.5)) == pytest.approx(expected, rel=1e-12)
    assert Thurstone(0.5).below(0.5) == pytest.approx(
        0.5 + 0.5 * math.erf(0.5 / math.sqrt(2) / math.sqrt(0.5)), rel=1e-12
    )
    assert rating_probabilities(1.0, (1.0,), Thurstone(2.0)) == (0.5, 0.5)
    shares = rating_probabilities(0.4, (0.0, 1.5, 3.0), BradleyTerry(1.0))
    assert sum(shares) == pytest.approx(1.0, rel=1e-12)
    assert sum(shares[2:]) == pytest.approx(1 / (1 + math.exp(1.1)), rel=1e-12)


@pytest.mark.parametrize("noise", [BradleyTerry(1.0), Thurstone(1.0)], ids=["bradley-terry", "thurstone"])
def test_people_choose_and_rate_as_their_model_says(noise: Noise) -> None:
    """Shares of 400 answers are within four standard deviations of their probabilities."""
    (person,) = Crowd(raters=1, noise=noise, tie=0.3, seed=5).people
    pair = ("a red circle", "a circle above a square")
    difference = utility(pair[0], TWO, person.tastes) - utility(pair[1], TWO, person.tastes)
    expected = choice_probabilities(difference, 0.3, noise)
    assert min(expected) > 0.05
    rng = np.random.default_rng(0)
    counts = Counter(person.choose(pair, TWO, rng) for _ in range(400))
    answers = (
        Judged(pair, comparisons=(Comparison(0, 1, rater="rater-0"),)),
        Judged(pair, ties=(Tie(0, 1, rater="rater-0"),)),
        Judged(pair, comparisons=(Comparison(1, 0, rater="rater-0"),)),
    )
    assert set(counts) == set(answers)
    shares = rating_probabilities(utility(pair[0], TWO, person.tastes), person.thresholds, noise)
    rated = Counter(person.rate(pair[0], TWO, rng).ratings[0].value for _ in range(400))
    for probability, count in [
        *((share, counts[answer]) for share, answer in zip(expected, answers, strict=True)),
        *((share, rated[value]) for value, share in enumerate(shares, start=1)),
    ]:
        assert abs(count / 400 - probability) < 4 * math.sqrt(probability * (1 - probability) / 400)


def test_people_differ_around_the_mean() -> None:
    """Log-normal factors of mean 1 and spread 0.3 in the logarithm; means of 2,000 within four standard deviations."""
    crowd = Crowd(raters=2000, disagreement=0.3)
    factors = np.array([person.tastes.objects / crowd.tastes.objects for person in crowd.people])
    assert abs(factors.mean() - 1) < 4 * math.sqrt(math.exp(0.09) - 1) / math.sqrt(2000)
    assert abs(np.log(factors).std() - 0.3) < 4 * 0.3 / math.sqrt(2 * 2000)
    assert Crowd(raters=3).people == crowd.people[:3]
    assert {person.tastes for person in Crowd(raters=3, disagreement=0.0).people} == {Tastes()}
    for wrong in ({"raters": 0}, {"disagreement": -1.0}, {"tie": -0.1}, {"thresholds": (1.0, 1.0)}):
        with pytest.raises(UserError):
            Crowd(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="temperature must be above 0"):
        BradleyTerry(0.0)
