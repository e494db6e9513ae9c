"""How noisy an algorithm's gradient is, by drawing captions of the same images again and again."""

import torch
from torch import Tensor

from rlcap.algorithms.base import Algorithm, Scorer, Total
from rlcap.types import Batch


def gradient_variance(
    algorithm: Algorithm, batch: Batch, scorer: Scorer, rollouts: int, key: tuple[int, ...]
) -> dict[str, float]:
    """Variance and squared length of the gradient of the policy's parameters over independent rollouts of some images.

    With g_k the gradient of rollout k of K and m their mean, the variance is sum_k |g_k - m|^2 / (K - 1), the trace of
    the covariance, and |m|^2 - variance / K estimates the squared length of the expected gradient without bias (it may
    be negative where noise prevails). Algorithms that estimate the same gradient are compared by the first alone.

    Args:
        algorithm: as it learns; nothing of it changes.
        batch: the images, on the policy's device.
        scorer: gives captions their rewards.
        rollouts: K, at least 2.
        key: what the draws depend on besides the rollout's number.
    """
    parameters = [parameter for parameter in algorithm.model.parameters() if parameter.requires_grad]
    summed: Tensor | None = None
    squares = 0.0
    for number in range(rollouts):
        rollout = algorithm.act(batch, scorer, (*key, number)).settled()
        (rollout,) = algorithm.weigh([rollout], Total())
        mean = algorithm.loss(rollout).mean(algorithm.units(rollout))
        parts = torch.autograd.grad(mean, parameters, allow_unused=True)
        gradient = torch.cat([part.flatten().float() for part in parts if part is not None])
        squares += float(gradient.square().sum())
        summed = gradient if summed is None else summed + gradient
    assert summed is not None
    of_mean = float((summed / rollouts).square().sum())
    variance = (squares - rollouts * of_mean) / (rollouts - 1)
    return {"gradient/variance": variance, "gradient/mean_square": of_mean - variance / rollouts}
