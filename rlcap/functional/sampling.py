"""The distribution captions are drawn from, and how one is drawn: one pair of functions for acting and for learning."""

import hashlib

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rlcap.types import Sampling


def log_distribution(
    logits: Float[Tensor, "*rows vocabulary"],
    sampling: Sampling,
    suppressed: tuple[int, ...] = (),
    keep: Int[Tensor, "*rows"] | None = None,
) -> Float[Tensor, "*rows vocabulary"]:
    """Log-probabilities after temperature, top-k and top-p, in float32; minus infinity for what is cut.

    Args:
        logits: the policy's.
        sampling: how to process them.
        suppressed: tokens that are never drawn, such as padding.
        keep: tokens that are not cut, whatever their rank: those drawn when acting. Rounding may move a token across
            the border of the top k or p between the cached decode and the parallel forward; without this its
            log-probability would jump to minus infinity.
    """
    logits = logits.float()
    if suppressed:
        logits = logits.index_fill(-1, torch.tensor(suppressed, device=logits.device), -torch.inf)
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if sampling.top_k or sampling.top_p < 1:
        cut = _cut(logits.detach(), sampling)
        if keep is not None:
            cut = cut.scatter(-1, keep[..., None], value=False)
        logits = logits.masked_fill(cut, -torch.inf)
    return logits.log_softmax(dim=-1)


def _cut(logits: Tensor, sampling: Sampling) -> Tensor:
    """True for the tokens outside the top k or outside the top p."""
    ordered, order = logits.sort(dim=-1, descending=True)
    rank = torch.arange(logits.shape[-1], device=logits.device)
    outside = torch.zeros_like(logits, dtype=torch.bool)
    if sampling.top_k:
        outside |= rank >= sampling.top_k
        ordered = ordered.masked_fill(outside, -torch.inf)
    if sampling.top_p < 1:
        probability = ordered.softmax(dim=-1)
        reached_before = probability.cumsum(dim=-1) - probability  # over vocabulary, most probable first
        outside |= (reached_before >= sampling.top_p) & (rank > 0)
    return torch.zeros_like(outside).scatter(-1, order, outside)


def draw(log_probabilities: Float[Tensor, "rows vocabulary"], uniforms: Float[Tensor, " rows"]) -> Int[Tensor, " rows"]:
    """One token per row by inverting the cumulative distribution at a number of [0, 1).

    A row's token depends on that row alone, so a caption does not change with its neighbours.
    """
    precise = torch.float32 if log_probabilities.device.type == "mps" else torch.float64
    cumulative = log_probabilities.to(precise).exp().cumsum(dim=-1)
    threshold = uniforms.to(precise)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True)[:, 0]


def image_generator(image_id: str, key: tuple[int, ...]) -> np.random.Generator:
    """A random generator that is a function of the image and the key (such as run seed and step) alone."""
    digest = hashlib.blake2b("/".join([*map(str, key), image_id]).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, np.uint64)))


def image_uniforms(
    image_ids: tuple[str, ...], key: tuple[int, ...], samples: int, length: int
) -> Float[Tensor, "captions length"]:
    """Numbers of [0, 1) for each sample of each image, the same on every device and in every batch.

    They are a function of the image, the key (such as run seed and step), the sample and the position alone. So the
    same run gives the same captions on one process or many, and a resumed run needs no generator state.
    """
    numbers = np.stack([image_generator(image_id, key).random((samples, length)) for image_id in image_ids])
    steps = 2.0**23  # representable in float32, so that no number rounds up to 1
    return torch.from_numpy(np.floor(numbers.reshape(-1, length) * steps) / steps).float()


def gather_logprobs(
    log_probabilities: Float[Tensor, "*rows vocabulary"], token_ids: Int[Tensor, "*rows"]
) -> Float[Tensor, "*rows"]:
    """The log-probability of each given token."""
    return log_probabilities.gather(-1, token_ids[..., None])[..., 0]


def entropy(log_probabilities: Float[Tensor, "*rows vocabulary"]) -> Float[Tensor, "*rows"]:
    """Entropy in nats of each distribution; cut tokens count nothing."""
    return -(log_probabilities.exp() * log_probabilities.clamp(min=torch.finfo(torch.float32).min)).sum(dim=-1)
