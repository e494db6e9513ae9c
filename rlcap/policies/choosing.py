"""How the next word of each row is chosen inside transformers' ``generate``."""

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import LogitsProcessor

from rlcap.functional.sampling import draw, gather_logprobs, log_distribution
from rlcap.types import Sampling


class RowChooser(LogitsProcessor):
    """Chooses each row's next token itself, greedy rows and sampled rows in one decode, and keeps its log-probability.

    ``generate`` is told to take the most probable token; after this processor only one token is possible.
    """

    def __init__(
        self,
        uniforms: Float[Tensor, "captions length"],
        images: int,
        samples: int,
        greedy: bool,
        sampling: Sampling,
        suppressed: tuple[int, ...],
    ) -> None:
        self.uniforms = uniforms
        self.sampling = sampling
        self.suppressed = suppressed
        rows = torch.zeros(images, samples + int(greedy), dtype=torch.bool, device=uniforms.device)
        rows[:, int(greedy) :] = True
        self.sampled = rows.flatten().nonzero()[:, 0]
        self.greedy = (~rows.flatten()).nonzero()[:, 0]
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        chosen = scores.new_empty(len(scores), dtype=torch.long)
        logprobs = scores.new_empty(len(scores))
        position = len(self.logprobs)
        if len(self.greedy):
            distribution = log_distribution(scores[self.greedy], Sampling(), self.suppressed)
            logprobs[self.greedy], chosen[self.greedy] = distribution.max(dim=-1)
        if len(self.sampled):
            distribution = log_distribution(scores[self.sampled], self.sampling, self.suppressed)
            tokens = draw(distribution, self.uniforms[:, position])
            chosen[self.sampled] = tokens
            logprobs[self.sampled] = gather_logprobs(distribution, tokens)
        self.logprobs.append(logprobs)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen[:, None], 0.0)


class Suppress(LogitsProcessor):
    """Takes the tokens that are never drawn out of the distribution."""

    def __init__(self, suppressed: tuple[int, ...]) -> None:
        self.suppressed = suppressed

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return log_distribution(scores, Sampling(), self.suppressed)  # beams compare sums of what is left
