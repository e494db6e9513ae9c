"""Self-critical training: what is drawn, what it is compared with, and what that costs.

That its expected gradient is the exact one, ``test_expected_gradient.py`` shows.
"""

import numpy as np
import pytest
import torch
from enumeration import LENGTH, PLAIN, alone, constant, every_caption, every_logprob, reds, scorer

from rlcap.algorithms.policy_gradient import KLPenalty, Objective, PolicyGradient
from rlcap.algorithms.reinforce import Reinforce
from rlcap.algorithms.self_critical import BeamSelfCritical, NewSelfCritical, SelfCritical
from rlcap.errors import UserError
from rlcap.policies.base import Decoding
from rlcap.policies.tiny import TinyViT
from rlcap.types import Batch, Sampling


@pytest.mark.parametrize("sampling", [PLAIN, Sampling(temperature=0.6)], ids=["plain", "temperature"])
def test_samples_come_as_often_as_they_are_likely(policy: TinyViT, batch: Batch, sampling: Sampling) -> None:
    drawn = policy.generate(
        policy.encode(batch),
        batch.image_ids,
        samples=4000,
        greedy=False,
        key=(5,),
        sampling=sampling,
        max_length=LENGTH,
    )
    token_ids = drawn.token_ids.reshape(len(batch), -1, LENGTH)
    logprobs, _ = every_logprob(policy, batch, sampling)
    expected = logprobs.detach().sum(dim=1).exp().reshape(len(batch), -1) * 4000
    for image in range(len(batch)):
        counts = torch.stack([(token_ids[image] == row).all(dim=1).sum() for row in every_caption(policy).token_ids])
        assert counts.sum() == 4000
        likely = expected[image] > 5
        assert likely.sum() >= 10
        statistic = ((counts - expected[image]) ** 2 / expected[image])[likely].sum()
        assert float(statistic) < 35, "chi-square of at most 14 degrees of freedom, p < 0.002"


