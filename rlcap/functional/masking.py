"""Where a caption ends, and averages over what it holds."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def until_eos(token_ids: Int[Tensor, "captions length"], eos_id: int) -> Bool[Tensor, "captions length"]:
    """True up to and including the first EOS of each caption, False after it; all True where there is none."""
    is_eos = token_ids == eos_id
    ends_before = is_eos.cumsum(dim=1) - is_eos.long()  # over length: how many EOS came earlier
    return ends_before == 0


def ended(token_ids: Int[Tensor, "captions length"], eos_id: int) -> Bool[Tensor, " captions"]:
    """Whether each caption was closed by EOS rather than cut at the length limit."""
    return (token_ids == eos_id).any(dim=1)


def masked_mean(values: Float[Tensor, "*axes"], mask: Bool[Tensor, "*axes"]) -> Float[Tensor, ""]:
    """Mean of the values where the mask is True; 0 if it is True nowhere."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)
