"""What is descended besides the policy gradient: standardized rewards, entropy, divergence, teacher forcing."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from enumeration import (
    LENGTH,
    PLAIN,
    Outcomes,
    alone,
    assert_same_gradient,
    constant,
    each_gradient,
    every_caption,
    exact_gradient,
    gradient,
    nudge,
    outcomes,
    reds,
    scorer,
    step_gradient,
)
from torch import Tensor
from torch.distributions import Categorical

from rlcap.algorithms.actor_critic import ActorCritic
from rlcap.algorithms.base import choose_references
from rlcap.algorithms.baselines import Baseline, BatchMean, Greedy, LeaveOneOut, NoBaseline
from rlcap.algorithms.critics import SharedCritic
from rlcap.algorithms.grpo import GRPO
from rlcap.algorithms.policy_gradient import KLPenalty, Objective, PolicyGradient
from rlcap.algorithms.ppo import PPO
from rlcap.algorithms.reinforce import Reinforce
from rlcap.errors import UserError
from rlcap.functional.divergences import Estimator, estimated_kl, exact_kl
from rlcap.functional.losses import Normalization
from rlcap.policies.reference import Reference
from rlcap.policies.tiny import TinyViT
from rlcap.types import Batch, Captions, Sampling


def reinforce(policy: TinyViT, objective: Objective, baseline: Baseline | None = None, samples: int = 1) -> Reinforce:
    return Reinforce(policy, baseline, samples, LENGTH, objective=objective)


# --- standardizing


@pytest.mark.parametrize("baseline", [NoBaseline, LeaveOneOut, Greedy, BatchMean])
def test_standardized_advantages_are_divided_by_the_steps_std(
    policy: TinyViT, batch: Batch, baseline: type[Baseline]
) -> None:
    """The standard deviation (n) of the rewards of both micro-batches together."""
    plain = reinforce(policy, Objective(), baseline(), 3)
    standard = reinforce(policy, Objective(standardize=True), baseline(), 3)
    parts = [batch.select(torch.tensor(chosen)) for chosen in ([0, 1], [2])]
    rollouts = [plain.act(part, scorer(policy), (0, 1)).settled() for part in parts]
    spread = torch.cat([rollout.rewards.flatten() for rollout in rollouts]).std(correction=0)
    assert spread > 0.1
    for one, other in zip(plain.weigh(rollouts, alone), standard.weigh(rollouts, alone), strict=True):
        torch.testing.assert_close(other.advantages, one.advantages / spread, rtol=1e-5, atol=1e-6)


def test_standardized_actor_critic_rewards_are_divided_by_the_steps_std(policy: TinyViT, batch: Batch) -> None:
    algorithm = ActorCritic(policy, SharedCritic, 3, LENGTH, objective=Objective(standardize=True))
    rollout = algorithm.act(batch, scorer(policy), (0, 1)).settled()
    (weighed,) = algorithm.weigh([rollout], alone)
    expected = rollout.rewards.flatten() / rollout.rewards.std(correction=0)
    torch.testing.assert_close(weighed.token_rewards.sum(dim=1), expected, rtol=1e-5, atol=1e-6)


def test_standardized_ppo_advantages_have_mean_0_and_std_1_over_tokens(policy: TinyViT, batch: Batch) -> None:
    algorithm = PPO(policy, SharedCritic, 3, LENGTH, objective=Objective(standardize=True))
    parts = [batch.select(torch.tensor(chosen)) for chosen in ([0, 1], [2])]
    weighed = algorithm.weigh([algorithm.act(part, scorer(policy), (0, 1)).settled() for part in parts], alone)
    tokens = torch.cat([rollout.advantages[rollout.captions.mask] for rollout in weighed])
    assert tokens.mean().item() == pytest.approx(0, abs=1e-6)
    assert tokens.std(correction=0).item() == pytest.approx(1, rel=1e-5)
    assert all((rollout.advantages[~rollout.captions.mask] == 0).all() for rollout in weighed)


@pytest.mark.parametrize("reward", [0.1, 0.7, 1.0, 1.3])
def test_equal_rewards_are_not_blown_up_by_standardizing(policy: TinyViT, batch: Batch, reward: float) -> None:
    """Their standard deviation is rounding, so nothing is divided by it."""
    objective = Objective(standardize=True)

    def weighed(algorithm: PolicyGradient) -> Tensor:
        rollout = algorithm.act(batch, scorer(policy, lambda captions: [reward] * len(captions)), (0, 1)).settled()
        (rollout,) = algorithm.weigh([rollout], alone)
        return rollout.advantages if rollout.token_rewards is None else rollout.token_rewards

    for baseline in (BatchMean(), LeaveOneOut(), Greedy()):
        assert weighed(reinforce(policy, objective, baseline, 5)).abs().max() < 1e-6
    assert weighed(reinforce(policy, objective, NoBaseline(), 5)).max() == pytest.approx(reward)
    assert weighed(ActorCritic(policy, SharedCritic, 5, LENGTH, objective=objective)).max() == pytest.approx(reward)


def test_grpo_standardizes_by_itself_alone(policy: TinyViT) -> None:
    with pytest.raises(UserError, match="standardize must be false"):
        GRPO(policy, objective=Objective(standardize=True))


# --- teacher forcing


@pytest.mark.parametrize("normalization", list(Normalization))
def test_mixed_loss_is_the_sum_of_both(policy: TinyViT, batch: Batch, normalization: Normalization) -> None:
    """0.3 of torch's cross-entropy per reference token, besides the loss without it."""
    mixed = reinforce(policy, Objective(normalization, teacher_forcing=0.3), Greedy(), 2)
    plain = reinforce(policy, Objective(normalization), Greedy(), 2)
    (rollout,) = mixed.weigh([mixed.act(batch, scorer(policy), (0, 1)).settled()], alone)
    references = choose_references(policy, batch, 1, LENGTH, (0, 1))
    assert torch.equal(rollout.references.token_ids, references.token_ids)
    whole = Captions(references.token_ids, torch.ones_like(references.mask))
    logits, _ = policy.score_tokens(policy.encode(batch), whole)
    targets = references.token_ids.masked_fill(~references.mask, -100)
    cross_entropy = torch.nn.functional.cross_entropy(logits, targets.flatten())

    bare = replace(rollout, references=None, encoded=None)
    loss = mixed.loss(replace(rollout, encoded=None)).mean(mixed.units(rollout))
    expected = plain.loss(bare).mean(plain.units(bare)) + 0.3 * cross_entropy
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert_same_gradient(gradient(loss, policy), gradient(expected, policy))


