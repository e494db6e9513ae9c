"""Self-critical sequence training (Rennie et al. 2017): REINFORCE with the greedy caption's reward as baseline.

The gradient of the expected reward is estimated from sampled captions w^s and the greedy caption w^ of the same image:

    grad L = - (r(w^s) - r(w^)) grad log pi(w^s | image)
"""

from rlcap.algorithms.base import Algorithm, Scorer
from rlcap.functional.advantages import self_critical_advantage
from rlcap.functional.losses import Normalization, policy_gradient, reduce_tokens
from rlcap.functional.masking import unpack
from rlcap.functional.sampling import entropy, gather_logprobs
from rlcap.policies.base import Policy
from rlcap.types import Batch, Loss, Rollout, Sampling, UserError


class SelfCritical(Algorithm):
    """Self-critical sequence training.

    Each image is encoded once; its greedy caption and its samples come from one decode; dropout is off, so that the
    log-probabilities of learning are those of acting.

    Args:
        policy: the captioner, trained by teacher forcing before.
        samples_per_image: sampled captions per image.
        max_length: the most tokens of a caption, EOS included.
        sampling: the distribution of the samples; the gradient is of the same.
        normalization: what the loss is averaged over. SEQUENCE is the policy gradient itself.
    """

    def __init__(
        self,
        policy: Policy,
        samples_per_image: int = 5,
        max_length: int = 20,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        normalization: Normalization = Normalization.SEQUENCE,
    ) -> None:
        super().__init__(policy)
        if samples_per_image < 1:
            raise UserError(f"samples_per_image must be at least 1, got {samples_per_image}")
        self.samples_per_image = samples_per_image
        self.max_length = max_length
        self.sampling = sampling
        self.normalization = normalization

    def act(self, batch: Batch, scorer: Scorer, key: tuple[int, ...]) -> Rollout:
        """Sample captions, decode the greedy one beside them, and compare their rewards."""
        encoded = self.policy.encode(batch)
        captions = self.policy.generate(
            encoded,
            batch.image_ids,
            samples=self.samples_per_image,
            greedy=True,
            key=key,
            sampling=self.sampling,
            max_length=self.max_length,
        )
        scored = scorer(captions, batch)
        rewards = scored.total.reshape(len(batch), 1 + self.samples_per_image)
        greedy, sampled = rewards[:, 0], rewards[:, 1:]
        advantages = self_critical_advantage(sampled, greedy)

        rows = captions.rows(len(batch))[:, 1:].flatten()
        samples = captions.select(rows)
        stats = {
            **scored.stats(captions, rows),
            "reward/sampled": float(sampled.mean()),
            "reward/greedy": float(greedy.mean()),
            "advantage/std": float(advantages.std(correction=0)),
        }
        per_token = advantages.flatten()[:, None].expand(samples.token_ids.shape)
        return Rollout(encoded, samples, per_token, decoded=len(captions), stats=stats)

    def forward(self, rollout: Rollout) -> Loss:
        """Minus the advantage-weighted log-likelihood of the samples."""
        captions = rollout.captions
        encoded = rollout.encoded.repeat(rollout.captions_per_image)
        log_probabilities = self.policy.predict(encoded, captions, self.sampling).log_probabilities
        logprobs = unpack(gather_logprobs(log_probabilities, captions.token_ids[captions.mask]), captions.mask)
        total, count = reduce_tokens(policy_gradient(logprobs, rollout.advantages), captions.mask, self.normalization)
        stats = {
            "loss/policy": (total / count).detach(),
            "policy/entropy": entropy(log_probabilities.detach()).mean(),
            "policy/top1_mass": log_probabilities.detach().amax(dim=-1).exp().mean(),
        }
        return Loss(total, count, stats)
