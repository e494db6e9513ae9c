"""Penalties: hand-worked numbers, BLEU's own brevity penalty, distinct-n, self-BLEU by pycocoevalcap."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonargparse import ArgumentParser
from pycocoevalcap.bleu.bleu import Bleu as OfficialBleu
from resamples import assert_resampled_is_the_aggregate

from rewards.base import Candidates, Reward, RewardError
from rewards.bleu import Bleu
from rewards.penalties import (
    BadEnding,
    Brevity,
    ForbiddenWords,
    Length,
    Repetition,
    SelfBleu,
)
from rewards.statistics import caption_statistics, distinct, repetition
from rewards.tokenize import ptb_tokenize


def scores(reward: Reward, *captions: str, **columns: Any) -> list[float]:
    return reward(Candidates(captions, **columns)).tolist()


def test_length_counts_words_outside_the_range() -> None:
    captions = ("a big dog.", "a dog", "a", "", "a dog runs on the green grass")
    assert scores(Length(2, 5), *captions) == [0, 0, -1, -2, -2]
    assert scores(Length(4, 5, relative=True), *captions) == [-0.25, -0.5, -0.75, -1, -0.4]  # of 4, and of 5
    assert scores(Length(3, 3), *captions) == [0, -1, -2, -3, -4]


@pytest.mark.parametrize(("shortest", "longest"), [(5, 4), (-1, 4), (0, 0)])
def test_length_needs_a_range(shortest: int, longest: int) -> None:
    with pytest.raises(RewardError, match=f"got {shortest} and {longest}"):
        Length(shortest, longest)


def test_brevity_is_that_of_bleu() -> None:
    # Every word is in the reference, so BLEU-1 is the brevity penalty alone, but for BLEU's tiny constants.
    reference = "a man rides a brown horse on grass"
    candidates = Candidates(
        [reference, "a man rides a", "a man"], [[reference], [reference], [reference, "a man in a"]]
    )
    np.testing.assert_allclose(Brevity()(candidates), [0, math.exp(1 - 8 / 4) - 1, math.exp(1 - 4 / 2) - 1], rtol=1e-12)
    np.testing.assert_allclose(Brevity()(candidates) + 1, Bleu(order=1)(candidates), rtol=1e-7)
    assert Brevity().corpus(candidates) + 1 == pytest.approx(Bleu(order=1).corpus(candidates), rel=1e-7)
    assert Brevity().corpus(candidates) == pytest.approx(math.exp(1 - 20 / 14) - 1, rel=1e-12)


def test_brevity_of_nothing_and_of_more_than_the_reference() -> None:
    assert scores(Brevity(), "", "a b c", references=[["a dog"], ["a", "a b c d e"]]) == [-1, 0]
    assert scores(Brevity(), "", references=[[""]]) == [0]
    assert Brevity().corpus(Candidates([], [])) == 0


def test_brevity_of_resamples_from_the_same_lengths() -> None:
    captions = ("a man rides a", "a man", "", "a man rides a brown horse on grass and sand", "a dog")
    references = [["a man rides a brown horse"], ["a man", "a man rides"], ["a"], ["a man rides"], ["a dog runs here"]]
    assert_resampled_is_the_aggregate(Brevity(), Candidates(captions, references))


def test_repetition_by_hand() -> None:
    # aa, aa, am, mm: only "a man" is neither old nor one word twice.
    assert scores(Repetition(), "a a a man man") == [-0.75]
    assert scores(Repetition(adjacent=False), "a a a man man") == [-0.25]
    assert scores(Repetition(order=1), "a a a man man") == [-0.6]
    # a-man on-a man-on on-a man: of 5 bigrams "on a" and "a man" come again.
    assert scores(Repetition(), "a man on a man on") == pytest.approx([-2 / 5])
    assert scores(Repetition(order=3), "a man on a man on a") == pytest.approx([-2 / 5])
    assert scores(Repetition(order=3), "man man", "man", "a man", "") == [-1, 0, 0, 0]
    assert scores(Repetition(), "A man, a plan: a canal.") == [0]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_repetition_is_what_distinct_n_leaves(order: int) -> None:
    rng = np.random.default_rng(order)
    for length in range(order, 30):
        words = [f"w{index}" for index in rng.integers(0, 6, length)]
        own = repetition(words, order, adjacent=False)
        assert own == pytest.approx(1 - distinct([" ".join(words)], order), abs=1e-12)
        assert own <= repetition(words, order) <= 1


def test_bad_endings() -> None:
    captions = ("a man with a", "A man with a.", "a man with a hat", "", "a dog and,")
    assert scores(BadEnding(), *captions) == [-1, -1, 0, -1, -1]
    ended = [True, True, False, True, True]
    assert scores(BadEnding(), *captions, ended=ended) == [-1, -1, -1, -1, -1]
    assert scores(BadEnding(count_cut=False), *captions, ended=ended) == [-1, -1, 0, -1, -1]
    rate = caption_statistics(ptb_tokenize(captions))["bad_ending_rate"]
    assert BadEnding().corpus(Candidates(captions)) == pytest.approx(-rate)


def test_forbidden_words_are_whole_words_and_phrases() -> None:
    reward = ForbiddenWords(["photo", "close up", "up", "Image of a"])
    captions = (
        "A PHOTO of a photo",
        "a close-up of a dog",
        "up close",
        "photography",
        "image of an image of a cat",
        "",
    )
    assert scores(reward, *captions) == [-2, -1, -1, 0, -1, 0]
    assert scores(ForbiddenWords(["photo", "up"], once=True), *captions) == [-1, -1, -1, 0, 0, 0]


def test_forbidden_words_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("photo\n\n  close up \nPhoto\n", encoding="utf-8")
    reward = ForbiddenWords(["up"], file=str(path))
    assert scores(reward, "a photo, close up", "up") == [-2, -1]
    assert reward.signature == ForbiddenWords(["close up", "photo", "up"]).signature
    assert reward.signature != ForbiddenWords(["close up", "photo", "down"]).signature


def test_forbidden_words_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"there is no file .*none\.txt: check the path"):
        ForbiddenWords(file=str(tmp_path / "none.txt"))
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(RewardError, match=r"empty\.txt holds no words: write one"):
        ForbiddenWords(file=str(tmp_path / "empty.txt"))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RewardError, match=r"cannot read words from .*binary\.txt"):
        ForbiddenWords(file=str(tmp_path / "binary.txt"))
    with pytest.raises(RewardError, match="no words are forbidden"):
        ForbiddenWords()
    with pytest.raises(RewardError, match=r"'\.\.\.' has no words"):
        ForbiddenWords(["..."])


@pytest.mark.parametrize("order", [1, 4])
def test_self_bleu_is_bleu_against_the_other_captions(order: int) -> None:
    captions = ["a dog runs on grass", "two cats", "a dog runs on the grass", "a dog", "a cat", "a dog runs on grass"]
    images = ["1", "2", "1", "1", "3", "1"]
    others = {
        row: [captions[other] for other in range(6) if other != row and images[other] == images[row]]
        for row in range(6)
        if images.count(images[row]) > 1
    }
    _, official = OfficialBleu(4).compute_score(others, {row: [captions[row]] for row in others}, verbose=0)
    expected = np.zeros(6)
    expected[list(others)] = official[order - 1]
    reward = SelfBleu(order)
    np.testing.assert_allclose(reward(Candidates(captions, image_ids=images)), -expected, rtol=0, atol=1e-9)
    assert expected[0] == pytest.approx(1, rel=1e-6)  # its equal is there
    assert not reward.independent


def test_self_bleu_needs_images_to_group_by() -> None:
    with pytest.raises(RewardError, match="image_ids is None"):
        SelfBleu()(Candidates(["a dog"]))
    assert scores(SelfBleu(), image_ids=[]) == []
    with pytest.raises(RewardError, match="orders 1 to 4, got 0"):
        SelfBleu(0)


PENALTIES: dict[str, dict[str, Any]] = {
    "Length|range:8-9|unit:share|tok:ptb|v:0.1.0": {
        "class_path": "Length",
        "init_args": {"longest": 9, "relative": True},
    },
    "Brevity|length:closest|tok:ptb|v:0.1.0": {"class_path": "Brevity"},
    "Repetition|order:3|adjacent:no|tok:ptb|v:0.1.0": {
        "class_path": "Repetition",
        "init_args": {"order": 3, "adjacent": False},
    },
    "BadEnding|cut:yes|tok:ptb|v:0.1.0": {"class_path": "BadEnding"},
    "ForbiddenWords|words:2@": {"class_path": "ForbiddenWords", "init_args": {"words": ["photo", "close up"]}},
    "-SelfBLEU-4|length:closest|tok:ptb|v:0.1.0": {"class_path": "SelfBleu"},
}


@pytest.mark.parametrize("signature", PENALTIES)
def test_a_penalty_is_named_in_yaml_and_spares_a_good_caption(signature: str) -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(Reward, "reward")
    choice = PENALTIES[signature]
    config = {"reward": {**choice, "class_path": f"rewards.penalties.{choice['class_path']}"}}
    reward = parser.instantiate(parser.parse_object(config)).reward
    assert str(reward.signature).startswith(signature)
    good = "a man in a red hat rides a horse"
    bad = "close up photo photo a photo photo a photo photo a"  # 11 words
    columns = {"references": [[good]] * 3, "image_ids": ["1", "2", "2"]}
    first, *others = scores(reward, good, bad, f"{bad} a", **columns)
    assert first == 0
    assert math.copysign(1, first) == 1  # not -0.0, which tables would show
    assert max(others) <= 0
    if signature.startswith("Brevity"):
        assert others == [0, 0]
    else:
        assert min(others) < 0
