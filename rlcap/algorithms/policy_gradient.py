"""What all algorithms that learn from sampled captions share.

They ascend the expected reward J = E[r(w)], w drawn from the policy pi, along

    grad J = E[ sum_t A_t grad log pi(w_t | w_<t, image) ]

and differ in the advantage A_t. To the objective any of them may add an entropy bonus, a penalty on the divergence from
the policy the run started from, and a share of teacher forcing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlcap.algorithms.base import Algorithm, Scorer, Total, choose_references
from rlcap.algorithms.baselines import Baseline, Rewards
from rlcap.functional.divergences import Estimator, estimated_kl
from rlcap.functional.losses import (
    Normalization,
    count_units,
    negative_log_likelihood,
    policy_gradient,
    reduce_tokens,
)
from rlcap.functional.masking import unpack
from rlcap.functional.sampling import entropy, gather_logprobs
from rlcap.policies.base import Policy
from rlcap.types import Batch, Captions, Encoded, Loss, Rollout, Sampling, UserError

_T = TypeVar("_T")


@dataclass(frozen=True)
class KLPenalty:
    """How leaving the policy that the run started from is punished; not at all where both weights are 0.

    Attributes:
        reward: weight of the divergence taken off the reward. Stiennon et al. 2020, section 3.4.
        loss: weight of the divergence added to the loss. Shao et al. 2024, eq. 3.
        estimator: of the divergence at each token. None takes what each use needs: k1 in the reward, where the gradient
            of k3 is not that of the divergence; k3 in the loss, where k1 pushes nowhere.
        target: nats per caption that the weights are adapted to keep; None leaves them as they are. Ziegler et al.
            2019, section 2.2.
        rate: the largest change of the weights in a step when they are adapted.
    """

    reward: float = 0.0
    loss: float = 0.0
    estimator: Estimator | None = None
    target: float | None = None
    rate: float = 0.02

    def __post_init__(self) -> None:
        if self.reward < 0 or self.loss < 0:
            raise UserError(f"kl weights must be 0 (off) or more, got reward {self.reward} and loss {self.loss}")
        if self.loss and self.estimator is Estimator.K1:
            raise UserError("kl.loss with the estimator k1 pushes nowhere, its gradient is 0 on average: use k3")
        if self.target is not None and (self.target <= 0 or not self.used):
            raise UserError(f"kl.target {self.target} must be above 0 nats, and needs kl.reward or kl.loss to adapt")
        if not 0 < self.rate < 1:
            raise UserError(f"kl.rate must be in (0, 1), so that an adapted weight stays above 0, got {self.rate}")

    @property
    def used(self) -> bool:
        """Whether there is a penalty."""
        return self.reward > 0 or self.loss > 0


@dataclass(frozen=True)
class Objective:
    """What is descended besides the advantage-weighted log-likelihood, and how it is averaged.

    Attributes:
        normalization: what the loss is averaged over. SEQUENCE is the policy gradient itself.
        standardize: divide advantages by the standard deviation of the step's rewards, so that the step's size does
            not depend on the scale of the reward. Kiegeland & Kreutzer 2021.
        entropy_bonus: weight of the entropy of the next-word distributions, averaged as the normalization says.
        teacher_forcing: weight of the cross-entropy of reference captions (per token), as in Ranzato et al. 2016 and
            Paulus et al. 2018.
        kl: penalty on leaving the policy that the run started from.
    """

    normalization: Normalization = Normalization.SEQUENCE
    standardize: bool = False
    entropy_bonus: float = 0.0
    teacher_forcing: float = 0.0
    kl: KLPenalty = field(default_factory=KLPenalty)

    def __post_init__(self) -> None:
        if self.teacher_forcing < 0:
            raise UserError(f"objective.teacher_forcing must be 0 (off) or more, got {self.teacher_forcing}")


@dataclass(frozen=True)
class Foreseen:
    """What the policy, as it is now, says of a rollout's captions, with gradients.

    Attributes:
        encoded: one row per image.
        log_probabilities: of every next token under the sampling distribution.
        logprobs: of the tokens that were drawn.
        hidden: the decoder's last hidden states, which value heads read.
    """

    encoded: Encoded
    log_probabilities: Float[Tensor, "tokens vocabulary"]
    logprobs: Float[Tensor, "captions length"]
    hidden: Float[Tensor, "captions length width"]


class PolicyGradient(Algorithm):
    """Samples captions and learns from how much better each was than a baseline.

    Each image is encoded once for acting; a greedy caption, where the baseline needs one, comes from the same decode as
    the samples; dropout is off, so that the log-probabilities of learning are those of acting.

    Args:
        policy: the captioner, trained by teacher forcing before.
        baseline: what a reward is compared with.
        samples_per_image: sampled captions per image.
        max_length: the most tokens of a caption, EOS included.
        sampling: the distribution of the samples; the gradient is of the same.
        objective: normalization, and what is descended besides.
    """

    kl_scale: Tensor

    def __init__(
        self,
        policy: Policy,
        baseline: Baseline,
        samples_per_image: int,
        max_length: int,
        sampling: Sampling,
        objective: Objective,
    ) -> None:
        super().__init__(policy)
        if samples_per_image < 1:
            raise UserError(f"samples_per_image must be at least 1, got {samples_per_image}")
        if samples_per_image < baseline.least_samples:
            raise UserError(
                f"{type(baseline).__name__} needs at least {baseline.least_samples} samples per image, "
                f"got {samples_per_image}"
            )
        if objective.kl.used and sampling != sampling.uncut:
            raise UserError(
                f"a KL penalty needs samples of the whole distribution, but sampling has top_k {sampling.top_k} and "
                f"top_p {sampling.top_p}: use 0 and 1"
            )
        self.baseline = baseline
        self.samples_per_image = samples_per_image
        self.max_length = max_length
        self.sampling = sampling
        self.objective = objective
        self.register_buffer("kl_scale", torch.ones(()))  # what an adapted penalty's weights are multiplied by

    @property
    def needs_reference(self) -> bool:
        return self.objective.kl.used

    # --- acting

    def draw(self, encoded: Encoded, batch: Batch, key: tuple[int, ...]) -> Captions:
        """The captions of each image, image-major, first its greedy one if the baseline needs it."""
        return self.policy.generate(
            encoded,
            batch.image_ids,
            samples=self.samples_per_image,
            greedy=self.baseline.decodes_greedily,
            key=key,
            sampling=self.sampling,
            max_length=self.max_length,
        )

    def act(self, batch: Batch, scorer: Scorer, key: tuple[int, ...]) -> Rollout:
        """Draw captions and begin to score them."""
        encoded = self.policy.encode(batch)
        captions = self.draw(encoded, batch, key)
        pending = scorer.begin(captions, batch)
        before = int(self.baseline.decodes_greedily)
        rows = captions.rows(len(batch))[:, before:].flatten()
        samples = captions.select(rows)
        reference = None
        if self.needs_reference:
            if self.reference is None:
                raise UserError("a KL penalty compares with a reference policy: set the algorithm's reference first")
            reference = self.reference.logprobs(batch, samples, self.sampling.uncut)

        def rewarded(rollout: Rollout) -> Rollout:
            scored = pending()
            rewards = scored.total.reshape(len(batch), -1)
            greedy, sampled = rewards[:, 0] if before else None, rewards[:, before:]
            stats = {**scored.stats(captions, rows), "reward/sampled": float(sampled.mean())}
            if greedy is not None:
                stats["reward/greedy"] = float(greedy.mean())
            return replace(rollout, rewards=sampled, greedy=greedy, stats={**rollout.stats, **stats})

        return Rollout(
            batch,
            samples,
            encoded=encoded,
            reference_logprobs=reference,
            references=choose_references(self.policy, batch, 1, self.max_length, key)
            if self.objective.teacher_forcing
            else None,
            decoded=len(captions),
            pending=rewarded,
        )

    # --- weighing

    def weigh(self, rollouts: Sequence[Rollout], total: Total) -> Sequence[Rollout]:
        """Advantages: rewards, less the penalty and the baseline, over their spread if they are to be standardized."""
        rollouts = [self._penalized(rollout) for rollout in rollouts]
        mean, std = moments(torch.cat([given(rollout.rewards).flatten() for rollout in rollouts]), total)
        advantages = [self.advantages(Rewards(given(rollout.rewards), rollout.greedy, mean)) for rollout in rollouts]
        if self.objective.standardize:
            advantages = [advantage / divisor(mean, std) for advantage in advantages]
        spread = float(moments(torch.cat([advantage.flatten() for advantage in advantages]), total)[1])
        stats = {"advantage/std": spread, "reward/penalized": float(mean)}
        return [
            replace(
                rollout,
                advantages=advantage.flatten()[:, None].expand(rollout.captions.token_ids.shape),
                stats={**rollout.stats, **stats},
            )
            for rollout, advantage in zip(rollouts, advantages, strict=True)
        ]

    def advantages(self, rewards: Rewards) -> Float[Tensor, "images samples"]:
        """How much better each sampled caption was than expected."""
        expected: Tensor = self.baseline(rewards)
        return rewards.sampled - expected

    def kl_penalty(self, rollout: Rollout) -> Float[Tensor, "captions length"]:
        """What each token's divergence from the reference policy takes off the reward, in the reward's units."""
        captions = rollout.captions
        estimator = self.objective.kl.estimator or Estimator.K1
        kl = estimated_kl(given(captions.logprobs), given(rollout.reference_logprobs), estimator)
        return torch.where(captions.mask, self.objective.kl.reward * self.kl_scale * kl, 0.0)

    def _penalized(self, rollout: Rollout) -> Rollout:
        """The rollout with each caption's whole penalty taken off its reward."""
        if not self.objective.kl.reward:
            return rollout
        rewards = given(rollout.rewards)
        return replace(
            rollout, rewards=rewards - self.kl_penalty(rollout).sum(dim=1).reshape(rewards.shape)
        )  # over length

    # --- learning

    def units(self, rollout: Rollout) -> Mapping[str, float]:
        units = {"policy": count_units(rollout.captions.mask, self.objective.normalization)}
        if rollout.references is not None:
            units["teacher_forcing"] = count_units(rollout.references.mask, Normalization.TOKEN)
        return units

    def counts(self, rollout: Rollout) -> Mapping[str, float]:
        return {**super().counts(rollout), "policy/kl_penalized": float(len(rollout.captions))}

    def loss(self, rollout: Rollout) -> Loss:
        """Minus the advantage-weighted log-likelihood of the samples, and what the objective adds."""
        foreseen = self.foresee(rollout)
        return self.compose(rollout, foreseen, policy_gradient(foreseen.logprobs, given(rollout.advantages)))

    def foresee(self, rollout: Rollout) -> Foreseen:
        """One parallel forward over the rollout's captions."""
        captions = rollout.captions
        encoded = self.encode(rollout)
        prediction = self.policy.predict(encoded.repeat(rollout.captions_per_image), captions, self.sampling)
        drawn = gather_logprobs(prediction.log_probabilities, captions.token_ids[captions.mask])
        return Foreseen(encoded, prediction.log_probabilities, unpack(drawn, captions.mask), prediction.hidden)

    def compose(self, rollout: Rollout, foreseen: Foreseen, each: Float[Tensor, "captions length"]) -> Loss:
        """The loss of each token, with entropy bonus, penalty and teacher forcing, as sums and statistics."""
        objective, mask = self.objective, rollout.captions.mask
        units = self.units(rollout)
        stats = {"loss/policy": reduce_tokens(each.detach(), mask, objective.normalization) / units["policy"]}
        with torch.set_grad_enabled(torch.is_grad_enabled() and objective.entropy_bonus != 0):
            entropies = entropy(foreseen.log_probabilities)
        if objective.entropy_bonus:
            each = each - objective.entropy_bonus * unpack(entropies, mask)
        if rollout.reference_logprobs is not None:
            kl = torch.where(mask, estimated_kl(foreseen.logprobs, rollout.reference_logprobs, Estimator.K3), 0.0)
            stats["policy/kl_penalized"] = kl.detach().sum(dim=1).mean()
            if objective.kl.loss:
                each = each + objective.kl.loss * self.kl_scale * kl
        totals = {"policy": reduce_tokens(each, mask, objective.normalization)}
        if rollout.references is not None:
            totals["teacher_forcing"] = objective.teacher_forcing * self._teacher_forcing(rollout, foreseen.encoded)
            stats["loss/teacher_forcing"] = totals["teacher_forcing"].detach() / units["teacher_forcing"]
        stats["policy/entropy"] = entropies.detach().mean()
        stats["policy/top1_mass"] = foreseen.log_probabilities.detach().amax(dim=-1).exp().mean()
        return Loss(totals, stats)

    def _teacher_forcing(self, rollout: Rollout, encoded: Encoded) -> Tensor:
        references = given(rollout.references)
        each = len(references) // len(rollout.batch)
        log_probabilities = self.policy.predict(encoded.repeat(each), references).log_probabilities
        likelihood: Tensor = negative_log_likelihood(log_probabilities, references.token_ids[references.mask]).sum()
        return likelihood

    def learned(self, stats: Mapping[str, float]) -> None:
        """Move the baseline's running mean, and the penalty's weights towards the target divergence."""
        if "reward/penalized" in stats:
            self.baseline.learned(stats["reward/penalized"])
        kl = self.objective.kl
        if kl.target is not None:
            error = min(1.0, max(-1.0, stats["policy/kl_penalized"] / kl.target - 1))
            self.kl_scale.mul_(1 + kl.rate * error)


