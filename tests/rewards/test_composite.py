"""Weighted sums and functions as rewards: the arithmetic, what they need, and errors that name the culprit."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rewards.base import Candidates, Reward, RewardError, Signature
from rewards.composite import FunctionReward, Term, WeightedSum

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


def test_a_function_gets_the_columns_it_names() -> None:
    def hits(captions: list[str], references: Sequence[Sequence[str]], image_ids: Sequence[str] = ()) -> list[float]:
        assert list(image_ids) == ["1", "2", "3"]
        return [
            float(any(set(c.split()) & set(r.split()) for r in own))
            for c, own in zip(captions, references, strict=True)
        ]

    reward = FunctionReward(hits)
    assert (reward.needs_references, reward.needs_images) == (True, False)
    assert reward(THREE).tolist() == [1, 1, 1]


def test_a_function_may_ask_for_every_column() -> None:
    def everything(
        captions: list[str],
        *,
        references: Sequence[Sequence[str]],
        images: Sequence[Image.Image],
        image_ids: Sequence[str],
        metadata: Sequence[Mapping[str, Any]],
        ended: Sequence[bool],
    ) -> list[float]:
        return [len(references[0]) + images[0].width + int(image_ids[0]) + metadata[0]["weight"] + ended[0]]

    reward = FunctionReward(everything)
    candidates = Candidates(["a dog"], [["x", "y"]], ["7"], [Image.new("RGB", (10, 10))], [True], [{"weight": 100}])
    assert (reward.needs_references, reward.needs_images) == (True, True)
    assert reward(candidates).tolist() == [120]


def test_a_column_with_a_default_may_be_absent() -> None:
    def optional(captions: list[str], ended: Sequence[bool] | None = None, power: float = 2.0) -> list[float]:
        return [power if ended is None else 0.0 for _ in captions]

    assert FunctionReward(optional)(THREE).tolist() == [2, 2, 2]


def test_a_column_without_a_default_may_not() -> None:
    def strict(captions: list[str], metadata: Sequence[Mapping[str, Any]]) -> list[float]:
        return []

    with pytest.raises(RewardError, match=r"takes metadata, and Candidates\.metadata is None"):
        FunctionReward(strict)(THREE)


def nothing() -> list[float]:
    return []


def stranger(captions: list[str], temperature: float) -> list[float]:
    return []


def keywords(**columns: Any) -> list[float]:
    return []


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (nothing, "takes no captions"),
        (keywords, "takes no captions"),
        (stranger, "'temperature' that captions cannot fill"),
    ],
)
def test_a_function_of_something_else_is_refused(function: Callable[..., Any], message: str) -> None:
    with pytest.raises(RewardError, match=message):
        FunctionReward(function)


def test_a_function_by_its_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "LIMIT = 3\ndef brevity(captions):\n    return [float(len(c.split()) < LIMIT) for c in captions]\n"
    (tmp_path / "my_rewards_for_a_test.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    reward = FunctionReward("my_rewards_for_a_test.brevity")
    assert reward(THREE).tolist() == [1, 0, 1]
    assert reward.signature == Signature("FunctionReward", {"function": "my_rewards_for_a_test.brevity"})
    for path, message in [
        ("my_rewards_for_a_test.length", "has no attribute 'length'"),
        ("no_such_module_at_all.f", "No module named 'no_such_module_at_all'"),
        ("brevity", "is no import path"),
        ("my_rewards_for_a_test.LIMIT", "is a int"),
    ]:
        with pytest.raises(RewardError, match=message):
            FunctionReward(path)
    monkeypatch.delitem(sys.modules, "my_rewards_for_a_test")


def test_a_wrong_answer_of_a_function_names_the_function() -> None:
    def broken(captions: list[str]) -> list[float]:
        return [float("nan")] * len(captions)

    with pytest.raises(RewardError, match="broken gave nan for caption 'a dog'"):
        FunctionReward(broken)(THREE)
