"""The bootstrap over images: what a resample is, and intervals against resamples drawn one by one."""

import numpy as np
import pytest

from rewards.scoring.bootstrap import Bootstrap, bootstrap_interval, bootstrap_intervals, image_numbers, resampled_times


def test_a_resample_holds_as_many_images_as_there_are_and_blocks_do_not_change_it() -> None:
    whole = np.concatenate(list(resampled_times(7, 50, np.random.default_rng(0))), axis=1)
    assert whole.shape == (7, 50)
    assert (whole.sum(axis=0) == 7).all()
    blocks = list(resampled_times(7, 50, np.random.default_rng(0), cells=7 * 8))
    assert [block.shape[1] for block in blocks] == [8, 8, 8, 8, 8, 8, 2]
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)


def test_all_captions_of_an_image_are_drawn_together() -> None:
    ids = ["b", "a", "b", "c", "a", "a"]
    image = image_numbers(ids, 6)
    assert image.tolist() == [0, 1, 0, 2, 1, 1]
    assert image_numbers(None, 3).tolist() == [0, 1, 2]
    scores = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    rng, means = np.random.default_rng(5), []
    for _ in range(200):
        drawn = rng.integers(3, size=3)
        means.append(np.concatenate([scores[image == number] for number in drawn]).mean())
    interval = bootstrap_interval(lambda times: scores @ times / times.sum(axis=0), image, Bootstrap(200, seed=5))
    assert interval == pytest.approx(np.quantile(means, [0.025, 0.975]), rel=1e-12)


def test_resamples_without_the_number_are_left_out_and_one_image_has_no_interval() -> None:
    def missing(times: np.ndarray) -> np.ndarray:
        return np.stack([np.where(times[0] > 0, 3.0, np.nan), np.full(times.shape[1], np.nan)])

    known, unknown = bootstrap_intervals(missing, np.arange(2), Bootstrap(100)) or []
    assert known == (3.0, 3.0)
    assert np.isnan(unknown).all()
    assert bootstrap_intervals(missing, np.zeros(4, np.int64), Bootstrap(100)) is None
