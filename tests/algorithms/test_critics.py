"""Critics: what learns from whose loss, and how their knowledge is measured."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from captioners import build_git, build_vit_bert
from enumeration import LENGTH, PerfectCritic, alone, assert_same_gradient, gradient, outcomes, scorer
from PIL import Image

from rlcap.algorithms.actor_critic import ActorCritic
from rlcap.algorithms.critics import (
    Critic,
    SeparateCritic,
    SharedCritic,
    ValueHead,
    ValueLearning,
    explained_variance,
    token_rewards,
)
from rlcap.algorithms.policy_gradient import PolicyGradient
from rlcap.algorithms.ppo import PPO
from rlcap.errors import UserError
from rlcap.policies.base import Policy
from rlcap.policies.encoder_decoder import EncoderDecoder
from rlcap.policies.git import Git
from rlcap.policies.tiny import TinyViT
from rlcap.types import Batch, Rollout


def actor_critic(policy: Policy, critic: type[Critic] = SharedCritic, detach: bool = True) -> ActorCritic:
    torch.manual_seed(0)
    if critic is SharedCritic:
        return ActorCritic(policy, lambda policy: SharedCritic(policy, detach), 2, LENGTH)
    return ActorCritic(policy, critic, 2, LENGTH)


def weighed(algorithm: PolicyGradient, batch: Batch) -> Rollout:
    (rollout,) = algorithm.weigh([algorithm.act(batch, scorer(algorithm.policy), (0, 1)).settled()], alone)
    return rollout


# --- whose loss reaches whom


def test_detached_value_loss_leaves_the_policy_alone(policy: TinyViT, batch: Batch) -> None:
    algorithm = actor_critic(policy)
    loss = algorithm.loss(weighed(algorithm, batch)).totals["value"]
    assert gradient(loss, policy).abs().max() == 0
    loss = algorithm.loss(weighed(algorithm, batch)).totals["value"]
    assert gradient(loss, algorithm.critic).abs().max() > 1e-3


def test_value_loss_shapes_the_policy_where_it_is_not_detached(policy: TinyViT, batch: Batch) -> None:
    algorithm = actor_critic(policy, detach=False)
    loss = algorithm.loss(weighed(algorithm, batch)).totals["value"]
    assert gradient(loss, policy).abs().max() > 1e-3


def test_values_have_no_say_in_the_gradient_of_the_policys_own_loss(policy: TinyViT, batch: Batch) -> None:
    """The advantage is a number: detached or not, the policy's part of the loss has one and the same gradient."""
    gradients = []
    for detach in (True, False):
        algorithm = actor_critic(policy, detach=detach)
        gradients.append(gradient(algorithm.loss(weighed(algorithm, batch)).totals["policy"], policy))
    assert_same_gradient(*gradients)


def test_separate_critic_starts_as_the_policy_and_leaves_it_alone(policy: TinyViT, batch: Batch) -> None:
    algorithm = actor_critic(policy, SeparateCritic)
    assert not {id(parameter) for parameter in algorithm.critic.parameters()} & {id(p) for p in policy.parameters()}
    rollout = weighed(algorithm, batch)
    assert gradient(algorithm.loss(rollout).totals["value"], policy).abs().max() == 0
    # on the policy's own hidden states its head says what it says on its own
    torch.testing.assert_close(
        algorithm.critic(rollout, algorithm.foresee(rollout)),
        algorithm.critic.head(algorithm.foresee(rollout).hidden),
        rtol=1e-5,
        atol=1e-5,
    )


def git(tmp_path: Path) -> Policy:
    torch.manual_seed(1)
    build_git(tmp_path)
    return Git(str(tmp_path)).eval()


def vit_bert(tmp_path: Path) -> Policy:
    torch.manual_seed(1)
    build_vit_bert(tmp_path)
    return EncoderDecoder(str(tmp_path)).eval()


@pytest.mark.parametrize("build", [git, vit_bert], ids=["git", "vit-bert"])
def test_every_parameter_of_a_separate_critic_that_learns_gets_a_gradient(build, tmp_path: Path) -> None:
    """Data-parallel training waits for each of them; the output layer, which no value reads, rests."""
    policy = build(tmp_path)
    pixels = policy.process_images([Image.effect_noise((40, 40), 90).convert("RGB") for _ in range(2)])
    batch = Batch(("a", "b"), (("red cat",), ("blue dog",)), pixel_values=pixels)
    algorithm = actor_critic(policy, SeparateCritic)
    loss = algorithm.loss(weighed(algorithm, batch)).totals["value"]
    learning = {name: one for name, one in algorithm.critic.named_parameters() if one.requires_grad}
    torch.autograd.grad(loss, list(learning.values()))  # raises where one is unused
    resting = {name for name, one in algorithm.critic.named_parameters() if not one.requires_grad}
    before = {name for name, one in policy.named_parameters() if not one.requires_grad}
    frozen = {name.removeprefix("network.") for name in resting} - before
    assert frozen, "there is an output layer that is not the embedding"
    assert all("output" in name or "cls.predictions" in name for name in frozen), frozen
    assert any(name.startswith("head.") for name in learning)


