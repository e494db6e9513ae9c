"""ROUGE-L: hand-worked numbers, a plain table of common subsequences, pycocoevalcap as the judge."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pycocoevalcap.rouge.rouge import Rouge

from rewards import rouge
from rewards.base import Candidates, RewardError
from rewards.rouge import RougeL, reference_bits, rouge_l
from rewards.tokenize import ptb_tokenize


def official(captions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Sentence scores of pycocoevalcap."""
    gts = {index: list(own) for index, own in enumerate(references)}
    _, scores = Rouge().compute_score(gts, {index: [caption] for index, caption in enumerate(captions)})
    return np.asarray(scores)


def assert_official(captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    scores = [rouge_l(caption, reference_bits(own)) for caption, own in zip(captions, references, strict=True)]
    np.testing.assert_allclose(scores, official(captions, references), rtol=0, atol=1e-9)


def test_by_hand() -> None:
    # Lin 2004, section 3.1: the longest common subsequences are "police the gunman" and "the gunman".
    reference = reference_bits(["police killed the gunman"])
    assert rouge_l("police kill the gunman", reference, beta=1.0) == pytest.approx(3 / 4, rel=1e-12)
    assert rouge_l("the gunman kill police", reference, beta=1.0) == pytest.approx(2 / 4, rel=1e-12)
    # Two of the caption's three words, two of the reference's four: precision 2/3, recall 1/2, beta 1.2.
    expected = 2.44 * (2 / 3) * (1 / 2) / (1 / 2 + 1.44 * 2 / 3)
    assert rouge_l("the big gunman", reference) == pytest.approx(expected, rel=1e-12)


def test_precision_and_recall_may_come_from_two_references() -> None:
    references = reference_bits(["a dog", "dog runs over the big green field"])
    # Precision 1 from the second (both words in order), recall 1/2 from the first (2/7 from the second).
    assert rouge_l("dog runs", references) == pytest.approx(2.44 * 1 * 0.5 / (0.5 + 1.44), rel=1e-12)


def test_no_common_word_scores_zero_and_a_copy_one() -> None:
    assert rouge_l("two men", reference_bits(["a dog"])) == 0
    assert rouge_l("a dog and a dog", reference_bits(["a cat", "a dog and a dog"])) == pytest.approx(1, rel=1e-12)


def test_one_reference_does_not_carry_into_the_next() -> None:
    captions = ["a a a a", "a b a b a", "b a"]
    for caption in captions:
        assert_official([caption], [["a a a a", "a b", "b b b a", "a", "a a a a a a a"]])


def test_equal_to_pycocoevalcap_at_the_edges() -> None:
    captions = ["", "", "dog", "a dog", "two  spaces", "dog dog dog"]
    references = [["a dog"], ["", "a dog"], ["dog"], [""], ["two  spaces here", "two spaces"], ["dog", "dog dog"]]
    assert_official(captions, references)


def test_equal_to_pycocoevalcap_on_random_words() -> None:
    rng = np.random.default_rng(3)

    def sentence() -> str:
        return " ".join(f"w{i}" for i in rng.zipf(1.4, rng.integers(0, 30)) % 20)

    references = [[sentence() for _ in range(rng.integers(1, 7))] for _ in range(300)]
    assert_official([sentence() for _ in references], references)


def test_fakecap_is_the_official_number(real_data: Path) -> None:
    items = json.loads((real_data / "coco" / "fakecap_gold.json").read_text())["items"]
    captions, references = [item["ptb_candidate"] for item in items], [item["ptb_refs"] for item in items]
    assert_official(captions, references)
    scores = [rouge_l(caption, reference_bits(own)) for caption, own in zip(captions, references, strict=True)]
    assert np.mean(scores) == pytest.approx(0.39625, abs=5e-6)

    raw = Candidates([item["caption"] for item in items], [item["raw_refs"] for item in items])
    assert RougeL().corpus(raw) == pytest.approx(0.39625, abs=5e-6)


@pytest.mark.slow
def test_ten_thousand_human_captions_score_as_in_pycocoevalcap(real_data: Path) -> None:
    with gzip.open(real_data / "coco" / "captions_val2014.json.gz", "rt") as file:
        images = [ptb_tokenize(captions) for captions in list(json.load(file).values())[:10_000]]
    assert_official([captions[0] for captions in images], [captions[1:] for captions in images])


def test_references_are_processed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = Candidates(["a dog", "a cat"], [["a dog runs"], ["the cat"]])
    reward = RougeL()
    first = reward(candidates)
    monkeypatch.setattr(rouge, "reference_bits", None)  # calling it would raise
    np.testing.assert_array_equal(reward(candidates), first)


def test_missing_references_are_refused() -> None:
    with pytest.raises(RewardError, match="references is None"):
        RougeL()(Candidates(["a dog"]))


def test_no_captions() -> None:
    assert RougeL()(Candidates([], [])).shape == (0,)


def test_signature() -> None:
    signature = RougeL().signature_of(Candidates(["a"], [["b", "c"]]))
    assert str(signature) == "ROUGE-L|beta:1.2|tok:ptb|refs:2|v:0.1.0"
