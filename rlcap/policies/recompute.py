"""Activations computed again in the backward pass instead of kept: less memory for about a third more time.

Chen et al. 2016, arXiv 1604.06174. What is kept of each block is its input; torch draws the same dropout again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from rlcap.errors import UserError


def recompute_activations(module: nn.Module) -> None:
    """Make every block of a policy, or of an algorithm with it, forget its activations while it learns.

    Transformers' own switch works in training mode alone, and there it takes the words' cache from ``generate``. Here
    the two are told apart by whether gradients are wanted: reinforcement learning has dropout off, and decodes without.

    Raises:
        UserError: if there are no blocks.
    """
    blocks = blocks_of(module)
    if not blocks:
        raise UserError(
            "training.gradient_checkpointing finds no blocks in the policy, neither transformers' own nor the members "
            "of a ModuleList: leave it out"
        )
    for block in blocks:
        if "forward" not in vars(block):
            block.forward = partial(_recomputed, block.forward)


def _recomputed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def blocks_of(module: nn.Module) -> list[nn.Module]:
    """What a network is stacked of: transformers' layers; the members of a ModuleList in what has none of these."""
    if isinstance(module, GradientCheckpointingLayer):
        return [module]
    if isinstance(module, nn.ModuleList) and not any(
        isinstance(inner, GradientCheckpointingLayer) for inner in module.modules()
    ):
        return list(module)
    return [block for child in module.children() for block in blocks_of(child)]
