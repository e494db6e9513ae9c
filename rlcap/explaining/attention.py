"""The attention of a captioner that reads an image and a caption, and its gradient for each token."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rlcap.errors import UserError
from rlcap.explaining.relevance import positive_attention, propagated, propagated_in_one_stream
from rlcap.policies.base import Policy
from rlcap.types import Captions


@dataclass(frozen=True)
class TokenAttention:
    """Attention weighted by its gradient (Chefer et al. 2021, eq. 5), layer by layer, of each token to be explained.

    Attributes:
        positions: of the tokens in the caption.
        grid: rows and columns of the regions; those left over come first.
        regions: how many there are, those left over included.
        probabilities: of each token, given the image and the tokens before it.
        encoder: of the image encoder; empty where it has no attention of every region to every other.
        words: of the decoder to itself; empty where regions and words are one stream.
        across: of the decoder to the regions; empty where regions and words are one stream.
        joint: of a decoder that reads regions and words in one stream; empty where it does not.
    """

    positions: tuple[int, ...]
    grid: tuple[int, int]
    regions: int
    probabilities: Float[Tensor, " tokens"]
    encoder: list[Float[Tensor, "tokens regions regions"]]
    words: list[Float[Tensor, "tokens words words"]]
    across: list[Float[Tensor, "tokens words regions"]]
    joint: list[Float[Tensor, "tokens positions positions"]]

    @property
    def relevance(self) -> Float[Tensor, "tokens cells"]:
        """How relevant each cell of the grid is to each token, propagated through all layers."""
        if self.joint:
            return self._read(propagated_in_one_stream(self.encoder, self.joint, self.regions))
        return self._read(propagated(self.encoder, self.words, self.across))

    @property
    def gradient_attention(self) -> Float[Tensor, "tokens cells"]:
        """What the last layer that attends to the regions takes from each cell of the grid."""
        last = self.joint[-1][:, self.regions :, : self.regions] if self.joint else self.across[-1]
        return self._read(last)

    def _read(self, relevance: Float[Tensor, "tokens words regions"]) -> Float[Tensor, "tokens cells"]:
        """Of each token its own row, without the regions that have no place in the image."""
        cells = self.grid[0] * self.grid[1]
        return relevance[torch.arange(len(self.positions)), list(self.positions), self.regions - cells :]


def token_attention(
    policy: Policy, pixel_values: Float[Tensor, "1 channels height width"], caption: Captions, positions: Sequence[int]
) -> TokenAttention:
    """The weighted attention of some tokens of one image's caption: one forward, and one backward per token.

    Raises:
        UserError: if the policy's attention cannot be seen.
    """
    with torch.enable_grad(), eager(policy), attending(policy) as seen:
        # of a frozen encoder nothing has gradients, unless its input has
        encoded, grid = policy.encode_grid(pixel_values.detach().requires_grad_())
        regions, length = encoded.states.shape[1], caption.token_ids.shape[1]
        encoder = [weights for weights in seen if weights.shape[-2:] == (regions, regions)]
        seen.clear()
        logits, _ = policy.score_tokens(encoded, caption)
    words, across, joint = sorted_maps(seen, regions, length)
    if not joint and (not across or len(words) != len(across)):
        raise UserError(
            f"{type(policy).__name__} cannot be explained: of its decoder are seen {len(words)} layers of "
            f"self-attention and {len(across)} of cross-attention"
        )
    probabilities = logits.float().softmax(dim=-1)
    weights = [*encoder, *words, *across, *joint]
    rows: list[list[Tensor]] = [[] for _ in weights]
    chosen = caption.token_ids[0].tolist()
    for position in positions:
        odds = log_odds(logits[position].float(), chosen[position])
        gradients = torch.autograd.grad(odds, weights, retain_graph=True, materialize_grads=True)
        for row, attention, gradient in zip(rows, weights, gradients, strict=True):
            row.append(positive_attention(attention[0].detach().float(), gradient[0].float()))
    maps = iter([torch.stack(row) for row in rows])
    return TokenAttention(
        positions=tuple(positions),
        grid=grid,
        regions=regions,
        probabilities=torch.stack([probabilities[position, chosen[position]] for position in positions]).detach(),
        encoder=[next(maps) for _ in encoder],
        words=[next(maps) for _ in words],
        across=[next(maps) for _ in across],
        joint=[next(maps) for _ in joint],
    )


def log_odds(logits: Float[Tensor, " vocabulary"], token: int) -> Float[Tensor, ""]:
    """The logarithm of a token's probability over that of all others.

    Its gradient is that of the token's log-probability, divided by the probability of the others: of the same
    direction, but it does not vanish where the policy is sure of the token.
    """
    others = torch.arange(len(logits), device=logits.device) != token
    return logits[token] - logits[others].logsumexp(dim=0)


def sorted_maps(seen: Sequence[Tensor], regions: int, length: int) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """Which of a decoder's attention maps are of words to words, of words to regions, and of both in one stream.

    Where there are as many words as regions, words to words is what looks at no later word.
    """
    words, across, joint = [], [], []
    for weights in seen:
        shape = tuple(weights.shape[-2:])
        if shape == (regions + length, regions + length):
            joint.append(weights)
        elif shape == (length, length) and not weights.detach().triu(diagonal=1).any():
            words.append(weights)
        elif shape == (length, regions):
            across.append(weights)
    return words, across, joint


@contextmanager
def attending(module: nn.Module) -> Iterator[list[Tensor]]:
    """Inside it the attention of every layer that runs joins the list; transformers' layers hand it out second."""
    seen: list[Tensor] = []

    def note(_: nn.Module, __: Any, output: Any) -> None:
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if not isinstance(weights, Tensor) or weights.ndim != 4 or not weights.requires_grad:
            return
        if not any(weights is other for other in seen):  # an outer layer hands out its inner one's
            seen.append(weights)

    handles = [part.register_forward_hook(note) for part in module.modules()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def eager(module: nn.Module) -> Iterator[None]:
    """Inside it attention is computed step by step, so that there are maps to look at; afterwards as it was before."""
    configs: list[Any] = []

    def collect(config: Any) -> None:
        if hasattr(config, "_attn_implementation") and not any(config is other for other in configs):
            configs.append(config)
            for part in vars(config).values():
                collect(part)

    for part in module.modules():
        collect(getattr(part, "config", None))
    before = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation = "eager"
        yield
    finally:
        for config, implementation in zip(configs, before, strict=True):  # parts after wholes, which set their parts
            config._attn_implementation = implementation
