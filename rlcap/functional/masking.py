"""Where a caption ends, and the way from its tokens back to rows."""

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


def unpack(values: Float[Tensor, " tokens"], mask: Bool[Tensor, "captions length"]) -> Float[Tensor, "captions length"]:
    """One value per token, row by row, put where the mask is True; 0 elsewhere."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)
