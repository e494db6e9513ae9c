"""How far a policy has moved from another: estimates from the tokens it drew, and the exact divergence."""

from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor


class Estimator(StrEnum):
    """An estimate of KL(pi || reference) at one token drawn from pi, r = reference / pi. Schulman 2020.

    K1: -log r. Unbiased, of either sign. In the reward it gives the gradient of KL(pi || reference); as a loss its
        gradient is 0 on average.
    K3: r - 1 - log r. Unbiased, never negative, of less variance. As a loss its gradient is, on average, that of the
        opposite KL(reference || pi), the same to first order; in the reward it is that of neither.
    """

    K1 = "k1"
    K3 = "k3"


def estimated_kl(
    logprobs: Float[Tensor, "captions length"],
    reference_logprobs: Float[Tensor, "captions length"],
    estimator: Estimator,
) -> Float[Tensor, "captions length"]:
    """The estimate at each token. See http://joschu.net/blog/kl-approx.html."""
    difference = reference_logprobs - logprobs
    if estimator is Estimator.K1:
        return -difference
    return difference.exp() - 1 - difference


def exact_kl(
    log_probabilities: Float[Tensor, "tokens vocabulary"], reference: Float[Tensor, "tokens vocabulary"]
) -> Float[Tensor, " tokens"]:
    """KL(pi || reference) of the next-word distribution at each token: the sum over the vocabulary, nothing drawn.

    Tokens that pi never draws count nothing.
    """
    drawn = log_probabilities > -torch.inf
    difference = torch.where(drawn, log_probabilities - reference, 0.0)
    return (log_probabilities.exp() * difference).sum(dim=-1)