@pytest.mark.parametrize("critic", [SharedCritic, SeparateCritic])
@pytest.mark.parametrize("kind", [ActorCritic, PPO])
def test_the_policy_alone_rests_while_the_critic_warms_up(
    policy: TinyViT, critic: type[Critic], kind: type[ActorCritic] | type[PPO]
) -> None:
    algorithm = kind(policy, critic, values=ValueLearning(warmup=3))
    everything = {id(parameter) for parameter in policy.parameters()}
    for step in (1, 2, 3):
        assert {id(parameter) for parameter in algorithm.resting(step)} == everything
    assert list(algorithm.resting(4)) == []
    assert not everything & {id(parameter) for parameter in algorithm.critic.parameters()}


def test_the_critic_learns_at_a_rate_of_its_own(policy: TinyViT) -> None:
    for kind in (ActorCritic, PPO):
        algorithm = kind(policy, SharedCritic, values=ValueLearning(rate=4.0))
        (ours, one), (critics, four) = algorithm.groups()
        assert (one, four) == (1.0, 4.0)
        assert {id(parameter) for parameter in ours} == {id(p) for p in policy.parameters() if p.requires_grad}
        assert {id(parameter) for parameter in critics} == {id(p) for p in algorithm.critic.parameters()}


# --- returns


def test_values_and_returns_of_a_rollout_by_hand(policy: TinyViT, batch: Batch) -> None:
    """Advantage + value is the return; with decay 1 that is the reward of the caption, at every token."""
    algorithm = PPO(policy, SharedCritic, 2, LENGTH, values=ValueLearning(decay=1.0))
    rollout = weighed(algorithm, batch)
    mask = rollout.captions.mask
    rewards = rollout.rewards.flatten()[:, None].expand(mask.shape)
    torch.testing.assert_close(rollout.returns[mask], rewards[mask], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close((rollout.advantages + rollout.values)[mask], rewards[mask], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 1.0])
@pytest.mark.parametrize("kind", [ActorCritic, PPO])
def test_critics_learn_the_expected_reward(
    policy: TinyViT, batch: Batch, kind: type[ActorCritic] | type[PPO], decay: float
) -> None:
    """A value of each prefix by itself: the expected slope is 0 where it is the expected reward, and not elsewhere."""
    drawn = outcomes(policy, batch)
    critic = PerfectCritic(drawn)
    algorithm = kind(policy, lambda policy: critic, 1, LENGTH, values=ValueLearning(decay=decay))

    def slope() -> torch.Tensor:
        with torch.no_grad():
            values = critic(drawn.rollout, algorithm.foresee(drawn.rollout))
        valued = replace(drawn, rollout=replace(drawn.rollout, values=values))
        expected = torch.zeros(())
        for number, probability in enumerate(drawn.probability):
            (rollout,) = algorithm.weigh([valued.one(number)], alone)
            expected = expected + probability * algorithm.loss(rollout).totals["value"]
        return gradient(expected, critic)

    assert slope().abs().max() < 1e-6
    torch.nn.init.zeros_(critic.values)
    assert slope().abs().max() > 0.1


def test_token_rewards_are_the_captions_at_its_last_token(policy: TinyViT, batch: Batch) -> None:
    algorithm = actor_critic(policy)
    rollout = algorithm.act(batch, scorer(policy), (0, 1)).settled()
    (weighed,) = token_rewards(algorithm, [rollout], alone)
    for row, mask, reward in zip(
        weighed.token_rewards.tolist(), rollout.captions.mask.tolist(), rollout.rewards.flatten().tolist(), strict=True
    ):
        expected = [0.0] * len(mask)
        expected[sum(mask) - 1] = reward
        assert row == expected


# --- how well a critic knows


def test_explained_variance_by_hand() -> None:
    returns = torch.tensor([[1.0, 3.0, 50.0], [5.0, 50.0, 50.0]])  # of variance 8/3 inside the mask
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert explained_variance(returns, returns, mask).item() == 1
    assert explained_variance(returns + 7, returns, mask).item() == pytest.approx(1)  # a constant error has no variance
    mean = torch.full((2, 3), 3.0)
    assert explained_variance(mean, returns, mask).item() == 0
    half = torch.tensor([[2.0, 3.0, 0.0], [4.0, 0.0, 0.0]])  # errors -1, 0, 1: variance 2/3
    assert explained_variance(half, returns, mask).item() == pytest.approx(0.75)
    assert explained_variance(-returns, returns, mask).item() == pytest.approx(-3)  # 1 - 4


def test_value_head_starts_small() -> None:
    torch.manual_seed(0)
    head = ValueHead(255)
    assert head.last.weight.std().item() == pytest.approx(1 / 16, rel=0.2)  # of 255 draws
    assert head.last.bias.item() == 0
    assert head(torch.randn(2, 3, 255)).shape == (2, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"discount": 1.1}, r"values.discount must be in \[0, 1\], got 1.1"),
        ({"decay": -0.1}, r"values.decay must be in \[0, 1\], got -0.1"),
        ({"weight": 0.0}, "got 0.0, "),
        ({"rate": 0.0}, "got 0.5, 0.0, "),
        ({"clip": 0.0}, "got 0.5, 10.0, 0.0 "),
        ({"warmup": -1}, "and -1$"),
    ],
    ids=["discount", "decay", "weight", "rate", "clip", "warmup"],
)
def test_mistakes_are_said(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ValueLearning(**settings)


def test_value_clip_without_old_values_is_said(policy: TinyViT) -> None:
    with pytest.raises(UserError, match="clip is of PPO"):
        ActorCritic(policy, values=ValueLearning(clip=0.2))


def test_nothing_to_explain_is_explained_by_nothing():
    returns, mask = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)
    assert float(explained_variance(torch.randn(2, 3), returns, mask)) == 0
