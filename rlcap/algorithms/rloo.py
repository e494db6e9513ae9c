"""REINFORCE leave-one-out (Kool et al. 2019; Ahmadian et al. 2024): the other samples of the image are the baseline.

A caption is one action. Its reward, less the penalty beta KL(pi || reference) estimated by k1, is compared with its
siblings', and its probability ratio rho = pi(w) / pi_old(w) is clipped as in PPO, so that rollouts can be reused:

    L = - E[ min(rho A, clip(rho, 1 - epsilon, 1 + epsilon) A) ],   A = r - mean of the siblings' r
"""

from collections.abc import Mapping
from dataclasses import replace

from rlcap.algorithms.baselines import LeaveOneOut
from rlcap.algorithms.policy_gradient import KLPenalty, Objective, given, movement
from rlcap.algorithms.reuse import Reuse, ReusingPolicyGradient
from rlcap.functional.advantages import at_end
from rlcap.functional.losses import Normalization, clipped_surrogate
from rlcap.policies.base import Policy
from rlcap.types import Loss, Rollout, Sampling, UserError


class RLOO(ReusingPolicyGradient):
    """RLOO: leave-one-out advantages, a ratio per caption, the KL penalty in the reward.

    Args:
        policy: the captioner, trained by teacher forcing before.
        samples_per_image: sampled captions per image, at least 2.
        max_length: the most tokens of a caption, EOS included.
        sampling: the distribution of the samples and of their probability ratios.
        objective: what is descended besides; its normalization is that of whole captions.
        reuse: how often rollouts are learned from.
        clip: epsilon: how far from 1 a caption's probability ratio still has a gradient.
    """

    def __init__(
        self,
        policy: Policy,
        samples_per_image: int = 5,
        max_length: int = 20,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        objective: Objective = Objective(kl=KLPenalty(reward=0.05)),  # noqa: B008 - frozen
        reuse: Reuse = Reuse(),  # noqa: B008 - frozen
        clip: float = 0.2,
    ) -> None:
        super().__init__(policy, LeaveOneOut(), samples_per_image, max_length, sampling, objective, reuse, clip)
        if objective.normalization is not Normalization.SEQUENCE:
            raise UserError(
                f"RLOO takes captions as wholes: objective.normalization must be SEQUENCE, "
                f"got {objective.normalization.name}"
            )

    def counts(self, rollout: Rollout) -> Mapping[str, float]:
        of_captions = ("policy/approx_kl", "policy/ratio", "policy/clip_fraction")  # here a caption has one ratio
        return {**super().counts(rollout), **dict.fromkeys(of_captions, float(len(rollout.captions)))}

    def loss(self, rollout: Rollout) -> Loss:
        """The clipped surrogate of whole captions."""
        foreseen, captions = self.foresee(rollout), rollout.captions
        old_logprobs = given(captions.logprobs)
        surrogate = clipped_surrogate(
            foreseen.logprobs.sum(dim=1), old_logprobs.sum(dim=1), given(rollout.advantages)[:, 0], self.clip
        )  # over length
        loss = self.compose(rollout, foreseen, at_end(surrogate, captions.mask))
        whole = captions.mask[:, :1]
        moved = movement(
            foreseen.logprobs.sum(dim=1, keepdim=True), old_logprobs.sum(dim=1, keepdim=True), whole, self.clip
        )
        return replace(loss, stats={**loss.stats, **moved})
