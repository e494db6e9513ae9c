"""The policy that a run started from, kept to measure how far it has gone."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor

from rlcap.functional.masking import unpack
from rlcap.functional.sampling import gather_logprobs
from rlcap.policies.base import Policy
from rlcap.types import Batch, Captions, Sampling


class Reference:
    """A policy as it was when this was made: a frozen copy; or, of a policy with adapters, itself without them.

    Attributes:
        policy: the copy, or the learning policy.
        copied: whether it is a copy, with weights that a run must keep in order to go on.
    """

    def __init__(self, policy: Policy) -> None:
        self.copied = not policy.adapted
        self.policy = copy.deepcopy(policy).requires_grad_(False).eval() if self.copied else policy

    @torch.no_grad()
    def log_probabilities(
        self, batch: Batch, captions: Captions, sampling: Sampling | None
    ) -> Float[Tensor, "tokens vocabulary"]:
        """Its next-word distribution at every token of the captions, which are image-major, equally many per image.

        ``sampling`` is the distribution that they were drawn from; None for captions that people wrote.
        """
        with self.policy.without_adapters():
            encoded = self.policy.encode(batch).repeat(len(captions) // len(batch))
            return self.policy.predict(encoded, captions, sampling).log_probabilities

    def logprobs(self, batch: Batch, captions: Captions, sampling: Sampling | None) -> Float[Tensor, "captions length"]:
        """Its log-probability of each token of the captions; 0 after their end."""
        log_probabilities = self.log_probabilities(batch, captions, sampling)
        return unpack(gather_logprobs(log_probabilities, captions.token_ids[captions.mask]), captions.mask)
