"""What rewards are compared with, by hand."""

from dataclasses import replace

import pytest
import torch
from enumeration import LENGTH, alone, scorer

from rlcap.algorithms.base import Total
from rlcap.algorithms.baselines import Baseline, BatchMean, Greedy, LeaveOneOut, NoBaseline, Rewards, RunningMean
from rlcap.algorithms.reinforce import Reinforce
from rlcap.errors import UserError
from rlcap.policies.tiny import TinyViT
from rlcap.types import Batch, Rollout

SAMPLED = torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])
REWARDS = Rewards(SAMPLED, torch.tensor([2.0, 5.0]), torch.tensor(3.25))


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        (NoBaseline(), [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
        (BatchMean(), [[3.25, 3.25, 3.25], [3.25, 3.25, 3.25]]),
        (LeaveOneOut(), [[4.0, 3.5, 1.5], [4.0, 4.0, 4.0]]),
        (Greedy(), [[2.0, 2.0, 2.0], [5.0, 5.0, 5.0]]),
        (RunningMean(), [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    ],
    ids=["none", "batch_mean", "leave_one_out", "greedy", "running_mean"],
)
def test_baselines_by_hand(baseline: Baseline, expected: list[list[float]]) -> None:
    assert baseline(REWARDS).tolist() == expected


def test_running_mean_is_corrected_for_its_start_at_0() -> None:
    """With decay 0.75: after 10 the mean is 2.5 / (1 - 0.75); after 20 it is 6.875 / (1 - 0.75^2)."""
    baseline = RunningMean(decay=0.75)
    for reward, expected in ((10.0, 10.0), (20.0, 6.875 / 0.4375), (0.0, 5.15625 / 0.578125)):
        baseline.learned(reward)
        torch.testing.assert_close(baseline(REWARDS), torch.full((2, 3), expected), rtol=1e-6, atol=0)


def test_running_mean_of_equal_rewards_is_that_reward_from_the_first() -> None:
    baseline = RunningMean(decay=0.95)
    for _ in range(5):
        baseline.learned(3.0)
        torch.testing.assert_close(baseline(REWARDS), torch.full((2, 3), 3.0), rtol=1e-5, atol=0)


def test_running_mean_is_kept_with_the_weights() -> None:
    one, other = RunningMean(), RunningMean()
    one.learned(2.0)
    one.learned(5.0)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(REWARDS), other(REWARDS))


def test_running_mean_follows_the_rewards_of_the_run(policy: TinyViT, batch: Batch) -> None:
    """The first step is compared with 0, the second with the first one's mean."""
    algorithm = Reinforce(policy, RunningMean(), 2, LENGTH)
    (first,) = algorithm.weigh([algorithm.act(batch, scorer(policy), (0, 1)).settled()], alone)
    torch.testing.assert_close(first.advantages[:, 0], first.rewards.flatten())
    algorithm.learned(first.stats)
    (second,) = algorithm.weigh([algorithm.act(batch, scorer(policy), (0, 2)).settled()], alone)
    expected = second.rewards.flatten() - first.rewards.mean()
    assert first.rewards.mean() != 0
    torch.testing.assert_close(second.advantages[:, 0], expected, rtol=1e-5, atol=1e-6)


# --- in a step of several micro-batches


def rewarded(algorithm: Reinforce, batch: Batch, rewards: torch.Tensor) -> Rollout:
    rollout = algorithm.act(batch, scorer(algorithm.policy), (0, 1)).settled()
    return replace(rollout, rewards=rewards)


def test_batch_mean_is_over_all_micro_batches_of_the_step(policy: TinyViT, batch: Batch) -> None:
    """Of two images and of one, two samples each: the mean of six rewards, not of two means."""
    algorithm = Reinforce(policy, BatchMean(), 2, LENGTH)
    two = rewarded(algorithm, batch.select(torch.tensor([0, 1])), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    one = rewarded(algorithm, batch.select(torch.tensor([2])), torch.tensor([[6.0, 20.0]]))
    first, second = algorithm.weigh([two, one], alone)
    assert first.advantages[:, 0].tolist() == [-5.0, -4.0, -3.0, -2.0]  # the mean is 36 / 6
    assert second.advantages[:, 0].tolist() == [0.0, 14.0]
    assert first.stats["reward/penalized"] == second.stats["reward/penalized"] == 6.0
    assert first.stats["advantage/std"] == pytest.approx((250 / 6) ** 0.5)


def test_batch_mean_is_over_all_processes(policy: TinyViT, batch: Batch) -> None:
    """``total`` sums over processes: here another one with four rewards of 9, 36 in sum."""
    algorithm = Reinforce(policy, BatchMean(), 2, LENGTH)
    here = rewarded(algorithm, batch.select(torch.tensor([0])), torch.tensor([[1.0, 3.0]]))
    others = torch.tensor([4.0, 36.0])
    weighed = algorithm.weigh([here], Total(lambda value: value + others if value.numel() == 2 else value))
    torch.testing.assert_close(weighed[0].advantages[:, 0], torch.tensor([1.0, 3.0]) - 40 / 6)


def test_siblings_are_those_of_the_image(policy: TinyViT, batch: Batch) -> None:
    algorithm = Reinforce(policy, LeaveOneOut(), 2, LENGTH)
    rollout = rewarded(algorithm, batch, torch.tensor([[1.0, 2.0], [10.0, 30.0], [0.0, 0.0]]))
    (weighed,) = algorithm.weigh([rollout], alone)
    assert weighed.advantages[:, 0].tolist() == [-1.0, 1.0, -20.0, 20.0, 0.0, 0.0]


def test_mistakes_are_said(policy: TinyViT) -> None:
    with pytest.raises(UserError, match="LeaveOneOut needs at least 2 samples per image, got 1"):
        Reinforce(policy, LeaveOneOut(), samples_per_image=1)
    with pytest.raises(UserError, match=r"decay must be in \[0, 1\), got 1.0"):
        RunningMean(decay=1.0)
