"""Statistics of captions: hand-worked numbers."""

import math

import pytest

from rewards.statistics import bad_ending, caption_statistics, distinct


@pytest.mark.parametrize("caption", ["a man with a", "a dog on", "two men and.", "The", "", " . ", "a dog IS"])
def test_a_caption_may_not_stop_there(caption: str) -> None:
    assert bad_ending(caption)


@pytest.mark.parametrize(
    "caption", ["a man with a hat", "a dog on it", "two men", "a cat sits on the mat .", "a android"]
)
def test_a_caption_may_stop_there(caption: str) -> None:
    assert not bad_ending(caption)


def test_distinct_ngrams_by_hand() -> None:
    captions = ["a dog runs", "a dog sleeps"]
    assert distinct(captions, 1) == 4 / 6  # a, dog, runs, sleeps
    assert distinct(captions, 2) == 3 / 4  # a dog, dog runs, dog sleeps
    assert distinct(captions, 3) == 1.0
    assert distinct(captions, 4) == 0.0  # there are none
    assert distinct([], 1) == 0.0


def test_bigrams_do_not_reach_over_captions() -> None:
    assert distinct(["a", "dog"], 2) == 0.0


def test_all_statistics_by_hand() -> None:
    captions = ["a dog runs", "a dog runs", "a man with a", ""]
    assert caption_statistics(captions) == {
        "length": 10 / 4,
        "length_deviation": math.sqrt((0.5**2 + 0.5**2 + 1.5**2 + 2.5**2) / 4),
        "bad_ending_rate": 2 / 4,
        "repetition_rate": 0.0,
        "distinct_1": 5 / 10,  # a, dog, runs, man, with
        "distinct_2": 5 / 7,  # a dog, dog runs, a man, man with, with a
        "vocabulary": 5.0,
        "distinct_captions": 3 / 4,
    }


def test_captions_that_repeat_themselves() -> None:
    captions = ["a dog on a dog", "a dog dog", "a dog and a man", "dog"]  # a-dog twice; one word twice; none; none
    assert caption_statistics(captions)["repetition_rate"] == 2 / 4


def test_statistics_that_need_more_than_captions() -> None:
    captions = ["a dog runs", "a dog", "a dog", "a man"]
    training = {"a dog", "a cat runs"}
    statistics = caption_statistics(captions, training, ended=[True, False, True, True])
    assert statistics["novel_captions"] == 2 / 4
    assert statistics["ended_rate"] == 3 / 4
    assert statistics.keys() - caption_statistics(captions).keys() == {"novel_captions", "ended_rate"}


def test_no_captions() -> None:
    assert set(caption_statistics([], (), ()).values()) == {0.0}
