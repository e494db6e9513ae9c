"""BLEU: hand-worked numbers, pycocoevalcap as the judge, corpus scores from sums."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu as OfficialBleu

from rewards import bleu
from rewards.base import Candidates, RewardError
from rewards.bleu import Bleu, BleuStatistics, bleu_statistics, corpus_bleu, reference_maxima, sentence_bleu
from rewards.tokenize import ptb_tokenize


def official(captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Corpus scores [orders] and sentence scores [captions, orders] of pycocoevalcap."""
    gts = {index: list(own) for index, own in enumerate(references)}
    res = {index: [caption] for index, caption in enumerate(captions)}
    corpus, sentences = OfficialBleu(4).compute_score(gts, res, verbose=0)
    return np.array(corpus), np.array(sentences).T


def statistics_of(captions: Sequence[str], references: Sequence[Sequence[str]]) -> BleuStatistics:
    return bleu_statistics(captions, reference_maxima(references))


def assert_official(captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    statistics = statistics_of(captions, references)
    corpus, sentences = official(captions, references)
    np.testing.assert_allclose(sentence_bleu(statistics), sentences, rtol=0, atol=1e-9)
    np.testing.assert_allclose(corpus_bleu(statistics), corpus, rtol=0, atol=1e-9)


def test_by_hand() -> None:
    # Papineni et al. 2002, example 2: "the" is clipped to the two of the first reference.
    statistics = statistics_of(
        ["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]]
    )
    assert statistics.correct[0].tolist() == [2, 0, 0, 0]
    assert statistics.guessed[0].tolist() == [7, 6, 5, 4]
    assert statistics.reference_words.tolist() == [7]
    assert sentence_bleu(statistics)[0, 0] == pytest.approx(2 / 7, rel=1e-8)


def test_a_perfect_copy_scores_one_and_half_of_it_is_penalised() -> None:
    reference = "a man rides a brown horse on grass"
    whole, half = sentence_bleu(statistics_of([reference, "a man rides a"], [[reference], [reference]]))
    np.testing.assert_allclose(whole, 1, rtol=1e-7)
    np.testing.assert_allclose(half, np.exp(1 - 8 / 4), rtol=1e-7)


def test_of_two_equally_near_lengths_the_shorter_counts() -> None:
    statistics = statistics_of(["one two three"], [["a b c d", "a b", "a b c d e"]])
    assert statistics.reference_words.tolist() == [2]


def test_equal_to_pycocoevalcap_at_the_edges() -> None:
    captions = ["", "dog", "dog dog dog", "a dog runs", "unseen words only here", "a plate of food with a fork"]
    references = [["a dog"], ["dog"], ["dog dog", "a dog dog"], ["a dog runs", ""], ["a"], ["a plate of food", "food"]]
    assert_official(captions, references)
    assert sentence_bleu(statistics_of([""], [["a dog"]])).tolist() == [[0, 0, 0, 0]]


def test_equal_to_pycocoevalcap_on_random_words() -> None:
    rng = np.random.default_rng(2)

    def sentence() -> str:
        return " ".join(f"w{i}" for i in rng.zipf(1.4, rng.integers(0, 15)) % 40)

    references = [[sentence() for _ in range(rng.integers(1, 7))] for _ in range(300)]
    assert_official([sentence() for _ in references], references)


def test_fakecap_is_the_official_number(real_data: Path) -> None:
    gold = json.loads((real_data / "coco" / "fakecap_gold.json").read_text())
    captions = [item["ptb_candidate"] for item in gold["items"]]
    references = [item["ptb_refs"] for item in gold["items"]]
    assert_official(captions, references)
    statistics = statistics_of(captions, references)
    assert corpus_bleu(statistics) == pytest.approx([0.5794, 0.4044, 0.2785, 0.1908], abs=5e-5)
    expected = gold["official_scores"]["bleu_stats"]
    assert statistics.correct.sum(axis=0).tolist() == expected["correct"]
    assert statistics.guessed.sum(axis=0).tolist() == expected["guess"]
    assert (statistics.words.sum(), statistics.reference_words.sum()) == (expected["testlen"], expected["reflen"])

    raw = Candidates([item["caption"] for item in gold["items"]], [item["raw_refs"] for item in gold["items"]])
    for order, official_score in enumerate([0.5794, 0.4044, 0.2785, 0.1908], start=1):
        assert Bleu(order).corpus(raw) == pytest.approx(official_score, abs=5e-5)


@pytest.mark.slow
def test_ten_thousand_human_captions_score_as_in_pycocoevalcap(real_data: Path) -> None:
    with gzip.open(real_data / "coco" / "captions_val2014.json.gz", "rt") as file:
        images = [ptb_tokenize(captions) for captions in list(json.load(file).values())[:10_000]]
    assert_official([captions[0] for captions in images], [captions[1:] for captions in images])


def test_corpus_scores_come_from_sums_and_not_from_the_mean() -> None:
    candidates = Candidates(
        ["a dog runs on the grass", "a cat"], [["a dog runs on the grass"], ["the cat sleeps on the bed"]]
    )
    reward = Bleu(order=1)
    # 7 of 8 words, 8 words against 12.
    assert reward.corpus(candidates) == pytest.approx(7 / 8 * np.exp(1 - 12 / 8), rel=1e-7)
    assert reward(candidates).mean() == pytest.approx((1 + 0.5 * np.exp(1 - 6 / 2)) / 2, rel=1e-7)


def test_a_bootstrap_needs_no_second_count() -> None:
    captions, references = ["a dog", "a cat sleeps", "two men"], [["a dog"], ["the cat sleeps"], ["two women"]]
    statistics = statistics_of(captions, references)
    sample = np.array([2, 0, 0])
    again = statistics_of([captions[row] for row in sample], [references[row] for row in sample])
    np.testing.assert_array_equal(corpus_bleu(statistics.rows(sample)), corpus_bleu(again))


def test_each_order_is_its_column() -> None:
    captions, references = ["a dog runs on grass", "a cat"], [["a dog runs on the grass"], ["a cat", "the cat"]]
    expected = sentence_bleu(statistics_of(captions, references))
    for order in (1, 2, 3, 4):
        np.testing.assert_array_equal(Bleu(order)(Candidates(captions, references)), expected[:, order - 1])


def test_references_are_processed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = Candidates(["a dog", "a cat", "dog"], [["a dog"], ["a cat", "the cat"], ["a dog"]])
    reward = Bleu(order=2)
    first = reward(candidates)
    monkeypatch.setattr(bleu, "reference_maxima", None)  # calling it would raise
    np.testing.assert_array_equal(reward(candidates), first)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(RewardError, match="orders 1 to 4, got 5"):
        Bleu(5)
    with pytest.raises(RewardError, match="'a dog' has no references"):
        Bleu()(Candidates(["a dog"], [[]]))


def test_no_captions() -> None:
    assert Bleu()(Candidates([], [])).shape == (0,)
    assert Bleu().corpus(Candidates([], [])) == 0


def test_signature() -> None:
    assert str(Bleu(4).signature_of(Candidates(["a"], [["b", "c"]]))) == "BLEU-4|length:closest|tok:ptb|refs:2|v:0.1.0"