# --- entropy


@pytest.mark.parametrize("normalization", list(Normalization))
def test_entropy_bonus_has_the_gradient_of_the_mean_entropy(
    policy: TinyViT, batch: Batch, normalization: Normalization
) -> None:
    """Against torch's Categorical; averaged over tokens, over captions' means, or over captions' sums."""
    sampling = Sampling(temperature=0.7)
    objective = Objective(normalization, entropy_bonus=0.5)
    algorithm = Reinforce(policy, NoBaseline(), 2, LENGTH, sampling, objective)
    rollout = algorithm.act(batch, scorer(policy, lambda captions: [0.0] * len(captions)), (0, 1)).settled()
    (rollout,) = algorithm.weigh([replace(rollout, encoded=None)], alone)
    captions = rollout.captions
    whole = Captions(captions.token_ids, torch.ones_like(captions.mask))
    logits, _ = policy.score_tokens(policy.encode(batch).repeat(2), whole)
    logits[:, list(policy.suppressed)] = -1e9
    entropy = Categorical(logits=logits / 0.7).entropy().reshape(captions.mask.shape) * captions.mask
    lengths = captions.mask.sum(dim=1)
    assert len(lengths.unique()) > 1
    mean = {
        Normalization.TOKEN: entropy.sum() / lengths.sum(),
        Normalization.CAPTION: (entropy.sum(dim=1) / lengths).mean(),
        Normalization.SEQUENCE: entropy.sum(dim=1).mean(),
    }[normalization]
    assert_same_gradient(step_gradient(algorithm, rollout), gradient(-0.5 * mean, policy))
    stats = algorithm.loss(rollout).stats
    assert stats["policy/entropy"].item() == pytest.approx((entropy.sum() / lengths.sum()).item(), rel=1e-5)


# --- divergence from the policy that the run started from


@pytest.fixture
def reference(policy: TinyViT) -> Reference:
    """Where the policy has come from: 0.1 nats away."""
    kept = Reference(policy)
    nudge(kept.policy, 0.3)
    return kept


