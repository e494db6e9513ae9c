"""Agreement with human judgements: scipy, hand-worked pairs, and the published numbers on Flickr8k-Expert."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from rewards.base import RewardError
from rewards.scoring import score
from rewards.scoring.agreement import (
    agreement,
    kendall_tau,
    kendall_taus,
    pair_accuracy,
    pearsons,
    rated_pairs,
    spearmans,
)
from rewards.scoring.bootstrap import Bootstrap
from rewards.scoring.comparison import compare
from rewards.scoring.files import read_candidates
from rewards.scoring.judgements import read_judgements

FEW = Bootstrap(resamples=60, seed=3)


def columns(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two columns that agree a little, with few or many ties."""
    rows = int(rng.integers(2, 80))
    levels = rng.integers(2, 60, size=2)
    first = rng.integers(levels[0], size=rows) / 3.0
    second = np.floor((first * 3 + rng.normal(0, levels[0] / 2, rows)) * levels[1] / levels[0])
    return first, second


def test_correlations_are_those_of_scipy_in_every_resample() -> None:
    rng = np.random.default_rng(0)
    compared = 0
    for _ in range(150):
        x, y = columns(rng)
        times = rng.integers(0, 3, size=(len(x), 1))
        rows = np.repeat(np.arange(len(x)), times[:, 0])
        if min(len(set(x[rows])), len(set(y[rows]))) < 2:
            continue
        compared += 1
        expected = {
            "b": stats.kendalltau(x[rows], y[rows]).statistic,
            "c": stats.kendalltau(x[rows], y[rows], variant="c").statistic,
            "pearson": stats.pearsonr(x[rows], y[rows]).statistic,
            "spearman": stats.spearmanr(x[rows], y[rows]).statistic,
        }
        many = np.repeat(times, 3, axis=1).astype(np.float64)
        (b, c), pearson, spearman = kendall_taus(x, y, many), pearsons(x, y, many), spearmans(x, y, many)
        for name, values in {"b": b, "c": c, "pearson": pearson, "spearman": spearman}.items():
            assert values.tolist() == pytest.approx([expected[name]] * 3, abs=1e-12), name
        if (times == 1).all():
            assert kendall_tau(x, y) == (b[0], c[0])
    assert compared > 100


def test_kendalls_tau_of_many_rows_without_ties_in_one() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=20_000)
    y = np.floor(x + rng.normal(size=20_000))
    found = kendall_tau(x, y)
    assert found[0] == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert found[1] == pytest.approx(stats.kendalltau(x, y, variant="c").statistic, abs=1e-12)


def test_kendalls_tau_by_hand() -> None:
    # Pairs (1,2): tied in x; (1,3): concordant; (2,3): discordant and so on: 3 concordant, 1 discordant, 1 + 1 ties.
    x, y = np.array([1.0, 1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0, 3.0])
    tau_b, tau_c = kendall_tau(x, y)
    assert tau_b == pytest.approx((3 - 1) / np.sqrt(5 * 5))
    assert tau_c == pytest.approx(2 * (3 - 1) / (4**2 * (3 - 1) / 3))


def test_pairs_of_one_image_count_where_ratings_differ_and_ties_in_score_count_half() -> None:
    image = np.array([0, 1, 0, 0, 1, 2, 1])
    ratings = np.array([1.0, 2.0, 3.0, 1.0, 2.0, 9.0, 1.0])
    better, worse = rated_pairs(image, ratings)
    assert sorted(zip(better.tolist(), worse.tolist(), strict=True)) == [(1, 6), (2, 0), (2, 3), (4, 6)]
    scores = np.array([0.5, 0.9, 0.5, 0.1, 0.2, 0.0, 0.7])  # right, tied, right, wrong
    found = pair_accuracy(scores, image, ratings, FEW)
    assert found is not None
    assert found.value == pytest.approx(2.5 / 4)
    assert pair_accuracy(scores, np.arange(7), ratings, FEW) is None


def test_every_rating_is_a_row_and_pairs_compare_means() -> None:
    rng = np.random.default_rng(2)
    scores, image = rng.normal(size=60), np.repeat(np.arange(12), 5)
    ratings = [list(rng.integers(1, 5, size=rng.integers(1, 4)).astype(float)) for _ in range(60)]
    found = agreement(scores, image, ratings, FEW)
    x = np.concatenate([[value] * len(own) for value, own in zip(scores, ratings, strict=True)])
    y, own_image = np.concatenate(ratings), np.concatenate([[i] * len(r) for i, r in zip(image, ratings, strict=True)])
    assert found.tau_b.value == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert found.tau_c.value == pytest.approx(stats.kendalltau(x, y, variant="c").statistic, abs=1e-12)

    draw, taus, accuracies = np.random.default_rng(3), [], []
    mean = np.array([np.mean(own) for own in ratings])
    for _ in range(60):  # whole images, drawn one resample at a time
        drawn = draw.integers(12, size=12)
        rows = np.concatenate([np.flatnonzero(own_image == number) for number in drawn])
        taus.append(stats.kendalltau(x[rows], y[rows]).statistic)
        right = [
            (np.sign((scores[i] - scores[j]) * (mean[i] - mean[j])) + 1) / 2
            for number in drawn
            for i in range(number * 5, number * 5 + 5)
            for j in range(number * 5, i)
            if mean[i] != mean[j]
        ]
        accuracies.append(np.mean(right))
    assert found.tau_b.interval == pytest.approx(np.quantile(taus, [0.025, 0.975]), abs=1e-12)
    assert found.accuracy is not None
    assert found.accuracy.interval == pytest.approx(np.quantile(accuracies, [0.025, 0.975]), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "ratings", "message"),
    [
        ([0.5, 0.5, 0.5], [1, 2, 3], r"all 3 scores are 0\.5: nothing is ranked"),
        ([0.1, 0.2, 0.3], [2, 2, 2], "all 3 ratings are 2: nothing is ranked"),
        ([0.1, float("nan"), 0.3], [1, 2, 3], "the scores hold nan"),
        ([0.1], [1], "at least 2 rows, got 1"),
    ],
    ids=["scores", "ratings", "nan", "one"],
)
def test_what_cannot_be_ranked_is_told(scores: list[float], ratings: list[float], message: str) -> None:
    with pytest.raises(RewardError, match=message):
        kendall_tau(np.array(scores, np.float64), np.array(ratings, np.float64))


def test_published_agreement_on_flickr8k_expert(real_data: Path) -> None:
    references = real_data / "flickr8k" / "dataset_flickr8k.json.gz"
    judgements = read_judgements(real_data / "human" / "flickr8k_expert.csv", where=["caption_is_own_reference=0"])
    candidates = read_candidates(judgements.captions, references)
    found = compare(score(candidates, rewards=["CIDEr-D", "BLEU-4", "ROUGE-L"], bootstrap=Bootstrap(20)), judgements)
    assert (found.ratings, found.captions) == (16_992, 5_664)
    # Published with one decimal (Hessel et al. 2021, table 1), CIDEr-D with other document frequencies.
    assert 100 * found.rewards["CIDEr-D"].tau_c.value == pytest.approx(43.9, abs=0.2)
    assert 100 * found.rewards["BLEU-4"].tau_c.value == pytest.approx(30.8, abs=0.05)
    assert 100 * found.rewards["ROUGE-L"].tau_c.value == pytest.approx(32.3, abs=0.05)
