"""Teacher forcing: make the references likely.

The loss is the cross-entropy of each reference's tokens given those before it:

    L = - sum_t log pi(w*_t | w*_1 .. w*_{t-1}, image)
"""

from collections.abc import Mapping
from typing import ClassVar

import torch

from rlcap.algorithms.base import Algorithm, Scorer, choose_references
from rlcap.functional.losses import Normalization, count_units, negative_log_likelihood, reduce_tokens
from rlcap.functional.masking import unpack
from rlcap.policies.base import Policy
from rlcap.types import Batch, Captions, Loss, Rollout, UserError


class TeacherForcing(Algorithm):
    """Maximum likelihood on the reference captions. Each image is encoded once for all its references.

    Args:
        policy: the captioner.
        captions_per_image: references used per image and step, drawn anew each time if an image has more. An image
            with fewer repeats some.
        max_length: references are cut at so many tokens.
        label_smoothing: share of the target spread over the whole vocabulary. Szegedy et al. 2016.
        normalization: what the loss is averaged over.
        scheduled_sampling: probability that an input word is replaced by one the policy draws there, in two parallel
            passes. Bengio et al. 2015; for Transformers, Mihaylova & Martins 2019.
    """

    dropout: ClassVar[bool] = True
    rewarded: ClassVar[bool] = False

    def __init__(
        self,
        policy: Policy,
        captions_per_image: int = 5,
        max_length: int = 30,
        label_smoothing: float = 0.0,
        normalization: Normalization = Normalization.TOKEN,
        scheduled_sampling: float = 0.0,
    ) -> None:
        super().__init__(policy)
        if captions_per_image < 1:
            raise UserError(f"captions_per_image must be at least 1, got {captions_per_image}")
        for name, share in (("label_smoothing", label_smoothing), ("scheduled_sampling", scheduled_sampling)):
            if not 0 <= share < 1:
                raise UserError(f"{name} must be in [0, 1), got {share}")
        self.captions_per_image = captions_per_image
        self.max_length = max_length
        self.label_smoothing = label_smoothing
        self.normalization = normalization
        self.scheduled_sampling = scheduled_sampling

    def act(self, batch: Batch, scorer: Scorer, key: tuple[int, ...]) -> Rollout:
        """Choose references; the teacher acts, so nothing is decoded or scored."""
        captions = choose_references(self.policy, batch, self.captions_per_image, self.max_length, key)
        return Rollout(batch, captions, stats={"caption/length": float(captions.mask.sum(dim=1).float().mean())})

    def units(self, rollout: Rollout) -> Mapping[str, float]:
        return {"policy": count_units(rollout.captions.mask, self.normalization)}

    def loss(self, rollout: Rollout) -> Loss:
        """Cross-entropy of the references."""
        captions = rollout.captions
        encoded = self.encode(rollout).repeat(rollout.captions_per_image)
        inputs = captions
        if self.scheduled_sampling:
            with torch.no_grad():
                probabilities = self.policy.predict(encoded, captions).log_probabilities.exp()
            guesses = torch.multinomial(probabilities, 1)[:, 0]
            replaced = torch.rand(guesses.shape, device=guesses.device) < self.scheduled_sampling
            mixed = torch.where(replaced, guesses, captions.token_ids[captions.mask])
            inputs = Captions(captions.token_ids.masked_scatter(captions.mask, mixed), captions.mask)
        log_probabilities = self.policy.predict(encoded, inputs).log_probabilities
        targets = captions.token_ids[captions.mask]
        each = unpack(negative_log_likelihood(log_probabilities, targets, self.label_smoothing), captions.mask)
        total = reduce_tokens(each, captions.mask, self.normalization)
        mean = total.detach() / count_units(captions.mask, self.normalization)
        return Loss({"policy": total}, {"loss/policy": mean})
