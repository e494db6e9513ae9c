"""How much better a caption was than expected."""

from jaxtyping import Float
from torch import Tensor


def self_critical_advantage(
    rewards: Float[Tensor, "images samples"], greedy: Float[Tensor, " images"]
) -> Float[Tensor, "images samples"]:
    """Reward of each sampled caption over that of its image's greedy caption. Rennie et al. 2017, eq. 8."""
    return rewards - greedy[:, None]
