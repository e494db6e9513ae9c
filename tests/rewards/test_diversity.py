"""Diversity of several captions of an image: hand-worked numbers, limits, pycocoevalcap and the paper's equations."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from jaxtyping import Float64
from pycocoevalcap.bleu.bleu import Bleu as OfficialBleu
from pycocoevalcap.cider.cider import Cider

from rewards.cider import reference_vectors
from rewards.diversity import (
    cider_kernel,
    distinct_ngrams,
    diversity_statistics,
    mutual_bleu,
    self_cider,
    spectral_diversity,
)
from rewards.document_frequencies import DocumentFrequencies

SAME = ["a dog runs on grass"] * 4
APART = ["one two three four five", "six seven eight nine ten", "big red dogs play here", "an old man walks slowly"]
REFERENCES = [["a dog runs on grass", "one old dog"], ["six big cats play", "a man walks here"], ["ten red birds"]]


def frequencies(references: Sequence[Sequence[str]] = REFERENCES) -> DocumentFrequencies:
    return DocumentFrequencies.from_references(references, eos=False, name="corpus", tokenized=True)


def random_samples(seed: int, images: int = 12, samples: int = 5) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    words = ["a", "dog", "runs", "on", "green", "grass", "two", "men", "play", "with", "one", "red", "ball"]
    return [[" ".join(rng.choice(words, size=int(rng.integers(1, 12)))) for _ in range(samples)] for _ in range(images)]


def test_equal_captions_are_not_diverse_and_unlike_ones_are() -> None:
    same, apart = (diversity_statistics([samples], REFERENCES) for samples in (SAME, APART))
    assert [same[f"mbleu_{order}"] for order in (1, 2, 3, 4)] == pytest.approx([1.0] * 4, abs=1e-6)  # BLEU's constants
    assert same["self_cider"] == pytest.approx(0.0, abs=1e-6)  # the square root of rounding errors
    assert (same["div_1"], same["div_2"], same["samples_vocabulary"]) == (5 / 20, 4 / 20, 5.0)
    assert [apart[f"mbleu_{order}"] for order in (1, 2, 3, 4)] == pytest.approx([0.0] * 4, abs=1e-6)
    assert apart["self_cider"] == pytest.approx(1.0, abs=1e-9)
    assert (apart["div_1"], apart["div_2"], apart["samples_vocabulary"]) == (1.0, 16 / 20, 20.0)


def test_mutual_bleu_by_hand() -> None:
    # Of "a dog runs" two words of three, and one bigram of two, are in "a dog sleeps"; and the other way round.
    expected = [2 / 3, math.sqrt(2 / 3 * 1 / 2)]
    assert mutual_bleu([["a dog runs", "a dog sleeps"]])[0, :2].tolist() == pytest.approx(expected, rel=1e-6)


def test_mutual_bleu_is_pycocoevalcaps() -> None:
    samples = [*random_samples(0), ["", "a dog"], ["", ""], ["a a a", "a a", "a a a a b"]]
    expected = np.zeros((len(samples), 4))
    for image, own in enumerate(samples):
        for row, caption in enumerate(own):
            _, scores = OfficialBleu(4).compute_score({0: own[:row] + own[row + 1 :]}, {0: [caption]}, verbose=0)
            expected[image] += np.array(scores)[:, 0] / len(own)
    np.testing.assert_allclose(mutual_bleu(samples), expected, rtol=0, atol=1e-9)


def test_diversity_of_two_captions_by_hand() -> None:
    # Eigenvalues 1 + c and 1 - c of [[1, c], [c, 1]]: with c = 0.6, singular values as 2 to 1, and r = 2/3.
    assert spectral_diversity(np.array([[1.0, 0.6], [0.6, 1.0]])) == pytest.approx(-math.log2(2 / 3))
    assert spectral_diversity(np.ones((1, 1))) == 0.0
    assert spectral_diversity(np.zeros((3, 3))) == 0.0  # nothing was said, three times


def paper_self_cider(samples: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Wang and Chan 2019 by singular values: for each order the captions' unit tf-idf vectors, orders one upon another.

    Vedantam et al. 2015, eq. 1 (tf-idf) and 2 (cosine): dividing by the caption's number of n-grams cancels there.
    """

    def ngrams(caption: str, order: int) -> Counter[tuple[str, ...]]:
        words = caption.split()
        return Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))

    parts = []
    for order in (1, 2, 3, 4):
        counts = [ngrams(caption, order) for caption in samples]
        known = [set().union(*(ngrams(caption, order) for caption in own)) for own in references]
        names = sorted(set().union(*counts))
        idf = [math.log(len(references) / max(1, sum(name in own for own in known))) for name in names]
        matrix: Float64[np.ndarray, "ngrams samples"] = np.array(
            [[own[name] * weight for own in counts] for name, weight in zip(names, idf, strict=True)]
        ).reshape(len(names), len(samples))
        norm = np.linalg.norm(matrix, axis=0)
        parts.append(matrix / np.where(norm > 0, norm, 1.0) / 2.0)  # sqrt(4): the kernel is the mean over orders
    singular = np.linalg.svd(np.concatenate(parts), compute_uv=False)
    return -math.log(singular.max() / singular.sum()) / math.log(len(samples))


def test_self_cider_is_the_papers() -> None:
    samples = random_samples(1)
    references = [*random_samples(2, samples=3), *REFERENCES]
    expected = [paper_self_cider(own, references) for own in samples]
    assert max(expected) - min(expected) > 0.1  # they tell captions apart
    np.testing.assert_allclose(self_cider(samples, frequencies(references)), expected, rtol=1e-9)


def test_kernel_is_pycocoevalcaps_cider_between_captions_of_one_length() -> None:
    # Its Cider clips counts and weighs lengths; where no word comes twice and lengths are equal, that does nothing.
    # Each caption is the reference of four pairs of sixteen: n-grams are as rare as among the four.
    samples = ["a dog runs on grass", "a cat runs on grass", "two men play with balls", "a dog plays on snow"]
    pairs = [(caption, other) for caption in samples for other in samples]
    gts = {row: [other] for row, (_, other) in enumerate(pairs)}
    _, official = Cider().compute_score(gts, {row: [caption] for row, (caption, _) in enumerate(pairs)})
    (vectors,) = reference_vectors([samples], frequencies([[caption] for caption in samples]))
    np.testing.assert_allclose(10 * cider_kernel(vectors), official.reshape(4, 4), rtol=1e-9, atol=1e-9)
    assert 0 < official[1] < official[0] == pytest.approx(10.0)


def test_distinct_ngrams_by_hand() -> None:
    samples = [["a dog runs", "a dog sleeps"], ["", "a"], ["", ""]]
    assert distinct_ngrams(samples, 1).tolist() == [4 / 6, 1.0, 0.0]
    assert distinct_ngrams(samples, 2).tolist() == [3 / 6, 0.0, 0.0]  # a dog, dog runs, dog sleeps


def test_statistics_are_means_over_images_whatever_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = random_samples(3)
    references = random_samples(4)
    statistics = diversity_statistics(samples, references)
    monkeypatch.setattr("rewards.diversity.IMAGES_AT_ONCE", 5)
    assert diversity_statistics(samples, references) == pytest.approx(statistics, rel=1e-12)
    assert statistics["mbleu_3"] == pytest.approx(mutual_bleu(samples)[:, 2].mean())
    assert statistics["self_cider"] == pytest.approx(self_cider(samples, frequencies(references)).mean())
    assert diversity_statistics([], []) == {}
    assert mutual_bleu([["", ""]]).shape == (1, 4)