def given(value: _T | None) -> _T:
    """A part of a rollout that acting or weighing must have left there."""
    if value is None:
        raise ValueError(
            "the rollout lacks a part: act and weigh come before loss, and in act only rollout.settled() has rewards"
        )
    return value


def moments(values: Float[Tensor, " values"], total: Total) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean and standard deviation (n) of values spread over processes."""
    count, summed = total(torch.stack([values.new_tensor(float(len(values))), values.sum()]))
    mean = summed / count
    return mean, (total((values - mean).square().sum()) / count).sqrt()


def divisor(mean: Float[Tensor, ""], std: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The standard deviation to divide by; 1 where it is but the rounding of equal values, which would be blown up."""
    return torch.where(std > 1e-5 * mean.abs(), std + 1e-8, 1.0)


def movement(
    logprobs: Float[Tensor, "captions length"],
    old_logprobs: Float[Tensor, "captions length"],
    mask: Bool[Tensor, "captions length"],
    clip: float,
) -> dict[str, Tensor]:
    """How far the policy has moved from the one that drew the captions: statistics of the ratios inside the mask."""
    ratio = (logprobs - old_logprobs).detach().exp()[mask]
    kl = estimated_kl(old_logprobs, logprobs.detach(), Estimator.K3)[mask]
    return {
        "policy/approx_kl": kl.mean(),
        "policy/ratio": ratio.mean(),
        "policy/clip_fraction": ((ratio - 1).abs() > clip).float().mean(),
    }
