"""Rewards that fail: the first offending caption is named, or the run goes on without it as it was told to."""

import logging
import time
from typing import Any

import numpy as np
import pytest
from own_rewards import Divides

from rewards import failures
from rewards.background import InThreads
from rewards.base import Candidates, Reward, RewardError
from rewards.composite import Term, WeightedSum
from rewards.failures import Policy, ScoringError
from rewards.function import FunctionReward

# Two images of two captions, and one of one; the second and the last caption have no letters.
FIVE = Candidates(["ab", "", "a", "abcd", ""], image_ids=["1", "1", "2", "2", "3"])


class TogetherOnly(Reward):
    """Fails whenever there are more than two captions, whatever they are."""

    def __call__(self, candidates: Candidates) -> Any:
        if len(candidates) > 2:
            raise MemoryError("too many")
        return np.ones(len(candidates))


class Never(Reward):
    """Always fails, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, candidates: Candidates) -> Any:
        self.calls += 1
        raise ConnectionError("no service")


def nan_for_empty(captions: list[str]) -> list[float]:
    return [float(len(caption)) if caption else float("nan") for caption in captions]


def none_for_empty(captions: list[str]) -> list[float | None]:
    return [float(len(caption)) if caption else None for caption in captions]


def summed(reward: Reward, policy: Policy = "stop") -> WeightedSum:
    return WeightedSum({"own": Term(reward, on_failure=policy)})


def test_a_reward_that_raises_names_the_first_caption_it_fails_for() -> None:
    with pytest.raises(
        ScoringError, match="'own' failed: ZeroDivisionError: division by zero, for caption ''"
    ) as error:
        summed(Divides())(FIVE)
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_a_reward_that_fails_for_no_caption_alone_names_the_batch() -> None:
    with pytest.raises(ScoringError, match="MemoryError: too many, for caption 'ab' and 4 others"):
        summed(TogetherOnly())(FIVE)


@pytest.mark.parametrize("function", [nan_for_empty, none_for_empty], ids=["nan", "none"])
@pytest.mark.parametrize(
    ("policy", "expected"),
    # skip: the mean of the image's other captions; where it has no other, the mean of all
    [("zero", [2, 0, 1, 4, 0]), ("skip", [2, 2, 1, 4, 7 / 3])],
)
def test_captions_without_a_number(function: Any, policy: Policy, expected: list[float]) -> None:
    scores = summed(FunctionReward(function), policy).score(FIVE)
    assert scores.terms["own"].tolist() == pytest.approx(expected)
    assert scores.total.tolist() == scores.terms["own"].tolist()
    assert scores.failed == {"own": 0.4}


@pytest.mark.parametrize(
    ("policy", "expected"), [("zero", [0.5, 0, 1, 0.25, 0]), ("skip", [0.5, 0.5, 1, 0.25, 1.75 / 3])]
)
def test_a_reward_that_raises_is_asked_again_caption_by_caption(policy: Policy, expected: list[float]) -> None:
    assert summed(Divides(), policy).score(FIVE).terms["own"].tolist() == pytest.approx(expected)


def test_a_reward_that_always_fails_is_not_asked_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    never = Never()
    many = Candidates(["a dog"] * 50)
    reward = summed(never, "skip")
    with caplog.at_level(logging.WARNING):
        scores = reward.score(many)
    assert never.calls == 1 + 3
    assert scores.total.tolist() == [0] * 50
    assert scores.failed == {"own": 1.0}
    assert "'own' failed: ConnectionError: no service (50 of 50 captions, first 'a dog'; skip)" in caplog.text
    caplog.clear()
    assert reward.score(many).failed == {"own": 1.0}  # and is not told of again
    assert caplog.text == ""


class Asked(Reward):
    """Fails for captions without letters; keeps how many it was asked for each time."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, candidates: Candidates) -> Any:
        self.sizes.append(len(candidates))
        return np.array([1 / len(caption) for caption in candidates.captions])


@pytest.mark.parametrize("row", [0, 2, 70, 199])
def test_one_failure_among_many_costs_few_calls(row: int) -> None:
    many = Candidates(["ab"] * row + [""] + ["abcd"] * (199 - row))
    expected = [0.5] * row + [0.0] + [0.25] * (199 - row)
    kept, stopped = Asked(), Asked()
    assert summed(kept, "zero").score(many).terms["own"].tolist() == expected
    assert len(kept.sizes) <= 1 + 3 + 2 * 9  # all, three alone, and two halves at each of the depths of 197 captions
    with pytest.raises(ScoringError, match=r"division by zero, for caption ''$"):
        summed(stopped)(many)
    assert len(stopped.sizes) <= 1 + 1 + 9


class Tenfold(Reward):
    """Ten times a reward within, whose errors it lets pass."""

    def __init__(self, within: Reward) -> None:
        self.within = within

    def __call__(self, candidates: Candidates) -> Any:
        return 10 * self.within(candidates)


def test_scores_of_a_reward_within_are_not_taken_for_those_of_the_reward() -> None:
    within: list[Reward] = [Tenfold(FunctionReward(nan_for_empty)), InThreads(Tenfold(FunctionReward(nan_for_empty)))]
    for reward in within:
        assert summed(reward, "zero").score(FIVE).terms["own"].tolist() == [20, 0, 10, 40, 0]
    ones = FunctionReward(lambda captions: [1.0 for _ in captions])
    inner = WeightedSum({"a": Term(FunctionReward(nan_for_empty)), "b": Term(ones)})
    assert summed(inner, "zero").score(FIVE).terms["own"].tolist() == [3, 0, 2, 5, 0]


def test_numbers_of_numpy_beside_none_are_numbers() -> None:
    reward = FunctionReward(lambda captions: [np.float32(1.5), None, np.int64(2), 3, 4.0])
    assert summed(reward, "zero").score(FIVE).terms["own"].tolist() == [1.5, 0, 2, 3, 4]
    with pytest.raises(ScoringError, match=r"gave None \(object\) for caption ''"):
        summed(reward)(FIVE)


def test_other_terms_are_untouched() -> None:
    reward = WeightedSum({"bad": Term(Divides(), 2.0, "zero"), "good": Term(FunctionReward(lambda captions: [1] * 5))})
    scores = reward.score(FIVE)
    assert scores.total.tolist() == [2, 1, 3, 1.5, 1]
    assert set(scores.failed) == {"bad"}


def test_a_reward_set_up_wrongly_stops_whatever_the_policy() -> None:
    def needy(captions: list[str], references: Any) -> list[float]:
        return [1.0 for _ in captions]

    with pytest.raises(
        RewardError, match=r"'own': function .*needy takes references, and Candidates.references is None"
    ):
        summed(FunctionReward(needy), "zero")(FIVE)


def test_a_long_wait_says_what_for(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "SLOW", 0.01)

    def slow(captions: list[str]) -> list[float]:
        time.sleep(0.2)
        return [1.0 for _ in captions]

    with caplog.at_level(logging.WARNING):
        summed(InThreads(FunctionReward(slow)))(FIVE)
    # On a busy machine starting the threads may take as long, and is a wait of its own.
    assert set(caplog.messages) == {"still waiting for reward 'own' after 0.01 seconds"}