def with_reference(drawn: Outcomes, reference: Reference) -> Outcomes:
    logprobs = reference.logprobs(drawn.rollout.batch, drawn.rollout.captions, PLAIN)
    return replace(drawn, rollout=replace(drawn.rollout, reference_logprobs=logprobs))


def exact_divergence(policy: TinyViT, reference: Reference, drawn: Outcomes) -> float:
    """Nats per caption, from the next-word distributions of every prefix, each as often as it is drawn."""
    captions, batch = drawn.rollout.captions, drawn.rollout.batch
    with torch.no_grad():
        here = policy.predict(policy.encode(batch), captions, PLAIN).log_probabilities
    nats = torch.zeros(captions.mask.shape)
    nats[captions.mask] = exact_kl(here, reference.log_probabilities(batch, captions, PLAIN))
    return float(drawn.expectation(nats.sum(dim=1)))


@pytest.mark.parametrize("estimator", list(Estimator))
def test_estimates_are_unbiased_over_whole_captions(
    policy: TinyViT, batch: Batch, reference: Reference, estimator: Estimator
) -> None:
    drawn = with_reference(outcomes(policy, batch), reference)
    captions = drawn.rollout.captions
    each = estimated_kl(captions.logprobs, drawn.rollout.reference_logprobs, estimator)
    estimated = float(drawn.expectation(each.where(captions.mask, 0.0).sum(dim=1)))
    exact = exact_divergence(policy, reference, drawn)
    assert exact > 0.05
    assert estimated == pytest.approx(exact, rel=1e-4)
    # and that is the divergence of the distributions over whole captions
    ratio = (captions.logprobs - drawn.rollout.reference_logprobs).sum(dim=1)
    assert float(drawn.expectation(ratio)) == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize(
    ("kl", "each"),
    [
        (KLPenalty(reward=0.5), [0.5, -1.0]),  # k1: -log r
        (KLPenalty(reward=0.5, estimator=Estimator.K1), [0.5, -1.0]),
        (KLPenalty(reward=0.5, estimator=Estimator.K3), [math.e**-1 - 1 + 1, math.e**2 - 1 - 2]),  # r - 1 - log r
    ],
    ids=["default", "k1", "k3"],
)
def test_penalty_in_the_reward_by_hand(policy: TinyViT, batch: Batch, kl: KLPenalty, each: list[float]) -> None:
    """One caption of two tokens with log r of -1 and 2, weight 0.5, reward 3; padding plays no part."""
    if kl.estimator is Estimator.K3:
        each = [0.5 * value for value in each]
    captions = Captions(
        torch.tensor([[4, policy.eos_id, policy.pad_id]]),
        torch.tensor([[True, True, False]]),
        torch.tensor([[-1.0, -3.0, 0.0]]),
    )
    one = outcomes(policy, batch).one(0)
    rollout = replace(
        one, captions=captions, rewards=torch.tensor([[3.0]]), reference_logprobs=torch.tensor([[-2.0, -1.0, -7.0]])
    )
    objective = Objective(kl=kl)
    (of_caption,) = reinforce(policy, objective).weigh([rollout], alone)
    assert of_caption.advantages[0, 0].item() == pytest.approx(3 - sum(each), rel=1e-6)
    assert of_caption.stats["reward/penalized"] == pytest.approx(3 - sum(each), rel=1e-6)
    critic = ActorCritic(policy, SharedCritic, 1, LENGTH, objective=objective)
    (of_tokens,) = critic.weigh([rollout], alone)
    assert of_tokens.token_rewards[0].tolist() == pytest.approx([-each[0], 3 - each[1], 0.0], rel=1e-6)


def penalized(reference: Reference, batch: Batch, beta: float) -> Callable[[Tensor, Captions], Tensor]:
    """Reward less beta times the log-ratio of the whole caption: its mean is E[r] - beta KL, and so is its gradient."""

    def value(logprobs: Tensor, captions: Captions) -> Tensor:
        return rewards - beta * (logprobs - reference.logprobs(batch, captions, PLAIN)).sum(dim=1)

    rewards = torch.tensor(reds(reference.policy.detokenize(every_caption(reference.policy)))).repeat(len(batch))
    return value


