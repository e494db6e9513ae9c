"""How much better a caption was than expected: baselines, each of them, and advantages."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def self_critical_advantage(
    rewards: Float[Tensor, "images samples"], greedy: Float[Tensor, " images"]
) -> Float[Tensor, "images samples"]:
    """Reward of each sampled caption over that of its image's greedy caption. Rennie et al. 2017, eq. 8."""
    return rewards - greedy[:, None]


def leave_one_out(rewards: Float[Tensor, "images samples"]) -> Float[Tensor, "images samples"]:
    """Mean reward of each caption's siblings, the other samples of its image. Kool et al. 2019; Luo 2020, eq. 3.

    A sibling does not depend on the caption, so the gradient stays unbiased.
    """
    samples = rewards.shape[1]
    return (rewards.sum(dim=1, keepdim=True) - rewards) / (samples - 1)


def running_mean(mean: Float[Tensor, ""], reward: Float[Tensor, ""], decay: float) -> Float[Tensor, ""]:
    """Exponential moving average: decay * mean + (1 - decay) * reward. Williams 1992, section 5."""
    return decay * mean + (1 - decay) * reward


def group_normalized(
    rewards: Float[Tensor, "images samples"], epsilon: float = 1e-4
) -> Float[Tensor, "images samples"]:
    """Rewards less their image's mean, over their image's standard deviation. Shao et al. 2024 (GRPO), section 4.1.2.

    The standard deviation is that of a sample (n - 1), as in TRL.
    """
    spread = rewards.std(dim=1, keepdim=True)  # over samples
    return (rewards - rewards.mean(dim=1, keepdim=True)) / (spread + epsilon)


def at_end(
    values: Float[Tensor, " captions"], mask: Bool[Tensor, "captions length"]
) -> Float[Tensor, "captions length"]:
    """What a caption as a whole has, such as its reward, at its last token; 0 before."""
    last = mask & ~torch.nn.functional.pad(mask[:, 1:], (0, 1), value=False)
    return torch.where(last, values[:, None], 0.0)


def generalized_advantage(
    rewards: Float[Tensor, "captions length"],
    values: Float[Tensor, "captions length"],
    mask: Bool[Tensor, "captions length"],
    discount: float = 1.0,
    decay: float = 1.0,
) -> Float[Tensor, "captions length"]:
    """GAE of each token: sum over k of (discount * decay)^k delta_{t+k}, delta_t = r_t + discount V_{t+1} - V_t.

    Schulman et al. 2016, eq. 16. The state after the last token has value 0, whether EOS closed the caption or the
    length limit cut it: the caption is over either way. With decay 1 it is the reward still to come less V_t; with
    decay 0 the one-step error. Advantage + value is the value's own target (the return).
    """
    values = torch.where(mask, values, 0.0)
    following = torch.nn.functional.pad(values[:, 1:], (0, 1))
    errors = torch.where(mask, rewards + discount * following - values, 0.0)
    advantages = torch.zeros_like(errors)
    later = errors.new_zeros(len(errors))
    for position in reversed(range(errors.shape[1])):
        later = errors[:, position] + discount * decay * later
        advantages[:, position] = later
    return torch.where(mask, advantages, 0.0)
