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
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Sum of the values inside the captions, and the number of units to divide it by for the average."""
    kept = torch.where(mask, values, 0.0)
    if normalization is Normalization.TOKEN:
        return kept.sum(), mask.sum().to(kept.dtype)
    captions = kept.new_tensor(float(len(kept)))
    if normalization is Normalization.CAPTION:
        return (kept.sum(dim=1) / mask.sum(dim=1).clamp(min=1)).sum(), captions  # over length, then captions
    return kept.sum(), captions


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
