"""Explicit resamples of captions, which a reward's quick way must equal."""

import numpy as np

from rewards.base import Candidates, Reward


def assert_resampled_is_the_aggregate(reward: Reward, candidates: Candidates) -> None:
    """Make sure that ``resampled`` gives what ``corpus`` makes of the captions of each resample, each written out."""
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(candidates), size=len(candidates)) for _ in range(20)]
    drawn += [np.full(len(candidates), row) for row in range(len(candidates))]
    times = np.stack([np.bincount(rows, minlength=len(candidates)) for rows in drawn], axis=1).astype(np.float64)
    expected = [reward.corpus(candidates.select(rows.tolist())) for rows in drawn]
    assert len(set(np.round(expected, 9))) > 3
    np.testing.assert_allclose(
        reward.resampled(candidates, reward(candidates))(times), expected, rtol=1e-12, atol=1e-15
    )
