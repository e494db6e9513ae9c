"""Intervals and p-values: against scipy's t-tests, by hand, and by how often they are right in simulations."""

import numpy as np
import pytest
import scipy.stats

from rlcap.reporting.statistics.correction import holm
from rlcap.reporting.statistics.estimates import difference, estimate
from rlcap.reporting.statistics.resampling import Runs, image_resamples, mean_runs, mean_runs_of


def seeds_only(*values):
    return Runs(np.array(values), None, 0)


def simulated(rng, trials, methods, images, seeds=3, own=0.3, seed=0.0, residual=0.3):
    """Means of methods of equal merit, in many trials: skewed difficulties, most captions the same for all seeds."""

    def sparse(*shape):
        return rng.laplace(scale=np.sqrt(0.5 / 0.3), size=shape) * (rng.random(shape) < 0.3)

    shape = (trials, methods, seeds, images)
    scores = rng.gamma(1.2, size=(trials, 1, 1, images)) + own * sparse(trials, methods, 1, images)
    scores = scores + seed * rng.normal(size=(*shape[:3], 1)) + residual * sparse(*shape)
    runs = mean_runs_of(list(scores.reshape(-1, seeds, images)), image_resamples(images, 400, seed=1))
    return [runs[start : start + methods] for start in range(0, len(runs), methods)]


# --- agreement


def test_one_seed_each_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    baseline = rng.gamma(1.2, size=(1, 50))
    scores = baseline + rng.normal(0.1, 0.4, size=(1, 50))
    found = difference(*mean_runs_of([scores, baseline], image_resamples(50, 40_000, seed=0)))
    expected = scipy.stats.ttest_rel(scores[0], baseline[0])
    interval = expected.confidence_interval(0.95)
    error = (scores - baseline).std(ddof=1) / np.sqrt(50)
    # the standard error of 40,000 resamples wanders by 0.35 %; four times that
    assert found.error == pytest.approx(error, rel=0.014)
    assert found.value == pytest.approx((scores - baseline).mean(), rel=1e-12)
    assert found.seeds == (1, 1)
    assert found.degrees == pytest.approx(49, rel=1e-12)
    assert [found.low, found.high] == pytest.approx([interval.low, interval.high], abs=0.03 * error)
    statistic = expected.statistic * error / found.error
    assert found.p == pytest.approx(2 * scipy.stats.t.sf(abs(statistic), 49), rel=1e-9)
    assert found.p == pytest.approx(expected.pvalue, rel=0.1)


def test_numbers_across_seeds_only_are_welchs_t_test():
    first, second = [5.0, 5.5, 7.0], [3.0, 4.0, 4.5, 3.8, 4.1]
    expected = scipy.stats.ttest_ind(first, second, equal_var=False)
    interval = expected.confidence_interval(0.9)
    found = difference(seeds_only(*first), seeds_only(*second), confidence=0.9)
    assert [found.p, found.degrees, found.low, found.high] == pytest.approx(
        [expected.pvalue, expected.df, interval.low, interval.high], rel=1e-10
    )
    alone = estimate(seeds_only(*first), confidence=0.9)
    interval = scipy.stats.ttest_1samp(first, 0).confidence_interval(0.9)
    assert [alone.low, alone.high, alone.degrees] == pytest.approx([interval.low, interval.high, 2], rel=1e-10)


def test_parts_of_the_variance_by_hand():
    # The mean over seeds is 1 or 3 on the resamples: variance 2 over these two, and 4 over samples of two images. The
    # seeds' values 0, 4 have variance 8. They differ by 3 - 1 = 2 and 4 - 2 = 2 on the resamples, so images give none.
    runs = Runs(np.array([0.0, 4.0]), np.array([[0.0, 2.0], [2.0, 4.0]]), 2)
    found = estimate(runs)
    assert found.error == pytest.approx(np.sqrt(4 + 8 / 2))
    assert found.degrees == pytest.approx(1)
    # Now they differ by -1, 3: each deviates by half of that, variance 4 * 2 / 2 / 2 = 2 each; times 2 / 1 is 4 each.
    runs = Runs(np.array([0.0, 4.0]), np.array([[1.5, 1.5], [0.5, 4.5]]), 2)
    assert estimate(runs).error == pytest.approx(np.sqrt(4 + max(0, 8 - 8) / 2))
    # Three images more: factors 5 / 4, so 2.5 of images and 8 - 5 of seeds; degrees 4 and 1 by shares of 2.5 and 1.5.
    found = estimate(Runs(runs.values, runs.resampled, 5))
    assert found.error == pytest.approx(np.sqrt(2.5 + 1.5))
    assert found.degrees == pytest.approx(1 / (2.5 / 4 / 4 + 1.5 / 4 / 1))
    assert found.high - found.value == pytest.approx(scipy.stats.t.ppf(0.975, found.degrees) * 2)


# --- what cannot be told, and what does not vary


