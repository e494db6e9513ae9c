"""Likelihoods of preferences by hand, by enumeration and against scikit-learn and scipy; gradients by differences."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import logistic
from sklearn.metrics import log_loss
from torch import Tensor

from rlcap.functional.preferences import (
    agreement,
    bradley_terry,
    cumulative_logit,
    davidson,
    dpo,
    free_thresholds,
    huber,
    implicit_reward,
    ipo,
    lower_confidence,
    ordered_thresholds,
    plackett_luce,
    squared_error,
    uncertainty_weighted,
)

LOG2, LOG3 = math.log(2), math.log(3)


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- pairs


def test_bradley_terry_by_hand() -> None:
    """A margin of log 3 wins with probability 3/4."""
    margins = doubles(LOG3, LOG3, LOG3, 0.0)
    outcomes = doubles(1, 0, 0.5, 0.5)
    expected = [math.log(4 / 3), math.log(4), (math.log(4 / 3) + math.log(4)) / 2, LOG2]
    assert bradley_terry(margins, outcomes).tolist() == pytest.approx(expected, rel=1e-12)
    assert bradley_terry(margins[:1]).tolist() == pytest.approx(expected[:1], rel=1e-12)
    smoothed = 0.9 * math.log(4 / 3) + 0.1 * math.log(4)
    assert bradley_terry(margins[:1], smoothing=0.1).tolist() == pytest.approx([smoothed], rel=1e-12)


def test_weighted_mean_is_scikit_learns_log_loss() -> None:
    margins, weights = random(50), random(50, seed=1).exp()
    outcomes = (random(50, seed=2) > 0).double()
    ours = bradley_terry(margins, outcomes, weights).sum() / weights.sum()
    expected = log_loss(outcomes.numpy(), margins.sigmoid().numpy(), sample_weight=weights.numpy())
    assert float(ours) == pytest.approx(expected, rel=1e-12)


def test_smoothing_stops_at_its_own_odds() -> None:
    """The least loss is where the model is as unsure as the judgements are: sigmoid(margin) = 1 - smoothing."""
    margin = doubles(math.log(0.8 / 0.2)).requires_grad_()
    (slope,) = torch.autograd.grad(bradley_terry(margin, smoothing=0.2).sum(), margin)
    assert slope.item() == pytest.approx(0.0, abs=1e-12)


def test_davidson_by_hand() -> None:
    """Odds exp(m / 2) : nu : exp(-m / 2) = 3 : 2 : 1/3 with m = 2 log 3 and nu = 2; outcomes add up to 1."""
    outcomes = doubles(1, 0.5, 0)
    loss = davidson(doubles(2 * LOG3).expand(3), outcomes, doubles(2.0).log()[0])
    assert (-loss).exp().tolist() == pytest.approx([9 / 16, 6 / 16, 1 / 16], rel=1e-12)
    tied = davidson(doubles(0.0), doubles(0.5), doubles(2.0).log()[0])
    assert (-tied).exp().item() == pytest.approx(1 / 2, rel=1e-12)


def test_davidson_without_ties_is_bradley_terry() -> None:
    margins, outcomes = random(20), (random(20, seed=1) > 0).double()
    ours = davidson(margins, outcomes, doubles(-60.0)[0])
    torch.testing.assert_close(ours, bradley_terry(margins, outcomes), rtol=1e-12, atol=1e-12)


def test_agreement_by_hand() -> None:
    """Right, wrong, undecided by the rewards (half), and a tie of the judges, which does not count."""
    margins, outcomes = doubles(2.0, 3.0, 0.0, -1.0, -5.0), doubles(1.0, 0.0, 1.0, 0.0, 0.5)
    right, decided = agreement(margins, outcomes)
    assert (float(right), float(decided)) == (2.5, 4.0)
    right, decided = agreement(margins)
    assert (float(right), float(decided)) == (2.5, 5.0)


# --- rankings


def test_plackett_luce_by_hand() -> None:
    """Weights 1, 2, 3 in that order: 1/6 * 2/5 * 1; then 3 alone, and 2 before 3."""
    rewards = torch.stack([doubles(1, 2, 3).log(), doubles(3, 9, 9).log(), doubles(2, 3, 9).log()])
    mask = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
    loss = plackett_luce(rewards, mask)
    assert loss.tolist() == pytest.approx([-math.log(1 / 6 * 2 / 5), 0.0, -math.log(2 / 5)], rel=1e-12, abs=1e-12)


def test_probabilities_of_all_rankings_add_up_to_1() -> None:
    rewards = random(4)
    rankings = torch.stack([rewards[list(order)] for order in permutations(range(4))])
    padded = torch.nn.functional.pad(rankings, (0, 2), value=7.0)
    mask = (torch.arange(6) < 4).expand(24, 6)
    assert float((-plackett_luce(padded, mask)).exp().sum()) == pytest.approx(1.0, rel=1e-12)


def test_a_ranking_of_two_is_bradley_terry() -> None:
    rewards = random(9, 2)
    loss = plackett_luce(rewards, torch.ones(9, 2, dtype=torch.bool))
    torch.testing.assert_close(loss, bradley_terry(rewards[:, 0] - rewards[:, 1]), rtol=1e-12, atol=1e-12)


def test_padding_and_order_of_rankings_do_not_matter() -> None:
    rewards, mask = random(3, 5), torch.arange(5) < torch.tensor([[5], [2], [4]])
    loss = plackett_luce(rewards, mask)
    torch.testing.assert_close(plackett_luce(rewards.where(mask, -3.0), mask), loss)
    torch.testing.assert_close(plackett_luce(rewards.flip(0), mask.flip(0)), loss.flip(0))
    torch.testing.assert_close(plackett_luce(rewards + 5, mask), loss)  # only differences count


# --- ratings


def test_errors_of_ratings_by_hand() -> None:
    rewards, ratings = doubles(1.0, 3.0, -2.0), doubles(1.5, 1.0, 1.0)
    assert squared_error(rewards, ratings).tolist() == [0.25, 4.0, 9.0]
    assert huber(rewards, ratings, 1.0).tolist() == [0.125, 1.5, 2.5]  # 0.5^2 / 2; 2 - 1/2; 3 - 1/2
    assert huber(rewards, ratings, 2.0).tolist() == [0.125, 2.0, 4.0]  # at the border 2^2 / 2; 2 (3 - 1)


def test_cumulative_logit_is_scipys_logistic() -> None:
    thresholds, rewards = doubles(-1.5, 0.0, 0.3, 2.0), random(40) * 3
    ratings = torch.arange(40) % 5
    borders = np.array([-np.inf, *thresholds.tolist(), np.inf])
    mass = logistic.cdf(borders[1:] - rewards.numpy()[:, None]) - logistic.cdf(borders[:-1] - rewards.numpy()[:, None])
    expected = -np.log(mass[np.arange(40), ratings.numpy()])
    ours = cumulative_logit(rewards, ratings, thresholds)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-10)
    every = torch.stack([cumulative_logit(rewards, torch.full((40,), rating), thresholds) for rating in range(5)])
    torch.testing.assert_close((-every).exp().sum(dim=0), torch.ones(40).double(), rtol=1e-12, atol=1e-12)


def test_one_threshold_is_bradley_terry() -> None:
    rewards, ratings = random(10), torch.arange(10) % 2
    ours = cumulative_logit(rewards, ratings, doubles(0.4))
    torch.testing.assert_close(ours, bradley_terry(rewards - 0.4, ratings.double()), rtol=1e-12, atol=1e-12)


def test_thresholds_stay_ordered() -> None:
    thresholds = ordered_thresholds(doubles(2.0, -5.0, 3.0, 0.0))
    assert thresholds.tolist() == pytest.approx([2.0, 2 + math.exp(-5), 2 + math.exp(-5) + math.exp(3), 3 + 20.0922749])
    assert (ordered_thresholds(random(30) * 4).diff() > 0).all()
    torch.testing.assert_close(free_thresholds(thresholds), doubles(2.0, -5.0, 3.0, 0.0))


# --- DPO and IPO


def test_dpo_by_hand() -> None:
    """Log-ratios log 9 and log 1: beta h = 1/2 log 9 = log 3, a win with probability 3/4; rewards log 3 and 0."""
    logprobs = [doubles(math.log(0.09)), doubles(math.log(0.2)), doubles(math.log(0.01)), doubles(math.log(0.2))]
    assert dpo(*logprobs, beta=0.5).item() == pytest.approx(math.log(4 / 3), rel=1e-12)
    smoothed = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    assert dpo(*logprobs, beta=0.5, smoothing=0.25).item() == pytest.approx(smoothed, rel=1e-12)
    assert implicit_reward(logprobs[0], logprobs[2], 0.5).item() == pytest.approx(LOG3, rel=1e-12)
    assert implicit_reward(logprobs[1], logprobs[3], 0.5).item() == 0
    # h = log 9, wanted 1 / (2 beta) = 1
    assert ipo(*logprobs, beta=0.5).item() == pytest.approx((2 * LOG3 - 1) ** 2, rel=1e-12)


def test_policy_that_is_the_reference() -> None:
    """DPO is log 2 with a gradient of -beta / 2 in the chosen log-probability; IPO is (1 / (2 beta))^2."""
    chosen, rejected = (random(6) - 20).requires_grad_(), random(6, seed=1) - 20
    loss = dpo(chosen, rejected, chosen.detach(), rejected, beta=0.1)
    assert loss.tolist() == pytest.approx([LOG2] * 6, rel=1e-12)
    (slope,) = torch.autograd.grad(loss.sum(), chosen)
    assert slope.tolist() == pytest.approx([-0.05] * 6, rel=1e-12)
    assert ipo(chosen, rejected, chosen, rejected, beta=0.1).tolist() == pytest.approx([25.0] * 6, rel=1e-12)


def test_ipo_stops_where_dpo_goes_on() -> None:
    chosen, zero = doubles(5.0).requires_grad_(), doubles(0.0)
    (stopped,) = torch.autograd.grad(ipo(chosen, zero, zero, zero, beta=0.1).sum(), chosen)
    (going,) = torch.autograd.grad(dpo(chosen, zero, zero, zero, beta=0.1).sum(), chosen)
    assert stopped.item() == 0
    assert going.item() == pytest.approx(-0.1 / (1 + math.exp(0.5)), rel=1e-12)


# --- ensembles


def test_ensembles_by_hand() -> None:
    """Three members: 1, 2, 3 (variance 2/3), and 5 thrice."""
    members = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    assert lower_confidence(members, 0.5).tolist() == pytest.approx([2 - 0.5 * math.sqrt(2 / 3), 5.0])
    assert uncertainty_weighted(members, 0.5).tolist() == pytest.approx([2 - 0.5 * 2 / 3, 5.0])
    order = torch.tensor([2, 0, 1])
    for score in (lower_confidence, uncertainty_weighted):
        torch.testing.assert_close(score(members[order], 0.5), score(members, 0.5))
        assert score(members[:1], 0.5).tolist() == [1.0, 5.0]
        assert score(members, 0.0).tolist() == [2.0, 5.0]


# --- all of them


MASK = torch.arange(4) < torch.tensor([[4], [1], [3]])
GRADIENTS = {
    "bradley_terry": (lambda m: bradley_terry(m, doubles(1, 0.5, 0, 0.3), doubles(1, 2, 0.5, 0), 0.1), (random(4),)),
    "davidson": (lambda m, nu: davidson(m, doubles(1, 0.5, 0), nu), (random(3), doubles(0.3)[0])),
    "plackett_luce": (lambda r: plackett_luce(r, MASK), (random(3, 4),)),
    "cumulative_logit": (
        lambda r, free: cumulative_logit(r, torch.arange(5) % 4, ordered_thresholds(free)),
        (random(5), random(3, seed=1)),
    ),
    "huber": (lambda r: huber(r, doubles(0, 3, -3), 0.7), (random(3),)),
    "dpo": (lambda *logprobs: dpo(*logprobs, beta=0.3, smoothing=0.1), tuple(random(4, 5))),
    "ipo": (lambda *logprobs: ipo(*logprobs, beta=0.3), tuple(random(4, 5))),
    "lower_confidence": (lambda members: lower_confidence(members, 0.5), (random(3, 4),)),
}


@pytest.mark.parametrize("name", list(GRADIENTS))
def test_gradient_is_that_of_finite_differences(name: str) -> None:
    function, values = GRADIENTS[name]
    assert torch.autograd.gradcheck(function, [value.clone().requires_grad_() for value in values])


def test_big_rewards_do_not_overflow() -> None:
    """Differences of 10,000 in float32: losses that grow with the difference, gradients of at most 1."""
    rewards = torch.tensor([1e4, -1e4], requires_grad=True)
    zero = torch.zeros(2)
    rankings = torch.stack([torch.stack([rewards, zero], dim=1), torch.full((2, 2), 9.0)], dim=2).flatten(1)
    mask = torch.tensor([[True, False, True, False]]).expand(2, 4)
    for loss in (
        bradley_terry(rewards),
        davidson(rewards, torch.ones(2), torch.tensor(0.0)),
        dpo(rewards, zero, zero, zero, beta=1.0),
        cumulative_logit(rewards, torch.tensor([2, 2]), torch.tensor([-1.0, 1.0])),
        plackett_luce(rankings[:, [0, 2, 1, 3]], mask[:, [0, 2, 1, 3]]),
    ):
        assert loss.tolist() == pytest.approx([0.0, 1e4], rel=1e-3)
        (slope,) = torch.autograd.grad(loss.sum(), rewards)
        assert slope.tolist() == pytest.approx([0.0, -1.0], rel=1e-3)
