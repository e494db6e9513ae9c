"""What is asked: every two captions that differ, once, on sides and in an order that only the seed changes."""

from collections import Counter
from itertools import combinations

import pytest

from rlcap.annotation.pairs import Question, make_questions, plain, question_key


def captions(runs: int, images: int) -> dict[str, dict[str, str]]:
    return {f"run{run}": {f"i{image}": f"{run} of {image}" for image in range(images)} for run in range(runs)}


def test_identical_captions_and_unshared_images_are_not_asked() -> None:
    made = make_questions(
        {
            "a": {"1": "a dog", "2": "a  cat ", "3": "a man", "4": "only a"},
            "b": {"1": "a wolf", "2": "a cat", "3": "a boy", "5": "only b"},
        },
        seed=0,
    )
    assert made.identical == 1
    assert {question.key for question in made.asked} == {
        ("1", frozenset({"a dog", "a wolf"})),
        ("3", frozenset({"a man", "a boy"})),
    }
    for question in made.asked:
        of_run = {"a": {"1": "a dog", "3": "a man"}, "b": {"1": "a wolf", "3": "a boy"}}
        (left,), (right,) = question.left_runs, question.right_runs
        assert (question.left, question.right) == (of_run[left][question.image], of_run[right][question.image])


def test_sides_and_order_follow_from_the_seed_not_from_the_order_of_the_runs() -> None:
    runs = captions(2, 400)
    made = make_questions(runs, seed=3).asked
    assert make_questions(dict(reversed(runs.items())), seed=3).asked == made
    assert make_questions(runs, seed=4).asked != made
    some = {run: {image: own[image] for image in ("i7", "i90")} for run, own in runs.items()}
    sides = {question.image: question.left for question in made}
    assert all(question.left == sides[question.image] for question in make_questions(some, seed=3).asked)
    assert [question.image for question in made] != [f"i{image}" for image in range(400)]
    # Of 400 fair coins, 400/2 +- 4 standard deviations of 10.
    assert 160 <= sum(question.left_runs == ("run0",) for question in made) <= 240
    assert 70 <= sum(question.left_runs == ("run0",) for question in made[:200]) <= 130


@pytest.mark.parametrize("runs", [3, 4])
def test_pairs_of_runs_are_mixed_evenly(runs: int) -> None:
    made = make_questions(captions(runs, 30), seed=0).asked
    pairs = list(combinations([f"run{run}" for run in range(runs)], 2))
    assert len(made) == 30 * len(pairs)
    times: Counter[tuple[str, str]] = Counter(dict.fromkeys(pairs, 0))
    for question in made:
        times.update(question.pairs)
        assert max(times.values()) - min(times.values()) <= 1
    assert set(times.values()) == {30}


def test_captions_that_several_runs_share_are_asked_once() -> None:
    made = make_questions({"a": {"1": "x"}, "b": {"1": "y"}, "c": {"1": "y "}}, seed=0)
    assert made.identical == 1  # b and c
    (question,) = made.asked
    assert {question.left_runs, question.right_runs} == {("a",), ("b", "c")}
    assert sorted(question.pairs) == [("a", "b"), ("a", "c")]


def test_a_key_knows_no_sides() -> None:
    assert plain(" a\tdog \n runs") == "a dog runs"
    assert question_key("1", "a", "b") == question_key("1", " b", "a") != question_key("2", "a", "b")
    assert Question("1", "a", "b", ("x",), ("y",)).key == Question("1", "b", "a", ("y",), ("x",)).key
