"""Fluency: how probable a caption's words are under a causal language model, whatever the image shows.

A caption is tokenised as it is written, without special tokens. Its first token is conditioned on the tokenizer's BOS
token, or on its EOS token where there is no BOS, as GPT-2's documents begin; where there is neither it is not scored.
The end of the caption is not scored. Captions longer than the model's positions are scored as far as those reach.

Weigh it lightly: a language model likes short and common phrases best, so alone it makes every caption the same one.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewards.base import Candidates, Resampled, RewardError, Signature
from rewards.networks.pretrained import ModelReward, Precision, load, load_model
from rewards.ngrams import Memory


class Likelihood(NamedTuple):
    """A caption under a language model: the sum of its tokens' log-probabilities, and how many were scored."""

    total: float
    tokens: int


def token_logprobs(
    logits: Float[Tensor, "captions length vocabulary"], token_ids: Int[Tensor, "captions length"]
) -> Float[Tensor, "captions following"]:
    """Log-probability of every token but the first, given those before it."""
    following = token_ids[:, 1:]
    scores = logits[:, :-1].float()
    return scores.gather(2, following[:, :, None]).squeeze(2) - scores.logsumexp(dim=2)


def perplexity(likelihoods: Sequence[Likelihood]) -> float:
    """Exp of the negative log-likelihood of all captions per token of all captions; 1 without tokens."""
    tokens = sum(own.tokens for own in likelihoods)
    return math.exp(-math.fsum(own.total for own in likelihoods) / max(1, tokens))


class Fluency(ModelReward):
    """Mean log-probability of a caption's tokens under a causal language model.

    A caption without scored tokens gets the log-probability of a token drawn blindly, minus the logarithm of the
    vocabulary's size, so that saying nothing does not pay.

    Args:
        checkpoint: hub name or local directory of a causal language model and its tokenizer.
        lowest: the least that one token can count, such as -10, so that one rare word does not outweigh the rest.
        batch_size: how many captions run together.
        precision: of the weights.
        remembered_captions: for how many captions the result is kept between calls.
    """

    def __init__(
        self,
        checkpoint: str = "openai-community/gpt2",
        lowest: float | None = None,
        batch_size: int = 32,
        precision: Precision = "float32",
        remembered_captions: int = 65536,
    ) -> None:
        if lowest is not None and not lowest < 0:
            raise RewardError(
                f"lowest bounds log-probabilities, which are negative, got {lowest}: give a number below 0"
            )
        self.tokenizer = load(AutoTokenizer, checkpoint)
        model = load_model(AutoModelForCausalLM, checkpoint, precision, whole=True)
        super().__init__(checkpoint, model, batch_size, {"vocabulary": self.tokenizer.get_vocab()})
        config = model.config.get_text_config()
        self.positions = getattr(config, "max_position_embeddings", None)
        self.lowest = lowest
        self.blind = -math.log(config.vocab_size)
        starts = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        self.start: list[int] = [token for token in starts if token is not None][:1]
        self._memory: Memory[str, Likelihood] = Memory(self._likelihoods, remembered_captions)
        if not self._causal():
            raise RewardError(f"{checkpoint!r} looks at later words: give a causal language model, such as GPT-2")

    @property
    def signature(self) -> Signature:
        """The model, its precision, what the first token is conditioned on, and the bound of a token."""
        start = self.tokenizer.convert_ids_to_tokens(self.start[0]) if self.start else "none"
        lowest = "none" if self.lowest is None else f"{self.lowest:g}"
        settings = {"model": self.called, "precision": self.precision, "start": start, "lowest": lowest}
        return Signature(type(self).__name__, settings)

    def likelihoods(self, captions: Sequence[str]) -> list[Likelihood]:
        """Each caption's log-likelihood and scored tokens; equal captions are run once, known ones not at all."""
        return self._memory(captions)

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """Mean log-probability of each caption's tokens."""
        rows = self.likelihoods(candidates.captions)
        return np.array([own.total / own.tokens if own.tokens else self.blind for own in rows], np.float64)

    def _likelihoods(self, captions: Sequence[str]) -> list[Likelihood]:
        encoded = self.tokenizer(list(captions), add_special_tokens=False, verbose=False)["input_ids"]
        sequences = [[*self.start, *token_ids][: self.positions] for token_ids in encoded]
        results = [Likelihood(0.0, 0)] * len(sequences)
        by_length = sorted(range(len(sequences)), key=lambda row: len(sequences[row]))  # little padding
        scored = [row for row in by_length if len(sequences[row]) > 1]
        for start in range(0, len(scored), self.batch_size):
            rows = scored[start : start + self.batch_size]
            token_ids, mask = _padded([sequences[row] for row in rows])
            logprobs = self._logprobs(token_ids.to(self.device), mask.to(self.device)).double()
            if self.lowest is not None:
                logprobs = logprobs.clamp(min=self.lowest)
            totals = logprobs.masked_fill(~mask[:, 1:].to(self.device), 0.0).sum(dim=1)  # over length
            for row, total in zip(rows, totals.tolist(), strict=True):
                results[row] = Likelihood(total, len(sequences[row]) - 1)
        return results

    def _logprobs(
        self, token_ids: Int[Tensor, "captions length"], mask: Bool[Tensor, "captions length"]
    ) -> Float[Tensor, "captions following"]:
        with self.judging():
            logits = self.model(input_ids=token_ids, attention_mask=mask.long(), use_cache=False).logits
            return token_logprobs(logits, token_ids)

    def _causal(self) -> bool:
        """Whether what the model expects after a token does not depend on the token that follows."""
        token_ids = torch.tensor([[0, 0], [0, 1]])
        with self.judging():
            logits = self.model(input_ids=token_ids, attention_mask=torch.ones_like(token_ids), use_cache=False).logits
        one, other = logits[:, 0].float()
        tolerance = 16 * torch.finfo(self.dtype).eps * float(one.abs().max())
        return bool((one - other).abs().max() <= tolerance)


class Perplexity(Fluency):
    """Perplexity of a caption under a causal language model: a metric, of which less is better.

    It takes what ``Fluency`` takes, which is the reward. The value of all captions together is exp of their total
    negative log-likelihood over their total tokens, not a mean of perplexities; empty captions do not count in it.
    """

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """Perplexity of each caption."""
        perplexities: Float64[np.ndarray, " captions"] = np.exp(-super().__call__(candidates))
        return perplexities

    def aggregate(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> float:
        """Perplexity of all captions together."""
        return perplexity(self.likelihoods(candidates.captions))

    def resampled(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> Resampled:
        """Perplexity of resamples, from the same likelihoods."""
        rows = self.likelihoods(candidates.captions)
        totals, tokens = np.array([own.total for own in rows]), np.array([own.tokens for own in rows], np.float64)
        return lambda times: np.exp(-(totals @ times) / np.maximum(tokens @ times, 1))


def _padded(
    sequences: Sequence[Sequence[int]],
) -> tuple[Int[Tensor, "captions length"], Bool[Tensor, "captions length"]]:
    """Token ids with anything behind the end, where no real token can see it, and which of them are real."""
    length = max(map(len, sequences))
    token_ids = [[*own, *[0] * (length - len(own))] for own in sequences]
    lengths = torch.tensor([len(own) for own in sequences])
    return torch.tensor(token_ids), torch.arange(length) < lengths[:, None]
