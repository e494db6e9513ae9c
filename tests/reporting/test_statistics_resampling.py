"""Runs on resamples of their images, against every resample written out, scipy and hand-worked numbers."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.stats

from rewards.base import Candidates
from rewards.bleu import Bleu
from rlcap.reporting.statistics.resampling import (
    Runs,
    image_resamples,
    interquartile_mean,
    interquartile_statistic,
    mean_runs,
    mean_runs_of,
    mean_statistic,
    resampled_runs,
)


def interquartile_runs(scores, blocks):
    return resampled_runs([interquartile_statistic(scores)], blocks)[0]


def drawn(times):
    """The images of each resample, one by one."""
    return [np.repeat(np.arange(len(times)), column.astype(int)) for column in times.T]


def test_resamples_hold_as_many_images_as_there_are_and_the_seed_decides_them():
    times = np.concatenate(list(image_resamples(30, 50, seed=3)), axis=1)
    assert times.shape == (30, 50)
    np.testing.assert_array_equal(times.sum(axis=0), 30)
    assert len(np.unique(times, axis=1).T) == 50
    np.testing.assert_array_equal(times, np.concatenate(list(image_resamples(30, 50, seed=3)), axis=1))
    assert (times != np.concatenate(list(image_resamples(30, 50, seed=4)), axis=1)).any()


@pytest.mark.parametrize("images", [8, 13])
def test_means_and_interquartile_means_are_those_of_resamples_written_out(images):
    scores = np.random.default_rng(0).gamma(1.2, size=(3, images))
    scores[:, :3] = 0.5  # ties
    blocks = list(image_resamples(images, 40, seed=0))
    for runs, statistic in (
        (mean_runs(scores, blocks), lambda rows: rows.mean(axis=1)),
        (interquartile_runs(scores, blocks), interquartile_mean),
    ):
        expected = np.stack([statistic(scores[:, rows]) for rows in drawn(blocks[0])], axis=1)
        assert runs.images == images
        np.testing.assert_allclose(runs.values, statistic(scores), rtol=1e-12)
        np.testing.assert_allclose(runs.resampled, expected, rtol=1e-12)


def test_several_blocks_and_statistics_in_one_pass_are_each_alone():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 12)), rng.normal(size=(1, 12))
    whole = next(image_resamples(12, 30, seed=0))
    parts = (whole[:, start:end].copy() for start, end in pairwise([0, 7, 14, 30]))
    mean, middle = resampled_runs([mean_statistic(first), interquartile_statistic(second)], parts)
    np.testing.assert_allclose(mean.resampled, mean_runs(first, [whole]).resampled, rtol=1e-12)
    np.testing.assert_allclose(middle.resampled, interquartile_runs(second, [whole]).resampled, rtol=1e-12)
    together = mean_runs_of([first, second], [whole])
    for runs, scores in zip(together, (first, second), strict=True):
        np.testing.assert_allclose(runs.values, scores.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(runs.resampled, mean_runs(scores, [whole]).resampled, rtol=1e-12)


def test_a_resampled_mean_varies_as_a_mean_of_images_does():
    scores = np.random.default_rng(0).gamma(1.2, size=(2, 200))
    found = mean_runs(scores, image_resamples(200, 20_000, seed=0)).resampled
    expected = np.cov(scores, bias=True) / 200
    # variances and covariances of 20,000 resamples wander by 1 % of the variances; four times that
    np.testing.assert_allclose(np.cov(found), expected, atol=0.04 * expected.max())


@pytest.mark.parametrize("images", [4, 8, 60, 400])
def test_interquartile_mean_is_the_trimmed_mean_where_quarters_are_whole(images):
    scores = np.random.default_rng(images).gamma(1.2, size=(2, 3, images))
    np.testing.assert_allclose(
        interquartile_mean(scores), scipy.stats.trim_mean(scores, 0.25, axis=-1), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([9.0], 9.0),
        ([1.0, 9.0], 5.0),
        # a quarter of 6 is 1.5: the second and the fifth count half, the two between whole, 3 in all
        ([1.0, 2.0, 4.0, 7.0, 100.0, 200.0], (1.0 + 4.0 + 7.0 + 50.0) / 3),
        # a quarter of 9 is 2.25: three quarters of the third and the seventh, 4.5 in all
        ([9.0, 8.0, 7.0, 6.0, 5.0, 3.0, 2.0, 1.0, 0.0], (0.75 * 2 + 3 + 5 + 6 + 0.75 * 7) / 4.5),
    ],
    ids=["one", "two", "six", "nine"],
)
def test_interquartile_mean_by_hand_where_quarters_are_not_whole(scores, expected):
    assert interquartile_mean(np.array(scores)) == pytest.approx(expected, rel=1e-12)


def bleu_of(candidates, bleu):
    counted = [bleu.resampled(each, bleu(each)) for each in candidates]
    return lambda times: np.stack([run(times) for run in counted])


def test_bleu_of_runs_is_that_of_the_resampled_captions():
    references = [
        ["a red ball on the grass", "the ball is red"],
        ["a dog runs", "one dog runs fast"],
        ["two men play"],
    ] * 4
    texts = ["a red ball on the table", "a dog runs fast", "two men play chess", "a dog on the grass"]
    rng = np.random.default_rng(0)
    methods = [[texts[i] for i in rng.integers(len(texts), size=len(references))] for _ in range(2)]
    bleu = Bleu(2)
    candidates = [Candidates(captions, references=references) for captions in methods]
    blocks = list(image_resamples(len(references), 25, seed=0))
    found = resampled_runs([bleu_of(candidates, bleu)], blocks)[0]
    np.testing.assert_allclose(found.values, [bleu.corpus(each) for each in candidates], rtol=1e-12)
    expected = [[bleu.corpus(each.select(rows.tolist())) for rows in drawn(blocks[0])] for each in candidates]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found.resampled, expected, rtol=1e-12)
    mixed = resampled_runs(
        [bleu_of(candidates, bleu), mean_statistic(np.eye(12))],
        blocks,
    )
    np.testing.assert_array_equal(mixed[0].resampled, found.resampled)


def test_what_is_not_finite_or_not_there_is_refused():
    blocks = list(image_resamples(3, 5, seed=0))
    for bad in (np.nan, np.inf):
        scores = np.array([[1.0, bad, 2.0]])
        for runs in (mean_runs, interquartile_runs):
            with pytest.raises(ValueError, match="scores must be finite"):
                runs(scores, blocks)
        with pytest.raises(ValueError, match="values must be finite"):
            Runs(np.array([bad]), None, 3)
        with pytest.raises(ValueError, match="resampled values must be finite"):
            Runs(np.array([1.0]), np.array([[1.0, bad]]), 3)
    with pytest.raises(ValueError, match="at least 1 run"):
        Runs(np.zeros(0), None, 3)
    with pytest.raises(ValueError, match="at least 2 resamples, got 1"):
        mean_runs(np.ones((1, 3)), image_resamples(3, 1, seed=0))
    with pytest.raises(ValueError, match="at least 1 image, got 0"):
        image_resamples(0, 5, seed=0)
    with pytest.raises(ValueError, match="only once"):
        mean_runs(np.ones((1, 3)), iter([]))
    with pytest.raises(ValueError, match="2 runs cannot be split"):
        Runs(np.ones(2), None, 3).split([1])