def test_nothing_is_said_of_one_image_or_of_one_seed_without_images():
    one_image = mean_runs(np.array([[1.0], [2.0]]), image_resamples(1, 10, seed=0))
    for runs, baseline in ((one_image, one_image), (seeds_only(1.0), seeds_only(2.0, 3.0))):
        found, alone = difference(runs, baseline), estimate(runs)
        assert (found.low, found.high, found.error, found.degrees, found.p) == (None,) * 5
        assert (alone.low, alone.high, alone.error, alone.degrees) == (None,) * 4
        assert found.value == runs.values.mean() - baseline.values.mean()
    assert estimate(seeds_only(2.0, 3.0)).error == pytest.approx(0.5)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_method_does_not_differ_from_itself(seeds):
    scores = np.random.default_rng(0).gamma(1.2, size=(seeds, 40))
    runs = mean_runs(scores, image_resamples(40, 100, seed=0))
    found = difference(runs, runs)
    assert (found.value, found.p) == (0, 1)
    assert found.low <= 0 <= found.high
    assert seeds > 1 or found.low == found.high == 0


def test_scores_that_are_all_equal_do_not_differ_however_they_are_added():
    blocks = list(image_resamples(7, 100, seed=0))
    runs, baseline = mean_runs(np.full((3, 7), 0.1), blocks), mean_runs(np.full((1, 7), 0.1), blocks)
    found, alone = difference(runs, baseline), estimate(runs)
    assert (found.value, found.low, found.high, found.error, found.p) == (0, 0, 0, 0, 1)
    assert alone.low == alone.high == alone.value
    shifted = difference(mean_runs(np.full((1, 7), 0.3), blocks), baseline)
    assert shifted.value == pytest.approx(0.2)
    assert (shifted.low, shifted.p) == (None, None)  # what never varied tells nothing of how much it might
    again = difference(seeds_only(0.1, 0.1, 0.1), seeds_only(0.1, 0.1))
    assert (again.value, again.error, again.p) == (0, 0, 1)


def test_runs_that_were_resampled_otherwise_are_not_compared():
    scores = np.random.default_rng(0).normal(size=(1, 5))
    runs = mean_runs(scores, image_resamples(5, 10, seed=0))
    with pytest.raises(ValueError, match="same resamples of the same images"):
        difference(runs, mean_runs(scores, image_resamples(5, 11, seed=0)))
    with pytest.raises(ValueError, match="images were not"):
        difference(runs, seeds_only(1.0, 2.0))


# --- how often they are right; tolerances are three standard errors of the binomial


@pytest.mark.parametrize("seed", [0.0, 0.06, 0.3], ids=["no seeds", "seeds like images", "seeds above images"])
def test_intervals_of_three_seeds_cover_the_truth_about_as_often_as_they_say(seed):
    trials = simulated(np.random.default_rng(0), 1000, methods=2, images=60, seed=seed)
    means = [estimate(runs) for runs, _ in trials]
    differences = [difference(*pair) for pair in trials]
    # 92 to 98 %: 93 to 97 (benchmarks/coverage.py) and two standard errors, 0.7 % each
    assert 0.92 <= np.mean([each.low <= 1.2 <= each.high for each in means]) <= 0.98
    assert 0.92 <= np.mean([each.low <= 0 <= each.high for each in differences]) <= 0.985


@pytest.mark.parametrize("images", [60, 400])
def test_intervals_of_one_seed_cover_its_own_merit(images):
    trials = simulated(np.random.default_rng(1), 1000, methods=2, images=images, seeds=1)
    means = [estimate(runs) for runs, _ in trials]
    differences = [difference(*pair) for pair in trials]
    assert 0.92 <= np.mean([each.low <= 1.2 <= each.high for each in means]) <= 0.97
    assert 0.93 <= np.mean([each.low <= 0 <= each.high for each in differences]) <= 0.97


def test_equal_methods_are_told_apart_seldom_and_unequal_ones_often():
    rng = np.random.default_rng(2)
    null = [[difference(runs, first).p for runs in others] for first, *others in simulated(rng, 800, 5, 60, seeds=1)]
    assert np.mean(np.array(null) < 0.05) == pytest.approx(0.05, abs=0.016)  # pairs share a baseline
    assert np.mean([min(p) < 0.05 for p in null]) > 0.10
    assert np.mean([min(holm(p)) < 0.05 for p in null]) < 0.05 + 0.023
    better = [difference(Runs(a.values + 0.2, a.resampled + 0.2, 60), b).p for a, b in simulated(rng, 400, 2, 60, 1)]
    in_errors = 0.2 / np.sqrt(4 * 0.3**2 / 60)
    expected = scipy.stats.nct.sf(scipy.stats.t.ppf(0.975, 59), 59, in_errors)  # 0.72: the power of the paired t-test
    assert np.mean(np.array(better) < 0.05) == pytest.approx(expected, abs=0.07)


# --- correction


def test_holm_by_hand():
    # sorted: 0.01 * 4, 0.02 * 3, 0.03 * 2 = 0.06, 0.04 * 1 = 0.04, which is not below the one before
    assert holm([0.04, 0.01, None, 0.03, 0.02]) == pytest.approx([0.06, 0.04, None, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([None]) == [None]
    assert holm([]) == []
    assert holm([0.03]) == [0.03]


def test_holm_rejects_step_by_step_and_keeps_the_order():
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = (rng.random(6) ** 3).tolist()
        adjusted = np.array(holm(p))
        assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
        assert (adjusted >= p).all()
        assert adjusted.max() <= 1
        level, rejected = 0.1, np.zeros(6, bool)
        for step, place in enumerate(np.argsort(p)):  # Holm's own words: stop at the first that is not small enough
            if p[place] > level / (6 - step):
                break
            rejected[place] = True
        np.testing.assert_array_equal(adjusted <= level, rejected)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, p])
