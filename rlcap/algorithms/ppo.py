"""Proximal policy optimisation (Schulman et al. 2017) on captions, as in Stiennon et al. 2020.

Rollouts are learned from several times while the policy pi stays near pi_old, which drew them:

    L = - E[ min(rho_t A_t, clip(rho_t, 1 - epsilon, 1 + epsilon) A_t) ],   rho_t = pi(w_t) / pi_old(w_t)

A_t is generalized advantage estimation with the values of the rollout; a reference policy, the one that the run started
from, may be kept near by ``objective.kl``. The three are three objects: pi is the module, pi_old the log-probabilities
recorded while sampling, the reference a frozen policy.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from rlcap.algorithms.base import Scorer, Total, learning
from rlcap.algorithms.baselines import NoBaseline
from rlcap.algorithms.critics import Critic, SharedCritic, ValueLearning, explained_variance, token_rewards
from rlcap.algorithms.policy_gradient import Objective, divisor, given, moments, movement
from rlcap.algorithms.reuse import Reuse, ReusingPolicyGradient
from rlcap.functional.advantages import generalized_advantage
from rlcap.functional.losses import Normalization, clipped_surrogate, clipped_value_loss, count_units, reduce_tokens
from rlcap.policies.base import Policy
from rlcap.types import Batch, Loss, Rollout, Sampling


class PPO(ReusingPolicyGradient):
    """PPO with a critic.

    Args:
        policy: the captioner, trained by teacher forcing before.
        critic: SharedCritic, a head on the policy's decoder, or SeparateCritic, a network of its own.
        samples_per_image: sampled captions per image.
        max_length: the most tokens of a caption, EOS included.
        sampling: the distribution of the samples and of their probability ratios.
        objective: normalization, and what is descended besides. Standardized are the advantages.
        values: how they are learned and used.
        reuse: how often rollouts are learned from.
        clip: epsilon: how far from 1 a token's probability ratio still has a gradient.
    """

    def __init__(
        self,
        policy: Policy,
        critic: Callable[[Policy], Critic] = SharedCritic,
        samples_per_image: int = 5,
        max_length: int = 20,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        objective: Objective = Objective(),  # noqa: B008 - frozen
        values: ValueLearning = ValueLearning(decay=0.95),  # noqa: B008 - frozen
        reuse: Reuse = Reuse(epochs=2, minibatches=2),  # noqa: B008 - frozen
        clip: float = 0.2,
    ) -> None:
        super().__init__(policy, NoBaseline(), samples_per_image, max_length, sampling, objective, reuse, clip)
        self.critic = critic(policy)
        self.values = values

    def act(self, batch: Batch, scorer: Scorer, key: tuple[int, ...]) -> Rollout:
        """Draw captions, score them, and value every prefix."""
        rollout = super().act(batch, scorer, key)
        with torch.no_grad():
            values = self.critic(rollout, self.foresee(rollout))
        return replace(rollout, values=values)

    def weigh(self, rollouts: Sequence[Rollout], total: Total) -> Sequence[Rollout]:
        """Advantages and returns of every token."""
        weighed = []
        for rollout in token_rewards(self, rollouts, total, standardize=False):
            values, mask = given(rollout.values), rollout.captions.mask
            advantages = generalized_advantage(
                given(rollout.token_rewards), values, mask, self.values.discount, self.values.decay
            )
            weighed.append(replace(rollout, advantages=advantages, returns=advantages + values))
        each = torch.cat([given(rollout.advantages)[rollout.captions.mask] for rollout in weighed])
        mean, std = moments(each, total)
        if not self.objective.standardize:
            mean, scale = torch.zeros_like(mean), torch.ones_like(std)
        else:
            scale = divisor(mean, std)
        return [
            replace(
                rollout,
                advantages=torch.where(rollout.captions.mask, (given(rollout.advantages) - mean) / scale, 0.0),
                stats={**rollout.stats, "advantage/std": float(std)},
            )
            for rollout in weighed
        ]

    def units(self, rollout: Rollout) -> Mapping[str, float]:
        return {**super().units(rollout), "value": count_units(rollout.captions.mask, Normalization.TOKEN)}

    def loss(self, rollout: Rollout) -> Loss:
        """The clipped surrogate and the critic's error."""
        foreseen, captions = self.foresee(rollout), rollout.captions
        mask, old_logprobs = captions.mask, given(captions.logprobs)
        surrogate = clipped_surrogate(foreseen.logprobs, old_logprobs, given(rollout.advantages), self.clip)
        loss = self.compose(rollout, foreseen, surrogate)
        values = self.critic(rollout, foreseen)
        each = clipped_value_loss(values, given(rollout.returns), given(rollout.values), self.values.clip)
        error = reduce_tokens(each, mask, Normalization.TOKEN)
        stats = {
            **loss.stats,
            **movement(foreseen.logprobs, old_logprobs, mask, self.clip),
            "loss/value": error.detach() / mask.sum(),
            "critic/explained_variance": explained_variance(values.detach(), given(rollout.returns), mask),
        }
        return replace(loss, totals={**loss.totals, "value": self.values.weight * error}, stats=stats)

    def groups(self) -> list[tuple[list[nn.Parameter], float]]:
        return [(learning(self.policy), 1.0), (learning(self.critic), self.values.rate)]

    def resting(self, step: int) -> Iterable[nn.Parameter]:
        return self.policy.parameters() if step <= self.values.warmup else ()
