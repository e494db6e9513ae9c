import numpy as np
import pytest

from rlcap.reporting.statistics.bootstrap import paired_bootstrap, paired_bootstraps


def test_counts_and_means_by_hand():
    result = paired_bootstrap(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 2.0, 2.0, 8.0]), np.random.default_rng(0))
    assert (result.images, result.before, result.after, result.difference) == (4, 2.5, 3.5, 1.0)
    assert (result.better, result.equal, result.worse) == (2, 1, 1)
    assert result.relative == pytest.approx(0.4)


def test_same_scores_differ_by_nothing():
    scores = np.random.default_rng(0).normal(size=50)
    result = paired_bootstrap(scores, scores, np.random.default_rng(1))
    assert (result.difference, result.low, result.high, result.equal) == (0.0, 0.0, 0.0, 50)
    assert not result.clear


def test_a_constant_shift_is_certain_however_much_images_vary():
    before = np.random.default_rng(0).normal(1, 100, size=200)
    result = paired_bootstrap(before, before + 0.5, np.random.default_rng(1))
    assert result.low == pytest.approx(0.5)
    assert result.high == pytest.approx(0.5)
    assert result.clear


def test_interval_is_that_of_normal_theory_for_many_images():
    rng = np.random.default_rng(0)
    before = rng.normal(1, 1, size=2000)
    after = before + rng.normal(0.1, 0.5, size=2000)
    result = paired_bootstrap(before, after, rng)
    error = (after - before).std() / np.sqrt(2000)
    # the percentiles of 10,000 resamples wander by some 2 % of the interval's half width
    assert result.low == pytest.approx(result.difference - 1.96 * error, abs=0.1 * error)
    assert result.high == pytest.approx(result.difference + 1.96 * error, abs=0.1 * error)


def test_interval_covers_the_true_difference_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        before = rng.normal(size=60)
        result = paired_bootstrap(before, before + rng.normal(0.2, 1, size=60), rng, resamples=400)
        covered += result.low <= 0.2 <= result.high
    assert 0.90 <= covered / 300 <= 0.98  # 0.95 give or take three standard errors, percentile intervals run short


def test_interval_is_that_of_resamples_drawn_one_by_one():
    before, after = np.random.default_rng(0).normal(size=(2, 30))
    rng = np.random.default_rng(3)
    means = [(after - before)[rng.integers(30, size=30)].mean() for _ in range(500)]
    result = paired_bootstrap(before, after, np.random.default_rng(3), resamples=500)
    # the same images are added up in another order
    assert [result.low, result.high] == pytest.approx(np.quantile(means, [0.025, 0.975]), rel=1e-12)


def test_several_runs_share_the_resamples_and_get_what_each_would_get_alone():
    before, *after = np.random.default_rng(0).normal(size=(4, 50))
    together = paired_bootstraps(before, np.stack(after), np.random.default_rng(5), resamples=300)
    for result, scores in zip(together, after, strict=True):
        alone = paired_bootstrap(before, scores, np.random.default_rng(5), resamples=300)
        assert [result.low, result.high] == pytest.approx([alone.low, alone.high], rel=1e-12)
        assert (result.after, result.better, result.worse) == (alone.after, alone.better, alone.worse)


def test_the_generator_decides_the_interval_and_blocks_do_not(monkeypatch):
    before, after = np.random.default_rng(0).normal(size=(2, 40))
    whole = paired_bootstrap(before, after, np.random.default_rng(7), resamples=1000)
    assert whole == paired_bootstrap(before, after, np.random.default_rng(7), resamples=1000)
    assert whole != paired_bootstrap(before, after, np.random.default_rng(8), resamples=1000)
    monkeypatch.setattr("rlcap.reporting.statistics.bootstrap._CELLS", 40 * 7)
    blocks = paired_bootstrap(before, after, np.random.default_rng(7), resamples=1000)
    assert [blocks.low, blocks.high] == pytest.approx([whole.low, whole.high], rel=1e-12)


def test_no_relative_change_of_nothing_and_no_bootstrap_of_none():
    result = paired_bootstrap(np.zeros(3), np.ones(3), np.random.default_rng(0))
    assert result.relative is None
    with pytest.raises(ValueError, match="at least 1 image, got none"):
        paired_bootstrap(np.zeros(0), np.zeros(0), np.random.default_rng(0))
