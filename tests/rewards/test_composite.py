"""Weighted sums and functions as rewards: the arithmetic, what they need, and errors that name the culprit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from rewards.base import Candidates, Reward, RewardError
from rewards.composite import Term, WeightedSum
from rewards.function import FunctionReward

THREE = Candidates(["a dog", "a big cat", "men"], [["dog"], ["cat", "the cat"], ["two men"]], image_ids=["1", "2", "3"])


class Words(Reward):
    """The number of words; remembers what it was prepared with."""

    needs_references = True

    def __init__(self) -> None:
        self.prepared: list[Sequence[Sequence[str]]] = []

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        self.prepared.append(references)

    def __call__(self, candidates: Candidates) -> Any:
        return np.array([float(len(caption.split())) for caption in candidates.captions])


class Given(Reward):
    """Whatever it was given."""

    needs_images = True

    def __init__(self, output: object) -> None:
        self.output = output

    def __call__(self, candidates: Candidates) -> Any:
        if isinstance(self.output, Exception):
            raise self.output
        return self.output


def letters(captions: list[str]) -> list[int]:
    return [len(caption) for caption in captions]


def test_the_sum_is_weighted_and_the_terms_are_not() -> None:
    reward = WeightedSum({"words": Term(Words(), 2.0), "letters": Term(FunctionReward(letters), -0.5)})
    scores = reward.score(THREE)
    assert scores.terms["words"].tolist() == [2, 3, 1]
    assert scores.terms["letters"].tolist() == [5, 9, 3]
    assert scores.total.tolist() == [1.5, 1.5, 0.5]
    assert reward(THREE).tolist() == [1.5, 1.5, 0.5]
    assert reward.corpus(THREE) == pytest.approx(3.5 / 3)


def test_a_single_term_of_weight_one_is_itself() -> None:
    assert WeightedSum({"words": Term(Words())})(THREE).tolist() == Words()(THREE).tolist()


def test_it_needs_what_any_term_needs() -> None:
    words, pictures, plain = Term(Words()), Term(Given([])), Term(FunctionReward(letters))
    for terms, references, images in [
        ({"a": plain}, False, False),
        ({"a": plain, "b": words}, True, False),
        ({"a": pictures}, False, True),
        ({"a": pictures, "b": words}, True, True),
    ]:
        reward = WeightedSum(terms)
        assert (reward.needs_references, reward.needs_images) == (references, images)
    assert not Reward.needs_references


def test_every_term_is_prepared() -> None:
    first, second = Words(), Words()
    WeightedSum({"a": Term(first), "b": Term(WeightedSum({"c": Term(second)}))}).prepare([["a dog"]])
    assert first.prepared == second.prepared == [[["a dog"]]]


def test_the_signature_holds_every_term() -> None:
    reward = WeightedSum({"words": Term(Words(), 0.5), "letters": Term(FunctionReward(letters))})
    assert str(reward.signature).startswith("WeightedSum|words:0.5*(Words|v:0.1.0)|letters:1*(FunctionReward|function:")
    assert reward.signature_of(THREE).settings["words"] == "0.5*(Words|refs:1-2|v:0.1.0)"
    other = WeightedSum({"words": Term(Words(), 0.6), "letters": Term(FunctionReward(letters))})
    assert reward.signature != other.signature


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ([1.0, 2.0], r"'bad' gave shape \(2,\) for 3 captions"),
        (np.zeros((3, 1)), r"'bad' gave shape \(3, 1\)"),
        (0.5, r"'bad' gave shape \(\)"),
        ([[1.0], [1.0, 2.0], []], "'bad' gave no flat sequence"),
        ([1.0, float("nan"), float("nan")], "'bad' gave nan for caption 'a big cat'"),
        ([1.0, 2.0, float("-inf")], "'bad' gave -inf for caption 'men'"),
        ([1.0, None, 2.0], "'bad' gave None .* for caption 'a big cat'"),
        (["1", "2", "3"], "'bad' gave '1' .* for caption 'a dog'"),
        (np.array([True, False, True]), "'bad' gave True .* for caption 'a dog'"),
        (np.array([1j, 1, 1]), "'bad' gave 1j .* for caption 'a dog'"),
    ],
)
def test_a_wrong_output_names_the_reward_the_value_and_the_caption(output: object, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        WeightedSum({"good": Term(Words()), "bad": Term(Given(output))})(THREE)


@pytest.mark.parametrize("output", [[1, 2, 3], np.array([1, 2, 3], np.float32), (1.0, 2.0, 3.0)])
def test_any_real_numbers_become_float64(output: object) -> None:
    scores = WeightedSum({"given": Term(Given(output))}).score(THREE)
    assert scores.terms["given"].dtype == scores.total.dtype == np.float64
    assert scores.total.tolist() == [1, 2, 3]


def test_a_reward_that_raises_is_named() -> None:
    cause = ZeroDivisionError("nothing to divide by")
    with pytest.raises(RewardError, match="'bad' failed: ZeroDivisionError: nothing to divide by") as error:
        WeightedSum({"bad": Term(Given(cause))})(THREE)
    assert error.value.__cause__ is cause


def test_a_sum_needs_terms_and_finite_weights() -> None:
    with pytest.raises(RewardError, match="no terms"):
        WeightedSum({})
    with pytest.raises(RewardError, match="weight of a term is nan"):
        Term(Words(), float("nan"))


def test_a_sum_of_no_captions() -> None:
    assert WeightedSum({"words": Term(Words())})(Candidates([])).shape == (0,)