def test_learning_log_probabilities_are_those_of_acting(policy: TinyViT, batch: Batch) -> None:
    algorithm = SelfCritical(
        policy, samples_per_image=4, max_length=LENGTH, sampling=Sampling(temperature=1.3, top_k=2)
    )
    rollout = algorithm.act(batch, scorer(policy), (0, 1)).settled()
    logprobs = policy.logprobs(rollout.encoded.repeat(4), rollout.captions, algorithm.sampling)
    torch.testing.assert_close(logprobs, rollout.captions.logprobs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_advantages_compare_samples_with_their_own_greedy_caption(policy: TinyViT, batch: Batch, samples: int) -> None:
    algorithm = SelfCritical(policy, samples_per_image=samples, max_length=LENGTH)
    (rollout,) = algorithm.weigh([algorithm.act(batch, scorer(policy), (0, 1)).settled()], alone)
    greedy = np.array(reds(policy.detokenize(policy.caption(policy.encode(batch), Decoding(max_length=LENGTH)))))
    assert len(set(greedy)) == 3
    sampled = np.array(reds(policy.detokenize(rollout.captions))).reshape(3, samples)
    expected = (sampled - greedy[:, None]).flatten()
    np.testing.assert_allclose(rollout.advantages[:, 0].numpy(), expected, rtol=1e-6, atol=1e-6)
    assert rollout.stats["reward/greedy"] == pytest.approx(greedy.mean(), rel=1e-6)
    assert rollout.stats["reward/reds"] == pytest.approx(sampled.mean(), rel=1e-6)
    assert rollout.decoded == 3 * (samples + 1)


def test_constant_reward_gives_no_gradient(policy: TinyViT, batch: Batch) -> None:
    algorithm = SelfCritical(policy, max_length=LENGTH)
    rollout = algorithm.act(batch, scorer(policy, constant), (0, 1)).settled()
    (rollout,) = algorithm.weigh([rollout], alone)
    algorithm.loss(rollout).mean({"policy": 1.0}).backward()
    assert all(p.grad is None or not p.grad.any() for p in policy.parameters())


def test_each_image_is_encoded_once_a_step(policy: TinyViT, batch: Batch) -> None:
    rows = []
    policy.encoder.register_forward_hook(
        lambda module, inputs, kwargs, output: rows.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    algorithm = SelfCritical(policy, samples_per_image=7, max_length=LENGTH)
    (rollout,) = algorithm.weigh([algorithm.act(batch, scorer(policy), (0, 1)).settled()], alone)
    algorithm.loss(rollout).mean({"policy": 1.0}).backward()
    assert rows == [len(batch)]
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in policy.encoder.parameters())


# --- the variants


def test_beams_are_those_of_beam_search_and_compared_with_one_another(policy: TinyViT, batch: Batch) -> None:
    algorithm = BeamSelfCritical(policy, beams=4, max_length=LENGTH)
    (rollout,) = algorithm.weigh([algorithm.act(batch, scorer(policy), (0, 1)).settled()], alone)
    searched = policy.caption(policy.encode(batch), Decoding(beams=4, max_length=LENGTH), each=4)
    assert torch.equal(rollout.captions.token_ids, searched.token_ids)
    assert torch.equal(rollout.captions.mask, searched.mask)
    texts = policy.detokenize(searched)
    assert all(len(set(texts[first : first + 4])) == 4 for first in (0, 4, 8))
    rewards = np.array(reds(texts)).reshape(3, 4)
    others = np.array([[np.delete(row, beam).mean() for beam in range(4)] for row in rewards])
    np.testing.assert_allclose(rollout.advantages[:, 0].numpy(), (rewards - others).flatten(), rtol=1e-5, atol=1e-6)
    assert rollout.decoded == 12


def test_the_search_is_as_wide_as_said(policy: TinyViT, batch: Batch) -> None:
    """Of captions of up to 8 tokens a search one beam wider finds likelier ones."""
    encoded = policy.encode(batch)
    narrow, wide = (policy.caption(encoded, Decoding(beams=beams, max_length=8), each=3) for beams in (3, 4))
    assert policy.detokenize(narrow) != policy.detokenize(wide)
    rollout = BeamSelfCritical(policy, beams=3, max_length=8).act(batch, scorer(policy), (0, 1)).settled()
    assert torch.equal(rollout.captions.token_ids, narrow.token_ids)


def test_beams_learn_by_the_log_probability_of_the_policy_itself(policy: TinyViT, batch: Batch) -> None:
    """The loss by hand: minus advantage times log-probability, a mean over 12 captions."""
    algorithm = BeamSelfCritical(policy, beams=4, max_length=LENGTH)
    (rollout,) = algorithm.weigh([algorithm.act(batch, scorer(policy), (0, 1)).settled()], alone)
    logprobs = policy.logprobs(policy.encode(batch).repeat(4), rollout.captions, PLAIN).sum(dim=1)
    expected = -(rollout.advantages[:, 0] * logprobs).mean()
    torch.testing.assert_close(algorithm.loss(rollout).mean(algorithm.units(rollout)), expected, rtol=1e-5, atol=1e-6)


def test_new_self_critical_is_reinforce_against_siblings(policy: TinyViT, batch: Batch) -> None:
    algorithm = NewSelfCritical(policy, samples_per_image=3, max_length=LENGTH)
    (rollout,) = algorithm.weigh([algorithm.act(batch, scorer(policy), (0, 1)).settled()], alone)
    rewards = np.array(reds(policy.detokenize(rollout.captions))).reshape(3, 3)
    others = (rewards.sum(axis=1, keepdims=True) - rewards) / 2
    np.testing.assert_allclose(rollout.advantages[:, 0].numpy(), (rewards - others).flatten(), rtol=1e-5, atol=1e-6)
    assert rollout.decoded == 9
    assert rollout.greedy is None


@pytest.mark.parametrize("kind", [SelfCritical, NewSelfCritical, Reinforce])
def test_no_samples_is_said(policy: TinyViT, kind: type[PolicyGradient]) -> None:
    with pytest.raises(UserError, match="at least 1, got 0"):
        kind(policy, samples_per_image=0)


def test_beams_cannot_be_penalized_in_the_reward(policy: TinyViT) -> None:
    with pytest.raises(UserError, match=r"use kl.loss, not kl.reward"):
        BeamSelfCritical(policy, objective=Objective(kl=KLPenalty(reward=0.1)))
    with pytest.raises(UserError, match="at least 2 samples per image, got 1"):
        BeamSelfCritical(policy, beams=1)
