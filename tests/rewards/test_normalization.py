"""Rewards on another scale: the formulas, the statistics of several processes, and what a checkpoint keeps."""

import json
from typing import Any

import numpy as np
import pytest

from rewards.base import Candidates, Reward, RewardError
from rewards.cider import CiderD
from rewards.composite import Term, WeightedSum
from rewards.failures import ScoringError
from rewards.function import FunctionReward
from rewards.normalization import Clipped, RunningStandardized, Standardized


def batch(*numbers: float) -> Candidates:
    return Candidates([str(number) for number in numbers])


def numbers(captions: list[str]) -> list[float]:
    return [float(caption) for caption in captions]


NUMBERS = FunctionReward(numbers)


def test_clipped() -> None:
    assert Clipped(NUMBERS, -1.0, 2.0)(batch(-5, 0, 7)).tolist() == [-1, 0, 2]
    assert Clipped(NUMBERS, high=2.0)(batch(-5, 0, 7)).tolist() == [-5, 0, 2]
    with pytest.raises(RewardError, match="neither low nor high"):
        Clipped(NUMBERS)
    with pytest.raises(RewardError, match=r"low 2.0 must be below high 1.0"):
        Clipped(NUMBERS, 2.0, 1.0)


def test_standardized_over_the_batch() -> None:
    scores = Standardized(NUMBERS)(batch(1, 2, 6))
    assert scores.tolist() == pytest.approx([-2 / np.sqrt(14 / 3), -1 / np.sqrt(14 / 3), 3 / np.sqrt(14 / 3)])
    assert Standardized(NUMBERS)(batch(0.1, 0.1, 0.1)).tolist() == [0, 0, 0]
    assert Standardized(NUMBERS)(Candidates([])).shape == (0,)
    assert not Standardized(NUMBERS).independent


def step(reward: Reward, *parts: Candidates) -> list[Any]:
    """A training step: scores of every part, then the statistics of all of them."""
    scores = [reward(part).tolist() for part in parts]
    reward.learned(reward.seen())
    return scores


def test_running_standardized_uses_the_steps_before() -> None:
    reward = RunningStandardized(NUMBERS, decay=1.0)
    assert step(reward, batch(1, 3), batch(5)) == [[0, 0], [0]]  # nothing known yet
    past = np.array([1.0, 3.0, 5.0])
    assert step(reward, batch(3, 7)) == [pytest.approx([0, 4 / past.std()])]
    past = np.array([1.0, 3.0, 5.0, 3.0, 7.0])
    assert reward(batch(0)).tolist() == pytest.approx([-past.mean() / past.std()])


def test_the_past_fades() -> None:
    reward = RunningStandardized(NUMBERS, decay=0.5)
    step(reward, batch(0, 2))
    step(reward, batch(4, 6))
    mean, square = (0.5 * 2 + 10) / 3, (0.5 * 4 + 52) / 3
    assert reward(batch(1)).tolist() == pytest.approx([(1 - mean) / np.sqrt(square - mean**2)])


def test_two_processes_know_what_one_knows() -> None:
    one, first, second = (WeightedSum({"x": Term(RunningStandardized(NUMBERS))}) for _ in range(3))
    for parts in [(batch(1, 3), batch(8)), (batch(2), batch(9, 4))]:
        for part in parts:
            one(part)
        one.learned(one.seen())
        first(parts[0])
        second(parts[1])
        both = first.seen() + second.seen()
        first.learned(both)
        second.learned(both)
    expected = one(batch(5, 6)).tolist()
    assert first(batch(5, 6)).tolist() == second(batch(5, 6)).tolist() == pytest.approx(expected)


def test_what_is_scored_between_steps_can_be_left_out() -> None:
    reward = RunningStandardized(NUMBERS)
    step(reward, batch(1, 3))
    before = reward(batch(2, 3)).tolist()
    reward(batch(100))
    reward.seen()  # asked for and dropped
    reward.learned(reward.seen())
    assert reward(batch(2, 3)).tolist() == pytest.approx(before)


def test_a_checkpoint_keeps_the_statistics() -> None:
    def made() -> WeightedSum:
        inner = RunningStandardized(Clipped(RunningStandardized(NUMBERS), -1.0, 1.0))
        return WeightedSum({"x": Term(inner), "y": Term(NUMBERS)})

    first, again = made(), made()
    for part in (batch(1, 2), batch(4, 8), batch(0, 3)):
        first(part)
        first.learned(first.seen())
    again.load_state(json.loads(json.dumps(first.state())))
    assert again(batch(1, 5)).tolist() == first(batch(1, 5)).tolist()
    assert list(first.state()) == ["x"]


def some(captions: list[str]) -> list[float]:
    return [float(caption) if caption != "none" else float("nan") for caption in captions]


class Some(Reward):
    """The same numbers as an array, which no one has looked at."""

    def __call__(self, candidates: Candidates) -> Any:
        return np.array(some(list(candidates.captions)))


FAILING = [FunctionReward(some), Some()]


@pytest.mark.parametrize("within", FAILING, ids=["function", "class"])
def test_what_a_reward_within_fails_for_is_left_out_and_the_rest_keeps_its_scale(within: Reward) -> None:
    three = Candidates(["1", "none", "5"])

    def kept(reward: Reward) -> Any:
        return WeightedSum({"x": Term(reward, on_failure="zero")}).score(three).terms["x"].tolist()

    assert kept(Clipped(within, high=2.0)) == [1, 0, 2]
    assert kept(Standardized(within)) == [-1, 0, 1]
    running = RunningStandardized(within, decay=1.0)
    assert kept(running) == [0, 0, 0]
    running.learned(running.seen())
    assert kept(running) == pytest.approx([-1, 0, 1])  # the mean 3 and deviation 2 of the two known
    with pytest.raises(ScoringError, match="gave nan"):
        WeightedSum({"x": Term(running)})(three)


def test_a_number_too_large_does_not_spoil_later_ones() -> None:
    reward = RunningStandardized(NUMBERS, decay=1.0)
    step(reward, batch(1, 3, 1e200))
    assert step(reward, batch(1, 3)) == [pytest.approx([-1, 1])]


def test_rounding_of_a_constant_is_no_spread() -> None:
    reward = RunningStandardized(NUMBERS)
    for _ in range(300):
        step(reward, batch(*[100.3] * 5))
    assert reward(batch(100.3, 101)).tolist() == [0, 0]


def test_the_unit_does_not_count() -> None:
    tiny = Standardized(NUMBERS)(batch(1e-12, 2e-12, 6e-12)).tolist()
    assert tiny == pytest.approx(Standardized(NUMBERS)(batch(1, 2, 6)).tolist())


def test_wrappers_are_what_they_wrap() -> None:
    cider = Clipped(CiderD(document_frequencies="corpus", eos=False), high=5.0)
    assert (cider.needs_references, cider.needs_images, cider.background) == (True, False, False)
    text = str(cider.signature_of(Candidates(["a dog"], [["a dog"]])))
    assert text == "Clipped|range:..5|of:(CIDEr-D|df:corpus|tok:ptb|eos:no|refs:1|v:0.1.0)|v:0.1.0"
    with pytest.raises(RewardError, match=r"decay must be in \(0, 1\], got 0.0"):
        RunningStandardized(NUMBERS, decay=0.0)
