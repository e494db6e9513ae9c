"""Group relative policy optimisation (Shao et al. 2024): a caption's reward against those of its image's other samples.

A = (r - mean of the image's rewards) / their standard deviation,   L as PPO's, without a critic
"""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from rlcap.algorithms.baselines import LeaveOneOut, Rewards
from rlcap.algorithms.policy_gradient import Objective, given, movement
from rlcap.algorithms.reuse import Reuse, ReusingPolicyGradient
from rlcap.functional.advantages import group_normalized
from rlcap.functional.losses import Normalization, clipped_surrogate
from rlcap.policies.base import Policy
from rlcap.types import Loss, Rollout, Sampling, UserError


class GRPO(ReusingPolicyGradient):
    """GRPO: group-normalised advantages, the clipped surrogate, no critic.

    The group's standard deviation makes images count alike whose rewards differ in spread; where all samples of an
    image score almost the same it magnifies noise (Liu et al. 2025).

    Args:
        policy: the captioner, trained by teacher forcing before.
        samples_per_image: sampled captions per image, at least 2: the group.
        max_length: the most tokens of a caption, EOS included.
        sampling: the distribution of the samples and of their probability ratios.
        objective: normalization, each caption counting the same by default, and what is descended besides.
        reuse: how often rollouts are learned from.
        clip: epsilon: how far from 1 a token's probability ratio still has a gradient.
    """

    def __init__(
        self,
        policy: Policy,
        samples_per_image: int = 5,
        max_length: int = 20,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        objective: Objective = Objective(normalization=Normalization.CAPTION),  # noqa: B008 - frozen
        reuse: Reuse = Reuse(),  # noqa: B008 - frozen
        clip: float = 0.2,
    ) -> None:
        super().__init__(policy, LeaveOneOut(), samples_per_image, max_length, sampling, objective, reuse, clip)
        if objective.standardize:
            raise UserError("GRPO divides by each group's own standard deviation: objective.standardize must be false")

    def advantages(self, rewards: Rewards) -> Float[Tensor, "images samples"]:
        """Rewards normalised within each image's group."""
        return group_normalized(rewards.sampled)

    def loss(self, rollout: Rollout) -> Loss:
        """The clipped surrogate."""
        foreseen, old_logprobs = self.foresee(rollout), given(rollout.captions.logprobs)
        surrogate = clipped_surrogate(foreseen.logprobs, old_logprobs, given(rollout.advantages), self.clip)
        loss = self.compose(rollout, foreseen, surrogate)
        moved = movement(foreseen.logprobs, old_logprobs, rollout.captions.mask, self.clip)
        return replace(loss, stats={**loss.stats, **moved})
