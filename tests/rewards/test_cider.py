"""CIDEr-D: hand-worked numbers, pycocoevalcap as the judge, the end of a caption, and where frequencies come from."""

import gzip
import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider

from rewards import cider
from rewards.base import Candidates, RewardError
from rewards.cider import CiderD, cider_d, reference_vectors
from rewards.document_frequencies import DocumentFrequencies
from rewards.tokenize import ptb_tokenize

TRAINING = [
    ["a dog runs on the grass", "a brown dog plays with a ball"],
    ["a cat sleeps on a bed", "the cat lies down"],
    ["two people ride a horse", "a man with a hat rides a horse"],
    ["a plate of food with a fork", "some food lies on a plate"],
]


def official(captions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """Scores of pycocoevalcap, each caption an image of its own."""
    gts = {index: list(own) for index, own in enumerate(references)}
    _, scores = Cider().compute_score(gts, {index: [caption] for index, caption in enumerate(captions)})
    return np.asarray(scores)


def human_against_four(folder: Path, count: int) -> tuple[list[str], list[list[str]]]:
    """One human caption of each COCO image, and the image's others."""
    with gzip.open(folder / "coco" / "captions_val2014.json.gz", "rt") as file:
        images = list(json.load(file).values())[:count]
    texts = iter(ptb_tokenize([caption for captions in images for caption in captions]))
    tokenized = [[next(texts) for _ in captions] for captions in images]
    return [captions[0] for captions in tokenized], [captions[1:] for captions in tokenized]


def corpus_scores(captions: Sequence[str], references: Sequence[Sequence[str]], eos: bool = False) -> np.ndarray:
    """The pure functions on tokenised text, document frequencies from the references."""
    frequencies = DocumentFrequencies.from_references(references, eos, "corpus", tokenized=True)
    return cider_d(captions, reference_vectors(references, frequencies), frequencies)


def test_by_hand() -> None:
    # Two images; every n-gram but "a" is in one of them, so its idf is log 2 and "a" has 0.
    frequencies = DocumentFrequencies.from_references([["a dog"], ["a cat"]], False, "hand", tokenized=True)
    vectors = reference_vectors([["a dog"]], frequencies)
    # A copy: the unigrams' and the bigrams' cosines are 1, there are no longer ones: 10 * (1 + 1) / 4.
    assert cider_d(["a dog"], vectors, frequencies) == pytest.approx([5.0], rel=1e-12)
    # "dog dog": unigram dog twice, clipped to once: 1 * 1 / (2 * 1); bigram not shared; lengths equal.
    assert cider_d(["dog dog"], vectors, frequencies) == pytest.approx([10 / 4 * 0.5], rel=1e-12)
    # "dog": the unigram is whole, and one bigram fewer costs exp(-1 / 72).
    assert cider_d(["dog"], vectors, frequencies) == pytest.approx([10 / 4 * np.exp(-1 / 72)], rel=1e-12)


def test_perfect_copies_of_three_words_score_seven_and_a_half() -> None:
    references = [["dogs run fast"], ["cats sleep well"], ["two people ride horses"]]
    np.testing.assert_allclose(corpus_scores([own[0] for own in references], references), [7.5, 7.5, 10], rtol=1e-12)


def test_one_image_alone_scores_zero() -> None:
    assert corpus_scores(["a dog runs"], [["a dog runs", "the dog"]]).tolist() == [0.0]


def test_equal_to_pycocoevalcap_at_the_edges() -> None:
    captions = [
        "",
        "dog",
        "dog dog dog dog",
        "a a a a a",
        "a man riding a horse",
        "unseen words only",
        "a plate of food with a",
    ]
    references = [*TRAINING, ["a dog"], ["a"], ["a dog", "", "a plate of food with a fork", "one more reference"]]
    np.testing.assert_allclose(corpus_scores(captions, references), official(captions, references), rtol=0, atol=1e-9)


def test_equal_to_pycocoevalcap_on_random_words() -> None:
    rng = np.random.default_rng(1)

    def sentence() -> str:
        return " ".join(f"w{i}" for i in rng.zipf(1.4, rng.integers(0, 15)) % 40)

    references = [[sentence() for _ in range(rng.integers(1, 7))] for _ in range(300)]
    captions = [sentence() for _ in references]
    np.testing.assert_allclose(corpus_scores(captions, references), official(captions, references), rtol=0, atol=1e-9)


def test_fakecap_is_the_official_number(real_data: Path) -> None:
    items = json.loads((real_data / "coco" / "fakecap_gold.json").read_text())["items"]
    captions, references = [item["ptb_candidate"] for item in items], [item["ptb_refs"] for item in items]
    scores = corpus_scores(captions, references)
    np.testing.assert_allclose(scores, official(captions, references), rtol=0, atol=1e-9)
    assert scores.mean() == pytest.approx(0.5998, abs=5e-5)

    raw = Candidates(
        [item["caption"] for item in items],
        [item["raw_refs"] for item in items],
        image_ids=[str(item["image_id"]) for item in items],
    )
    assert CiderD("corpus", eos=False).corpus(raw) == pytest.approx(0.5998, abs=5e-5)


@pytest.mark.slow
def test_ten_thousand_human_captions_score_as_in_pycocoevalcap(real_data: Path) -> None:
    captions, references = human_against_four(real_data, 10_000)
    np.testing.assert_allclose(corpus_scores(captions, references), official(captions, references), rtol=0, atol=1e-9)


def test_captions_in_parts_score_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    references = [own for own in TRAINING for _ in range(3)]
    candidates = Candidates(
        [f"a {word} with a hat" for own in TRAINING for word in own[1].split()[:3]],
        references,
        image_ids=[str(index // 3) for index in range(12)],
    )
    reward = CiderD("corpus", eos=False)
    whole = reward(candidates)
    monkeypatch.setattr(cider, "CAPTIONS_AT_ONCE", 5)
    np.testing.assert_allclose(reward(candidates), whole, rtol=1e-12)


def test_several_captions_of_an_image_count_its_references_once() -> None:
    captions = ["a dog runs", "a cat lies down", "a man on a horse", "food on a plate"]
    once = CiderD("corpus", eos=False)(Candidates(captions, TRAINING, image_ids=list("abcd")))
    twice = CiderD("corpus", eos=False)(
        Candidates(captions + captions[:1], [*TRAINING, TRAINING[0]], image_ids=list("abcda"))
    )
    np.testing.assert_allclose(twice, [*once, once[0]], rtol=1e-12)


def test_an_image_with_two_sets_of_references_is_refused() -> None:
    candidates = Candidates(["a", "b"], [["a dog"], ["a cat"]], image_ids=["7", "7"])
    with pytest.raises(RewardError, match="image '7' has two different sets"):
        CiderD("corpus")(candidates)


@pytest.fixture
def reward(tmp_path: Path) -> CiderD:
    reward = CiderD(cache=tmp_path)
    reward.prepare(TRAINING)
    return reward


def scores_of(reward: CiderD, captions: Sequence[str], image: int, ended: Sequence[bool] | None = None) -> list[float]:
    return list(map(float, reward(Candidates(captions, [TRAINING[image]] * len(captions), ended=ended))))


def test_with_the_end_counted_a_bad_ending_costs(reward: CiderD, tmp_path: Path) -> None:
    captions = ["two people ride a horse", "two people ride a horse with a"]
    whole, bad = scores_of(reward, captions, image=2)
    without = CiderD(eos=False, cache=tmp_path)
    without.prepare(TRAINING)
    whole_without, bad_without = scores_of(without, captions, image=2)
    assert bad < whole
    assert bad / whole < bad_without / whole_without


def test_a_caption_cut_short_gets_no_end(reward: CiderD) -> None:
    captions = ["two people ride a horse", "two people ride a horse"]
    ended, cut = scores_of(reward, captions, image=2, ended=[True, False])
    assert cut < ended
    assert scores_of(reward, captions, image=2) == [ended, ended]


def test_without_the_end_it_does_not_matter_who_stopped() -> None:
    candidates = [Candidates(["a dog", "a cat"], TRAINING[:2], ended=ended) for ended in ([True, False], None)]
    first, second = (CiderD("corpus", eos=False)(each).tolist() for each in candidates)
    assert first == second


def test_the_end_scores_as_a_last_word_would(reward: CiderD) -> None:
    captions = ["a dog runs", "a man with a", "", "a"]
    references = [TRAINING[0], TRAINING[2], TRAINING[1], TRAINING[3]]
    word = [[f"{caption} STOP" for caption in own] for own in TRAINING]
    frequencies = DocumentFrequencies.from_references(word, False, "word", tokenized=True)
    vectors = reference_vectors([[f"{caption} STOP" for caption in own] for own in references], frequencies)
    expected = cider_d([f"{caption} STOP" for caption in captions], vectors, frequencies)
    np.testing.assert_allclose(reward(Candidates(captions, references)), expected, rtol=1e-12)


def test_training_frequencies_do_not_depend_on_the_batch(reward: CiderD) -> None:
    captions = ["a dog on the grass", "a cat on a bed", "a man rides a horse"]
    together = reward(Candidates(captions, TRAINING[:3])).tolist()
    alone = [scores_of(reward, [caption], image)[0] for image, caption in enumerate(captions)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    assert min(alone) > 0


def test_references_are_processed_once(reward: CiderD, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = Candidates(["a dog", "a cat"], TRAINING[:2])
    first = reward(candidates)
    monkeypatch.setattr(cider, "reference_vectors", None)  # calling it would raise
    np.testing.assert_array_equal(reward(candidates), first)


def test_scoring_before_prepare_says_what_to_do() -> None:
    with pytest.raises(RewardError, match=r"call prepare\(references\)"):
        CiderD()(Candidates(["a dog"], [["a dog"]]))


def test_missing_references_are_refused() -> None:
    with pytest.raises(RewardError, match="references is None"):
        CiderD("corpus")(Candidates(["a dog"]))
    with pytest.raises(RewardError, match="'a dog' has no references"):
        CiderD("corpus")(Candidates(["a dog"], [[]]))


def test_frequencies_from_a_file(tmp_path: Path, reward: CiderD) -> None:
    path = tmp_path / "mine.npz"
    DocumentFrequencies.from_references(TRAINING, True, "mine").save(path)
    from_file = CiderD(str(path))
    candidates = Candidates(["a dog", "a cat"], TRAINING[:2])
    np.testing.assert_array_equal(from_file(candidates), reward(candidates))
    assert str(from_file.signature).startswith("CIDEr-D|df:mine|")
    with pytest.raises(RewardError, match="eos=True and the reward eos=False"):
        CiderD(str(path), eos=False)(candidates)


def test_signatures(reward: CiderD, tmp_path: Path) -> None:
    metric = CiderD("corpus", eos=False)
    four = Candidates(["a", "b"], [["c"] * 4, ["d"] * 4])
    uneven = Candidates(["a", "b"], [["c"] * 4, ["d"] * 6])
    assert str(metric.signature_of(four)) == "CIDEr-D|df:corpus|tok:ptb|eos:no|refs:4|v:0.1.0"
    assert metric.signature_of(uneven).settings["refs"] == "4-6"
    assert reward.signature.settings["eos"] == "yes"
    other = CiderD(cache=tmp_path)
    assert other.signature.settings["df"] == "train"
    other.prepare(TRAINING[:3])
    assert other.signature != reward.signature


def test_no_captions(reward: CiderD) -> None:
    assert reward(Candidates([], [])).shape == (0,)
    assert CiderD("corpus")(Candidates([], [])).shape == (0,)


def test_a_prepared_reward_can_be_sent_to_another_process(reward: CiderD) -> None:
    candidates = Candidates(["a dog", "a cat"], TRAINING[:2])
    first = reward(candidates)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reward))(candidates), first)  # noqa: S301
