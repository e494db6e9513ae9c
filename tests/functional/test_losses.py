"""Objectives and their averages by hand."""

import pytest
import torch
from torch import Tensor

from rlcap.functional.losses import (
    Normalization,
    clipped_surrogate,
    clipped_value_loss,
    count_units,
    negative_log_likelihood,
    policy_gradient,
    reduce_tokens,
)


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        (Normalization.TOKEN, (2 * 1 + 3 * 1 + 1 * 5) / 3),
        (Normalization.CAPTION, ((2 * 1 + 3 * 1) / 2 + 1 * 5) / 2),
        (Normalization.SEQUENCE, (2 * 1 + 3 * 1 + 1 * 5) / 2),
    ],
)
def test_normalizations_by_hand(normalization: Normalization, expected: float) -> None:
    logprobs = -torch.tensor([[2.0, 3.0, 9.0], [1.0, 9.0, 9.0]])
    advantages = torch.tensor([[1.0, 1.0, 1.0], [5.0, 5.0, 5.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    total = reduce_tokens(policy_gradient(logprobs, advantages), mask, normalization)
    assert float(total / count_units(mask, normalization)) == pytest.approx(expected)


def test_what_follows_a_caption_plays_no_part_even_if_it_is_no_number() -> None:
    values = torch.tensor([[1.0, torch.nan], [2.0, torch.inf]], requires_grad=True)
    mask = torch.tensor([[True, False], [True, False]])
    for normalization in Normalization:
        total = reduce_tokens(values, mask, normalization)
        assert total.item() == 3.0
        (slope,) = torch.autograd.grad(total, values)
        assert slope.tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_policy_gradient_loss_has_no_gradient_in_the_advantage() -> None:
    logprobs = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    advantages = torch.tensor([[3.0, -0.5]], requires_grad=True)
    policy_gradient(logprobs, advantages).sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[-3.0, 0.5]]
    assert advantages.grad is None


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_likelihood_is_the_cross_entropy_of_torch(smoothing: float) -> None:
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 3, 8, 8, 1, 2])
    expected = torch.nn.functional.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    ours = negative_log_likelihood(logits.log_softmax(dim=-1), targets, smoothing)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


# --- PPO's loss; ratios 1.5, 1.1, 0.9 and 0.5 with clip 0.2


RATIOS = torch.tensor([1.5, 1.1, 0.9, 0.5])


def surrogate(advantage: float) -> tuple[list[float], list[float]]:
    """Loss of each ratio, and its gradient in the log-probability."""
    logprobs = RATIOS.log().requires_grad_()
    loss = clipped_surrogate(logprobs, torch.zeros(4), torch.full((4,), advantage), clip=0.2)
    (slope,) = torch.autograd.grad(loss.sum(), logprobs)
    return loss.tolist(), slope.tolist()


def test_surrogate_of_a_good_action_stops_above() -> None:
    loss, slope = surrogate(2.0)
    assert loss == pytest.approx([-2.4, -2.2, -1.8, -1.0])
    assert slope == pytest.approx([0.0, -2.2, -1.8, -1.0])  # -ratio * A; 0 where the ratio is beyond 1.2


def test_surrogate_of_a_bad_action_stops_below() -> None:
    loss, slope = surrogate(-2.0)
    assert loss == pytest.approx([3.0, 2.2, 1.8, 1.6])
    assert slope == pytest.approx([3.0, 2.2, 1.8, 0.0])


@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_gradient_stops_exactly_at_the_clip(advantage: float) -> None:
    """A hair's breadth inside the border it is all there, outside it is 0."""
    border = 1.2 if advantage > 0 else 0.8
    for ratio, expected in ((border * (1 - 1e-4), -advantage * border), (border * (1 + 1e-4), 0.0)):
        if advantage < 0:
            ratio = 2 * border - ratio
        logprob = torch.tensor([ratio]).log().requires_grad_()
        clipped_surrogate(logprob, torch.zeros(1), torch.tensor([advantage]), clip=0.2).sum().backward()
        assert logprob.grad is not None
        assert logprob.grad.item() == pytest.approx(expected, rel=2e-4)


def test_surrogate_at_ratio_1_has_the_policy_gradient() -> None:
    logprobs = torch.tensor([[-1.0, -0.3, -2.0]], requires_grad=True)
    advantages = torch.tensor([[1.5, -2.0, 0.3]])
    (ours,) = torch.autograd.grad(clipped_surrogate(logprobs, logprobs.detach(), advantages, 0.2).sum(), logprobs)
    (plain,) = torch.autograd.grad(policy_gradient(logprobs, advantages).sum(), logprobs)
    assert torch.equal(ours, plain)


# --- the critic's loss


def value_loss(values: Tensor, clip: float | None) -> tuple[list[float], list[float]]:
    values = values.clone().requires_grad_()
    loss = clipped_value_loss(values, torch.ones_like(values), torch.zeros_like(values), clip)
    (slope,) = torch.autograd.grad(loss.sum(), values)
    return loss[0].tolist(), slope[0].tolist()


def test_value_loss_by_hand() -> None:
    """Return 1, old value 0. Beyond 0.5 from the old value there is no gradient towards the return."""
    values = torch.tensor([[0.25, 0.75, 1.0, 1.75, -0.75]])
    loss, slope = value_loss(values, clip=None)
    assert loss == [0.28125, 0.03125, 0.0, 0.28125, 1.53125]  # (value - 1)^2 / 2
    assert slope == [-0.75, -0.25, 0.0, 0.75, -1.75]
    loss, slope = value_loss(values, clip=0.5)
    # the near values are 0.25, 0.5, 0.5, 0.5 and -0.5, and the larger error counts
    assert loss == [0.28125, 0.125, 0.125, 0.28125, 1.53125]
    # moved too far towards the return, or past it by less than it would still lack: 0; moved away: all of it
    assert slope == [-0.75, 0.0, 0.0, 0.75, -1.75]


def test_returns_are_targets_alone() -> None:
    values, returns = torch.tensor([[0.5]], requires_grad=True), torch.tensor([[1.0]], requires_grad=True)
    clipped_value_loss(values, returns, torch.tensor([[0.4]]), 0.2).sum().backward()
    assert returns.grad is None
