"""Which tokens of a caption make which of its words."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from rlcap.policies.base import Policy
from rlcap.types import Captions


@dataclass(frozen=True)
class Words:
    """A caption as words.

    Attributes:
        texts: what is between its spaces.
        tokens: the places of each word's tokens in the caption; there may be none.
    """

    texts: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]

    @property
    def positions(self) -> tuple[int, ...]:
        """The places of all tokens that are part of a word."""
        return tuple(sorted(position for tokens in self.tokens for position in tokens))

    def mean(self, values: Float[Tensor, "tokens cells"]) -> Float[Tensor, "words cells"]:
        """The mean over each word's tokens, given a row for each of ``positions``."""
        places = self._rows()
        return torch.stack([values[rows].mean(dim=0) if rows else values.new_zeros(values.shape[1]) for rows in places])

    def product(self, values: Float[Tensor, " tokens"]) -> Float[Tensor, " words"]:
        """The product over each word's tokens, given a number for each of ``positions``."""
        return torch.stack([values[rows].prod() for rows in self._rows()])

    def _rows(self) -> list[list[int]]:
        row = {position: index for index, position in enumerate(self.positions)}
        return [[row[position] for position in tokens] for tokens in self.tokens]


def words_of(policy: Policy, caption: Captions) -> Words:
    """The words of one caption; a token belongs to the word that it ends or goes on with, a special one to none."""
    lengths = range(int(caption.mask.sum()) + 1)
    told = [policy.detokenize(Captions(caption.token_ids[:, :n], caption.mask[:, :n]))[0] for n in lengths]
    texts = told[-1].split()
    tokens: list[list[int]] = [[] for _ in texts]
    for position, (before, after) in enumerate(pairwise(told)):
        if after != before:
            tokens[min(len(after.split()), len(texts)) - 1].append(position)
    return Words(tuple(texts), tuple(map(tuple, tokens)))
