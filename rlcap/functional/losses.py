"""Objectives over the tokens of captions, and the ways to average them."""

from enum import StrEnum

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Normalization(StrEnum):
    """The unit that a loss is averaged over. Three different objectives: they weigh long captions differently.

    TOKEN: each token of the batch counts the same, so a long caption counts more.
    CAPTION: each caption counts the same, its tokens averaged.
    SEQUENCE: each caption counts the sum of its tokens, as in the policy-gradient theorem.
    """

    TOKEN = "token"
    CAPTION = "caption"
    SEQUENCE = "sequence"


def reduce_tokens(
    values: Float[Tensor, "captions length"], mask: Bool[Tensor, "captions length"], normalization: Normalization
) -> Float[Tensor, ""]:
    """Sum of the values inside the captions; divided by the number of units it is their average."""
    kept = torch.where(mask, values, 0.0)
    if normalization is Normalization.CAPTION:
        return (kept.sum(dim=1) / mask.sum(dim=1).clamp(min=1)).sum()  # over length, then captions
    return kept.sum()


def count_units(mask: Bool[Tensor, "captions length"], normalization: Normalization) -> float:
    """How many units the captions are, by which a sum of :func:`reduce_tokens` is divided."""
    return float(mask.sum()) if normalization is Normalization.TOKEN else float(len(mask))


def policy_gradient(
    logprobs: Float[Tensor, "captions length"], advantages: Float[Tensor, "captions length"]
) -> Float[Tensor, "captions length"]:
    """Per-token loss whose gradient is minus the policy gradient: -A log pi. Williams 1992; Rennie 2017, eq. 7."""
    return -advantages.detach() * logprobs


def negative_log_likelihood(
    log_probabilities: Float[Tensor, "tokens vocabulary"], token_ids: Int[Tensor, " tokens"], smoothing: float = 0.0
) -> Float[Tensor, " tokens"]:
    """Cross-entropy of each token against a target of 1 - smoothing on the token, the rest on all tokens evenly.

    Szegedy et al. 2016, section 7; the same as ``torch.nn.functional.cross_entropy(label_smoothing=...)``.
    """
    likelihood = -log_probabilities.gather(-1, token_ids[..., None])[..., 0]
    return likelihood if smoothing == 0 else (1 - smoothing) * likelihood - smoothing * log_probabilities.mean(dim=-1)


def clipped_surrogate(
    logprobs: Float[Tensor, "*actions"],
    old_logprobs: Float[Tensor, "*actions"],
    advantages: Float[Tensor, "*actions"],
    clip: float,
) -> Float[Tensor, "*actions"]:
    """PPO's loss of each action, a token or a whole caption. Schulman et al. 2017, eq. 7.

    Minus min(r A, clip(r, 1 - clip, 1 + clip) A), where r = pi / pi_old.
    Where nothing has changed yet r is 1, and the gradient is the policy gradient's.
    """
    ratio = (logprobs - old_logprobs).exp()
    advantages = advantages.detach()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


def clipped_value_loss(
    values: Float[Tensor, "captions length"],
    returns: Float[Tensor, "captions length"],
    old_values: Float[Tensor, "captions length"] | None = None,
    clip: float | None = None,
) -> Float[Tensor, "captions length"]:
    """Half the squared error of each value; the larger of it and that of the value kept within ``clip`` of the old one.

    As in OpenAI's PPO (baselines, 2017). Without ``clip`` the plain squared error.
    """
    error = (values - returns.detach()).square()
    if clip is not None and old_values is not None:
        near = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (near - returns.detach()).square())
    return error / 2
