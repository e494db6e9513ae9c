"""Advantage actor-critic (Mnih et al. 2016; for captioning Zhang et al. 2017) with a critic that values every prefix.

    grad J = E[ sum_t A_t grad log pi(w_t | w_<t, image) ],   A_t = sum_k (discount decay)^k delta_{t+k}
    delta_t = r_t + discount V(w_<=t) - V(w_<t)

The reward comes with the last token. The critic learns the returns A_t + V(w_<t) by least squares, in the same step.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from torch import nn

from rlcap.algorithms.base import Total, learning
from rlcap.algorithms.baselines import NoBaseline
from rlcap.algorithms.critics import Critic, SharedCritic, ValueLearning, explained_variance, token_rewards
from rlcap.algorithms.policy_gradient import Objective, PolicyGradient, given
from rlcap.functional.advantages import generalized_advantage
from rlcap.functional.losses import Normalization, clipped_value_loss, count_units, policy_gradient, reduce_tokens
from rlcap.policies.base import Policy
from rlcap.types import Loss, Rollout, Sampling, UserError


class ActorCritic(PolicyGradient):
    """Actor-critic: values foreseen in the same forward as the log-probabilities are the baseline of every token.

    Args:
        policy: the captioner, trained by teacher forcing before.
        critic: SharedCritic, a head on the policy's decoder, or SeparateCritic, a network of its own.
        samples_per_image: sampled captions per image.
        max_length: the most tokens of a caption, EOS included.
        sampling: the distribution of the samples; the gradient is of the same.
        objective: normalization, and what is descended besides. Standardized are the rewards.
        values: how they are learned and used.
    """

    def __init__(
        self,
        policy: Policy,
        critic: Callable[[Policy], Critic] = SharedCritic,
        samples_per_image: int = 5,
        max_length: int = 20,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        objective: Objective = Objective(),  # noqa: B008 - frozen
        values: ValueLearning = ValueLearning(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(policy, NoBaseline(), samples_per_image, max_length, sampling, objective)
        if values.clip is not None:
            raise UserError(
                f"values.clip is of PPO, which learns from a rollout's values again; remove it here, got {values.clip}"
            )
        self.critic = critic(policy)
        self.values = values

    def weigh(self, rollouts: Sequence[Rollout], total: Total) -> Sequence[Rollout]:
        """The reward of each token; its advantage has to wait for the values."""
        return token_rewards(self, rollouts, total)

    def units(self, rollout: Rollout) -> Mapping[str, float]:
        return {**super().units(rollout), "value": count_units(rollout.captions.mask, Normalization.TOKEN)}

    def loss(self, rollout: Rollout) -> Loss:
        """Minus the advantage-weighted log-likelihood of the samples, and the critic's error."""
        foreseen, mask = self.foresee(rollout), rollout.captions.mask
        values = self.critic(rollout, foreseen)
        rewards = given(rollout.token_rewards)
        advantages = generalized_advantage(rewards, values.detach(), mask, self.values.discount, self.values.decay)
        returns = advantages + values.detach()
        loss = self.compose(rollout, foreseen, policy_gradient(foreseen.logprobs, advantages))
        error = reduce_tokens(clipped_value_loss(values, returns), mask, Normalization.TOKEN)
        stats = {
            **loss.stats,
            "loss/value": error.detach() / mask.sum(),
            "critic/explained_variance": explained_variance(values.detach(), returns, mask),
        }
        return replace(loss, totals={**loss.totals, "value": self.values.weight * error}, stats=stats)

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        return [(learning(self.policy), 1.0), (learning(self.critic), self.values.rate)]

    def resting(self, step: int) -> Iterable[nn.Parameter]:
        return self.policy.parameters() if step <= self.values.warmup else ()
