"""What judgements say of rewards: likelihoods of preferences, rankings and ratings; preferences learned directly.

Every loss is one number per unit (a pair, a ranking, a caption), neither summed nor averaged. A pair's ``margin`` is
the reward of its first caption less that of its second; its ``outcome`` is 1 where the first was preferred, 0 where
the second was, 1/2 where neither.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

# --- pairs


def bradley_terry(
    margins: Float[Tensor, " pairs"],
    outcomes: Float[Tensor, " pairs"] | None = None,
    weights: Float[Tensor, " pairs"] | None = None,
    smoothing: float = 0.0,
) -> Float[Tensor, " pairs"]:
    """Weighted negative log-likelihood of each outcome: -w [y log sigmoid(m) + (1 - y) log sigmoid(-m)].

    Bradley and Terry 1952; the loss of reward models, Stiennon et al. 2020, section 3.4. A tie is half a win each
    way; :func:`davidson` gives ties a probability of their own. So is a share of judges who preferred the first.

    Args:
        margins: reward of the first caption less that of the second.
        outcomes: of each pair; without, the first was preferred.
        weights: of each pair; the sum of the losses over the sum of the weights is their weighted mean.
        smoothing: the chance that a judgement is the wrong way round: y becomes (1 - smoothing) y + smoothing (1 - y).
            Mitchell 2023 (conservative DPO).
    """
    wins = torch.ones_like(margins) if outcomes is None else outcomes
    wins = (1 - smoothing) * wins + smoothing * (1 - wins)
    loss = -wins * logsigmoid(margins) - (1 - wins) * logsigmoid(-margins)
    return loss if weights is None else weights * loss


def davidson(
    margins: Float[Tensor, " pairs"], outcomes: Float[Tensor, " pairs"], log_ties: Float[Tensor, ""]
) -> Float[Tensor, " pairs"]:
    """Negative log-likelihood of each outcome where ties have a probability of their own. Davidson 1970.

    P(first), P(tie), P(second) are in proportion to exp(m / 2), nu, exp(-m / 2); ``log_ties`` is log nu, to be
    learned. As nu goes to 0 it is :func:`bradley_terry`; equally good captions tie with probability nu / (nu + 2).
    """
    logits = torch.stack([margins / 2, log_ties.expand_as(margins), -margins / 2], dim=1)
    decided = 2 * outcomes - 1
    shares = torch.stack([decided.relu(), 1 - decided.abs(), (-decided).relu()], dim=1)
    return -(shares * logits.log_softmax(dim=1)).sum(dim=1)  # over first, tie, second


def agreement(
    margins: Float[Tensor, " pairs"], outcomes: Float[Tensor, " pairs"] | None = None
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """How many pairs the rewards decide as the judges did, and how many the judges decided; the accuracy is the ratio.

    Pairs that the judges left tied do not count; a margin of 0 is half right.
    """
    side = torch.ones_like(margins) if outcomes is None else (outcomes - 0.5).sign()
    right = torch.where(margins == 0, 0.5, (margins.sign() == side).to(margins.dtype))
    decided = side != 0
    return torch.where(decided, right, 0.0).sum(), decided.sum().to(margins.dtype)


# --- rankings


def plackett_luce(
    rewards: Float[Tensor, "rankings items"], mask: Bool[Tensor, "rankings items"]
) -> Float[Tensor, " rankings"]:
    """Negative log-likelihood of each ranking, the best first: - sum over k of [r_k - log sum over j >= k of exp r_j].

    Plackett 1975; Luce 1959; as a loss Xia et al. 2008 (ListMLE). Summed over the ranking's items, so long rankings
    weigh more. ``mask`` is True for a ranking's items, which come first, False for padding. Two items are
    :func:`bradley_terry`, one item is 0.
    """
    # the least number, not minus infinity: padding must not differentiate inf - inf
    kept = rewards.masked_fill(~mask, torch.finfo(rewards.dtype).min)
    remaining = kept.flip(1).logcumsumexp(dim=1).flip(1)  # of each item and those ranked below it
    return torch.where(mask, remaining - kept, 0.0).sum(dim=1)


# --- ratings


def squared_error(
    rewards: Float[Tensor, " captions"], ratings: Float[Tensor, " captions"]
) -> Float[Tensor, " captions"]:
    """(r - y)^2 of each caption's reward r and rating y; the maximum likelihood of Gaussian errors."""
    return (rewards - ratings).square()


def huber(
    rewards: Float[Tensor, " captions"], ratings: Float[Tensor, " captions"], delta: float = 1.0
) -> Float[Tensor, " captions"]:
    """(r - y)^2 / 2 up to an error of delta, delta (|r - y| - delta / 2) beyond it. Huber 1964."""
    return torch.nn.functional.huber_loss(rewards, ratings, reduction="none", delta=delta)


