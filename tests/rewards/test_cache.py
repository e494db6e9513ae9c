"""Remembered scores: each caption of an image is scored once, and nothing is taken for another."""

from typing import Any

import numpy as np
import pytest

from rewards.base import Candidates, Reward, RewardError
from rewards.bleu import Bleu
from rewards.cache import Cached
from rewards.composite import Term, WeightedSum
from rewards.normalization import RunningStandardized, Standardized


class Counting(Reward):
    """Scores by letters and references, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def __call__(self, candidates: Candidates) -> Any:
        ids = candidates.image_ids or [""] * len(candidates)
        self.asked += zip(candidates.captions, ids, strict=True)
        return np.array(
            [len(caption) + 10.0 * len(image) for caption, image in zip(candidates.captions, ids, strict=True)]
        )


def test_each_caption_of_an_image_is_scored_once() -> None:
    inner = Counting()
    reward = Cached(inner)
    first = Candidates(["a", "bb", "a", "a"], image_ids=["1", "1", "1", "22"])
    assert reward(first).tolist() == Counting()(first).tolist() == [11, 12, 11, 21]
    assert inner.asked == [("a", "1"), ("bb", "1"), ("a", "22")]
    assert reward(Candidates(["bb", "ccc"], image_ids=["1", "1"])).tolist() == [12, 13]
    assert inner.asked[3:] == [("ccc", "1")]
    assert reward(first).tolist() == [11, 12, 11, 21]
    assert len(inner.asked) == 4


def test_references_and_ends_count() -> None:
    reward = Cached(Bleu(1))
    for references in (["a dog"], ["a cat"]):
        candidates = Candidates(["a dog"], [references], image_ids=["1"])
        assert reward(candidates).tolist() == Bleu(1)(candidates).tolist()
    inner = Counting()
    for ended in (True, False):
        Cached(inner)(Candidates(["a"], ended=[ended]))
    assert len(inner.asked) == 2


def test_the_oldest_are_forgotten_but_never_within_a_batch() -> None:
    inner = Counting()
    reward = Cached(inner, size=2)
    many = Candidates(["a", "bb", "ccc", "a"])
    assert reward(many).tolist() == [1, 2, 3, 1]
    assert len(reward.known) == 2
    pending = reward.begin(Candidates(["ccc", "dddd"]))
    reward(Candidates(["x", "y", "z"]))  # forgets ccc while it is being waited for
    assert pending().tolist() == [3, 4]


class Sometimes(Reward):
    """NaN for every caption but "a" until it recovers."""

    def __init__(self) -> None:
        self.well = False

    def __call__(self, candidates: Candidates) -> Any:
        return np.array([1.0 if self.well or caption == "a" else np.nan for caption in candidates.captions])


def test_failures_are_not_remembered() -> None:
    inner = Sometimes()
    reward = WeightedSum({"x": Term(Cached(inner), on_failure="zero")})
    candidates = Candidates(["b", "a", "b", "c"])
    reward(Candidates(["a"]))
    for _ in range(2):
        scores = reward.score(candidates)
        assert scores.terms["x"].tolist() == [0, 1, 0, 0]
        assert scores.failed == {"x": 0.75}
    inner.well = True
    assert reward(candidates).tolist() == [1, 1, 1, 1]


def test_bleu_of_all_captions_stays_that_of_the_corpus() -> None:
    candidates = Candidates(["a dog runs", "a cat"], [["a dog runs fast"], ["the cat"]], image_ids=["1", "2"])
    assert Cached(Bleu(2)).corpus(candidates) == Bleu(2).corpus(candidates)


def test_what_cannot_be_remembered_is_refused() -> None:
    with pytest.raises(RewardError, match="Standardized cannot be cached"):
        Cached(Standardized(Counting()))
    with pytest.raises(RewardError, match=r"RunningStandardized keeps running statistics.*put it around Cached"):
        Cached(RunningStandardized(Counting()))
    with pytest.raises(RewardError, match="image_ids is None"):
        Cached(Counting())(Candidates(["a"], metadata=[{"objects": []}]))
    with pytest.raises(RewardError, match="size must be at least 1, got 0"):
        Cached(Counting(), 0)
