"""Baselines and advantages by hand, and GAE against a loop in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlcap.functional.advantages import (
    at_end,
    generalized_advantage,
    group_normalized,
    leave_one_out,
    running_mean,
    self_critical_advantage,
)

REWARDS = torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])


def test_self_critical_by_hand() -> None:
    advantages = self_critical_advantage(REWARDS, torch.tensor([2.0, 5.0]))
    assert advantages.tolist() == [[-1.0, 0.0, 4.0], [-1.0, -1.0, -1.0]]


def test_leave_one_out_by_hand() -> None:
    assert leave_one_out(REWARDS).tolist() == [[4.0, 3.5, 1.5], [4.0, 4.0, 4.0]]
    # the same advantage as the group's mean, times samples / (samples - 1)
    centred = REWARDS - REWARDS.mean(dim=1, keepdim=True)
    torch.testing.assert_close(REWARDS - leave_one_out(REWARDS), centred * 3 / 2)


def test_running_mean_by_hand() -> None:
    mean = torch.tensor(0.0)
    for reward, expected in ((10.0, 2.5), (20.0, 6.875), (0.0, 5.15625)):
        mean = running_mean(mean, torch.tensor(reward), 0.75)
        assert float(mean) == expected


def test_group_normalized_by_hand() -> None:
    advantages = group_normalized(REWARDS)
    spread = 7**0.5  # ((1 - 3)^2 + (2 - 3)^2 + (6 - 3)^2) / 2 = 7
    expected = [[-2 / (spread + 1e-4), -1 / (spread + 1e-4), 3 / (spread + 1e-4)], [0.0, 0.0, 0.0]]
    np.testing.assert_allclose(advantages.numpy(), expected, rtol=1e-6)


def test_at_end_puts_a_captions_own_at_its_last_token() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    assert at_end(torch.tensor([5.0, 6.0, 7.0]), mask).tolist() == [[0.0, 5.0, 0.0], [6.0, 0.0, 0.0], [0.0, 0.0, 7.0]]


# --- generalized advantage estimation


def test_gae_by_hand() -> None:
    rewards, values = torch.tensor([[0.0, 1.0, 4.0]]), torch.tensor([[0.5, 2.0, 1.0]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    # delta = 0 + 0.5 * 2 - 0.5, 1 + 0.5 * 1 - 2, 4 - 1; A = delta_t + 0.5 * 0.5 * A_{t+1}
    expected = [[0.5 + 0.25 * (-0.5 + 0.25 * 3), -0.5 + 0.25 * 3, 3.0]]
    assert generalized_advantage(rewards, values, mask, discount=0.5, decay=0.5).tolist() == expected


def reference(rewards: np.ndarray, values: np.ndarray, lengths: list[int], discount: float, decay: float) -> np.ndarray:
    """The definition, sum over k of (discount * decay)^k delta_{t+k}, caption by caption in float64."""
    advantages = np.zeros_like(rewards)
    for row, length in enumerate(lengths):
        following = [*values[row, 1:length], 0.0]
        delta = [rewards[row, t] + discount * following[t] - values[row, t] for t in range(length)]
        for t in range(length):
            advantages[row, t] = sum((discount * decay) ** (k - t) * delta[k] for k in range(t, length))
    return advantages


UNIT = st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1))


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), UNIT, UNIT, st.integers(0, 2**31))
def test_gae_is_its_definition(lengths: list[int], discount: float, decay: float, seed: int) -> None:
    """Random rewards and values, garbage after the end included; sums of at most 9 terms: 1e-5 of their size."""
    rng = np.random.default_rng(seed)
    rewards, values = rng.normal(size=(2, len(lengths), 9))
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    ours = generalized_advantage(
        torch.tensor(rewards).float().where(mask, 0.0), torch.tensor(values).float(), mask, discount, decay
    )
    expected = reference(rewards, values, lengths, discount, decay)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def random() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 4, 6, generator=generator)
    mask = torch.arange(6) < torch.tensor([6, 1, 3, 5])[:, None]
    return rewards.where(mask, 0.0), values.where(mask, 0.0), mask


def test_gae_with_decay_1_and_no_values_is_reward_to_go(random: tuple[Tensor, Tensor, Tensor]) -> None:
    rewards, _, mask = random
    to_go = rewards.flip(1).cumsum(dim=1).flip(1)
    ours = generalized_advantage(rewards, torch.zeros_like(rewards), mask)
    torch.testing.assert_close(ours, to_go.where(mask, 0.0), rtol=1e-5, atol=1e-6)


def test_gae_with_decay_1_is_reward_to_go_less_the_value(random: tuple[Tensor, Tensor, Tensor]) -> None:
    rewards, values, mask = random
    to_go = rewards.flip(1).cumsum(dim=1).flip(1)
    torch.testing.assert_close(
        generalized_advantage(rewards, values, mask), (to_go - values).where(mask, 0.0), rtol=1e-5, atol=1e-5
    )


def test_gae_with_decay_0_is_the_one_step_error(random: tuple[Tensor, Tensor, Tensor]) -> None:
    rewards, values, mask = random
    ours = generalized_advantage(rewards, values, mask, discount=0.9, decay=0.0)
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        for t in range(length):
            later = float(values[row, t + 1]) if t + 1 < length else 0.0
            expected = float(rewards[row, t]) + 0.9 * later - float(values[row, t])
            assert float(ours[row, t]) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_discount_counts_later_rewards_less() -> None:
    mask = torch.tensor([[True, True, True, False]])
    rewards = at_end(torch.tensor([8.0]), mask)
    ours = generalized_advantage(rewards, torch.zeros(1, 4), mask, discount=0.5)
    assert ours.tolist() == [[2.0, 4.0, 8.0, 0.0]]