@pytest.mark.parametrize("kind", ["reinforce", "actor_critic"])
def test_penalty_in_the_reward_has_the_gradient_of_the_divergence(
    policy: TinyViT, batch: Batch, reference: Reference, kind: str
) -> None:
    """E[r] - 0.4 KL(pi || reference), exactly; per token too, where a token answers for what follows it."""
    objective = Objective(kl=KLPenalty(reward=0.4))
    algorithm: PolicyGradient = reinforce(policy, objective)
    if kind == "actor_critic":
        algorithm = ActorCritic(policy, SharedCritic, 1, LENGTH, objective=objective)
    drawn = with_reference(outcomes(policy, batch), reference)
    ours = drawn.expectation(each_gradient(algorithm, drawn))
    exact = exact_gradient(policy, batch, value=penalized(reference, batch, 0.4))
    assert (exact - exact_gradient(policy, batch)).norm() > 0.1, "the penalty must count"
    assert_same_gradient(-ours, exact)


def test_k3_in_the_reward_has_another_gradient(policy: TinyViT, batch: Batch, reference: Reference) -> None:
    """Why the reward takes k1 unless told otherwise: near the reference k3 hardly pulls. Measured: 14 % as long."""
    silent = outcomes(policy, batch, function=lambda captions: [0.0] * len(captions))
    drawn = with_reference(silent, reference)
    exact = exact_gradient(policy, batch, value=penalized(reference, batch, 1.0)) - exact_gradient(policy, batch)
    algorithm = reinforce(policy, Objective(kl=KLPenalty(reward=1.0, estimator=Estimator.K3)))
    ours = -drawn.expectation(each_gradient(algorithm, drawn))
    assert ours.norm() < 0.3 * exact.norm()


def test_penalty_in_the_loss_has_the_gradient_of_the_opposite_divergence(
    policy: TinyViT, batch: Batch, reference: Reference
) -> None:
    """That of KL(reference || pi) at every prefix, each as often as it is drawn: the same as KL's to first order."""
    silent = outcomes(policy, batch, function=lambda captions: [0.0] * len(captions))
    drawn = with_reference(silent, reference)
    ours = drawn.expectation(each_gradient(reinforce(policy, Objective(kl=KLPenalty(loss=0.7))), drawn))
    captions, images = drawn.rollout.captions, drawn.rollout.batch
    here = policy.predict(policy.encode(images), captions, PLAIN).log_probabilities
    opposite = exact_kl(reference.log_probabilities(images, captions, PLAIN), here)
    often = (drawn.probability[:, None] / 3).expand(captions.mask.shape)[captions.mask]
    assert_same_gradient(ours, gradient(0.7 * (often * opposite).sum(), policy))
    exact = exact_gradient(policy, batch) - exact_gradient(policy, batch, value=penalized(reference, batch, 1.0))
    cosine = torch.nn.functional.cosine_similarity(ours, exact, dim=0).item()
    assert cosine > 0.98  # measured 0.995 at 0.1 nats


def test_penalty_in_the_loss_by_hand(policy: TinyViT, batch: Batch, reference: Reference) -> None:
    """k3 of each token, averaged with the policy's loss."""
    plain, punished = (reinforce(policy, Objective(kl=KLPenalty(loss=loss))) for loss in (0.0, 0.7))
    drawn = with_reference(outcomes(policy, batch), reference)
    (rollout,) = plain.weigh([drawn.rollout], alone)
    captions = rollout.captions
    ratio = (rollout.reference_logprobs - captions.logprobs).exp()
    k3 = (ratio - 1 - ratio.log()).where(captions.mask, 0.0).sum(dim=1).mean()
    losses = [one.loss(rollout).mean(one.units(rollout)) for one in (plain, punished)]
    torch.testing.assert_close(losses[1] - losses[0], 0.7 * k3, rtol=1e-3, atol=1e-6)  # a difference of larger numbers
    assert punished.loss(rollout).stats["policy/kl_penalized"].item() == pytest.approx(k3.item(), rel=1e-4)