def ordered_thresholds(free: Float[Tensor, " thresholds"]) -> Float[Tensor, " thresholds"]:
    """Thresholds that increase whatever the parameters: free_1, then each the last one plus exp(free_k).

    :func:`free_thresholds` is the way back.
    """
    return torch.cat([free[:1], free[1:].exp()]).cumsum(dim=0)


def free_thresholds(thresholds: Float[Tensor, " thresholds"]) -> Float[Tensor, " thresholds"]:
    """The parameters that :func:`ordered_thresholds` makes these increasing thresholds of."""
    return torch.cat([thresholds[:1], thresholds.diff().log()])


def cumulative_logit(
    rewards: Float[Tensor, " captions"], ratings: Int[Tensor, " captions"], thresholds: Float[Tensor, " thresholds"]
) -> Float[Tensor, " captions"]:
    """Negative log-likelihood of ratings 0 ... K given K increasing thresholds t: P(y <= k) = sigmoid(t_k - r).

    McCullagh 1980, section 2 (proportional odds). A better caption has the larger reward. Rewards and thresholds may
    move together: keep the rewards' head without a bias, or the first threshold fixed.
    """
    # log(sigmoid(a) - sigmoid(b)) = log sigmoid(a) + log sigmoid(-b) + log(1 - exp(b - a)), which never cancels
    edge = thresholds.new_full((1,), torch.inf)
    borders = torch.cat([-edge, thresholds, edge])
    above, below = borders[ratings + 1] - rewards, borders[ratings] - rewards
    gaps = borders.diff()[ratings]
    return -logsigmoid(above) - logsigmoid(-below) - (-torch.expm1(-gaps)).log()


# --- preferences learned without a reward model


def implicit_reward(
    logprobs: Float[Tensor, " captions"], reference_logprobs: Float[Tensor, " captions"], beta: float
) -> Float[Tensor, " captions"]:
    """The reward that a policy is the optimum of, but for a constant of its image: beta log(pi / pi_ref).

    Rafailov et al. 2023 (DPO), eq. 5 and section 5.1. Log-probabilities are of whole captions, their tokens' sum.
    """
    return beta * (logprobs - reference_logprobs)


def dpo(
    chosen_logprobs: Float[Tensor, " pairs"],
    rejected_logprobs: Float[Tensor, " pairs"],
    reference_chosen: Float[Tensor, " pairs"],
    reference_rejected: Float[Tensor, " pairs"],
    beta: float,
    smoothing: float = 0.0,
) -> Float[Tensor, " pairs"]:
    """Bradley-Terry loss of each pair's implicit rewards: -log sigmoid(beta h), h = log-ratio chosen less rejected.

    Rafailov et al. 2023, eq. 7; ``smoothing`` as in :func:`bradley_terry` (Mitchell 2023). Where the policy is
    the reference it is log 2.
    """
    chosen = implicit_reward(chosen_logprobs, reference_chosen, beta)
    rejected = implicit_reward(rejected_logprobs, reference_rejected, beta)
    return bradley_terry(chosen - rejected, smoothing=smoothing)


def ipo(
    chosen_logprobs: Float[Tensor, " pairs"],
    rejected_logprobs: Float[Tensor, " pairs"],
    reference_chosen: Float[Tensor, " pairs"],
    reference_rejected: Float[Tensor, " pairs"],
    beta: float,
) -> Float[Tensor, " pairs"]:
    """(h - 1 / (2 beta))^2 of each pair, h as in :func:`dpo`; Azar et al. 2024, eq. 17, whose tau is beta.

    Unlike DPO it stops once the policy prefers the chosen caption by 1 / (2 beta). The paper's h is of whole captions;
    TRL averages each log-probability over its tokens instead, so give means to compare with it.
    """
    log_ratios = (chosen_logprobs - reference_chosen) - (rejected_logprobs - reference_rejected)
    return (log_ratios - 1 / (2 * beta)).square()


# --- ensembles


def lower_confidence(members: Float[Tensor, "members captions"], weight: float) -> Float[Tensor, " captions"]:
    """Mean reward over the members less ``weight`` standard deviations (of the members themselves: over n, not n - 1).

    In the rewards' own unit, unlike :func:`uncertainty_weighted`. One member's reward is as it was.
    """
    return members.mean(dim=0) - weight * members.var(dim=0, correction=0).sqrt()  # over members


def uncertainty_weighted(members: Float[Tensor, "members captions"], weight: float) -> Float[Tensor, " captions"]:
    """Mean reward over the members less ``weight`` times their variance (over n). Coste et al. 2024 (UWO)."""
    return members.mean(dim=0) - weight * members.var(dim=0, correction=0)  # over members