def test_nothing_is_penalized_where_nothing_has_moved(policy: TinyViT, batch: Batch) -> None:
    objective = Objective(kl=KLPenalty(reward=2.0, loss=2.0))
    algorithm = reinforce(policy, objective, samples=2)
    algorithm.reference = Reference(policy)
    rollout = algorithm.act(batch, scorer(policy), (0, 1)).settled()
    assert algorithm.kl_penalty(rollout).abs().max() < 1e-5  # decoding and scoring round differently
    (weighed,) = algorithm.weigh([rollout], alone)
    plain = reinforce(policy, Objective(), samples=2)
    assert_same_gradient(
        step_gradient(algorithm, replace(weighed, encoded=None)), step_gradient(plain, replace(weighed, encoded=None))
    )


# --- a penalty that adapts


def adapted(policy: TinyViT, measured: float, times: int = 1, rate: float = 0.1) -> float:
    algorithm = reinforce(policy, Objective(kl=KLPenalty(reward=1.0, target=2.0, rate=rate)))
    for _ in range(times):
        algorithm.learned({"reward/sampled": 0.0, "policy/kl_penalized": measured})
    return float(algorithm.kl_scale)


@pytest.mark.parametrize(
    ("measured", "scale"),
    [(2.0, 1.0), (3.0, 1.05), (4.0, 1.1), (400.0, 1.1), (1.0, 0.95), (0.0, 0.9)],
)
def test_weights_move_towards_the_target_and_no_further_than_the_rate(
    policy: TinyViT, measured: float, scale: float
) -> None:
    """By hand: 1 + rate * (measured / target - 1), the error kept within -1 and 1. Ziegler et al. 2019, section 2.2."""
    assert adapted(policy, measured) == pytest.approx(scale)


def test_an_adapted_weight_stays_above_0(policy: TinyViT) -> None:
    assert adapted(policy, 0.0, times=50) == pytest.approx(0.9**50, rel=1e-4)


def test_an_adapted_scale_weighs_both_penalties(policy: TinyViT, batch: Batch, reference: Reference) -> None:
    one = reinforce(policy, Objective(kl=KLPenalty(reward=0.3, loss=0.3)))
    triple = reinforce(policy, Objective(kl=KLPenalty(reward=0.1, loss=0.1)))
    triple.kl_scale.fill_(3.0)
    drawn = with_reference(outcomes(policy, batch), reference)
    gradients = [step_gradient(algorithm, *algorithm.weigh([drawn.rollout], alone)) for algorithm in (one, triple)]
    assert_same_gradient(*gradients)


def test_constant_reward_leaves_only_what_is_added(policy: TinyViT, batch: Batch) -> None:
    """The control experiment: with siblings as baseline an entropy bonus is all that is descended."""
    algorithm = reinforce(policy, Objective(entropy_bonus=0.5), LeaveOneOut(), 2)
    rollout = algorithm.act(batch, scorer(policy, constant), (0, 1)).settled()
    silent = replace(rollout, rewards=torch.zeros_like(rollout.rewards))
    (rollout,), (silent,) = (algorithm.weigh([replace(one, encoded=None)], alone) for one in (rollout, silent))
    assert_same_gradient(step_gradient(algorithm, rollout), step_gradient(algorithm, silent))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": 0.1, "estimator": Estimator.K1}, "k1 pushes nowhere"),
        ({"reward": -1.0}, "must be 0 .off. or more, got reward -1.0"),
        ({"target": 1.0}, "needs kl.reward or kl.loss"),
        ({"reward": 0.1, "target": 0.0}, "target 0.0 must be above 0"),
        ({"reward": 0.1, "target": 1.0, "rate": 1.0}, r"rate must be in \(0, 1\).*got 1.0"),
    ],
    ids=["k1_loss", "negative", "idle_target", "no_target", "rate"],
)
def test_mistakes_are_said(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        KLPenalty(**settings)


def test_a_penalty_without_a_reference_is_said(policy: TinyViT, batch: Batch) -> None:
    algorithm = reinforce(policy, Objective(kl=KLPenalty(reward=0.1)))
    assert algorithm.needs_reference
    with pytest.raises(UserError, match="set the algorithm's reference first"):
        algorithm.act(batch, scorer(policy), (0, 1)).settled()


def test_a_penalty_on_a_cut_distribution_is_refused(policy):
    penalized = Objective(kl=KLPenalty(reward=0.1))
    with pytest.raises(UserError, match="top_k 2 and top_p"):
        Reinforce(policy, sampling=Sampling(top_k=2), objective=penalized)
    Reinforce(policy, sampling=Sampling(temperature=0.7), objective=penalized)
