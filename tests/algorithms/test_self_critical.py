"""Self-critical training against the exact policy gradient, computed from all captions there are."""

from itertools import product

import numpy as np
import pytest
import torch

from rewards.composite import FunctionReward, Term, WeightedSum
from rlcap.algorithms.base import Scorer
from rlcap.algorithms.self_critical import SelfCritical
from rlcap.errors import UserError
from rlcap.functional.advantages import self_critical_advantage
from rlcap.functional.losses import Normalization
from rlcap.functional.masking import until_eos
from rlcap.policies.base import Decoding
from rlcap.types import Captions, Rollout, Sampling

LENGTH = 3


def reds(captions: list[str]) -> list[float]:
    """A reward that is no function of length alone."""
    return [caption.split().count("red") - 0.3 * len(caption.split()) for caption in captions]


def scorer(policy, function=reds) -> Scorer:
    return Scorer(policy, WeightedSum({"reds": Term(FunctionReward(function))}))


def alone(value):
    """The sum over one process."""
    return value


def every_caption(policy) -> Captions:
    """All captions of at most three tokens."""
    words = [policy.vocabulary.id("red"), policy.vocabulary.id("blue")]
    rows = []
    for length in range(LENGTH + 1):
        for chosen in product(words, repeat=length):
            row = [*chosen, policy.eos_id][:LENGTH]
            rows.append(row + [policy.pad_id] * (LENGTH - len(row)))
    token_ids = torch.tensor(sorted(set(map(tuple, rows))))
    return Captions(token_ids, until_eos(token_ids, policy.eos_id) & (token_ids != policy.pad_id))


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.7)], ids=["plain", "temperature"])
def test_expected_gradient_is_the_exact_policy_gradient(policy, batch, sampling):
    captions = every_caption(policy)
    assert len(captions) == 15
    images, each = len(batch), len(captions)
    rewards = torch.tensor(reds(policy.detokenize(captions)))
    parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]

    encoded = policy.encode(batch)
    everything = Captions(captions.token_ids.repeat(images, 1), captions.mask.repeat(images, 1))
    probability = policy.logprobs(encoded.repeat(each), everything, sampling).sum(dim=1).exp().reshape(images, each)
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(images), rtol=1e-5, atol=1e-5)
    exact = torch.autograd.grad((probability * rewards).sum(dim=1).mean(), parameters, allow_unused=True)

    greedy = policy.caption(policy.encode(batch), Decoding(max_length=LENGTH))
    baseline = torch.tensor(reds(policy.detokenize(greedy)))
    advantages = self_critical_advantage(rewards.expand(images, each), baseline)
    algorithm = SelfCritical(policy, sampling=sampling)
    # Every caption once, weighed by its probability instead of being drawn so often; each image then counts once.
    weighed = (advantages * probability.detach()).flatten()[:, None].expand(everything.token_ids.shape)
    loss = algorithm.loss(Rollout(batch, everything, advantages=weighed))
    estimated = torch.autograd.grad(loss.mean({"policy": float(images)}), parameters, allow_unused=True)

    for one, other in zip(exact, estimated, strict=True):
        if one is not None:
            torch.testing.assert_close(other, -one, rtol=1e-3, atol=1e-6)


def test_samples_come_as_often_as_they_are_likely(policy, batch):
    captions = every_caption(policy)
    encoded = policy.encode(batch)
    drawn = policy.generate(
        encoded, batch.image_ids, samples=4000, greedy=False, key=(5,), sampling=Sampling(), max_length=LENGTH
    )
    padded = torch.nn.functional.pad(drawn.token_ids, (0, LENGTH - drawn.token_ids.shape[1]), value=policy.pad_id)
    for image in range(len(batch)):
        rows = padded.reshape(len(batch), -1, LENGTH)[image]
        counts = torch.stack([(rows == caption).all(dim=1).sum() for caption in captions.token_ids])
        one = encoded.select(torch.tensor([image])).repeat(len(captions))
        expected = policy.logprobs(one, captions, Sampling()).sum(dim=1).exp().detach() * 4000
        likely = expected > 5
        statistic = ((counts - expected) ** 2 / expected)[likely].sum()
        assert float(statistic) < 35, "chi-square of at most 14 degrees of freedom, p < 0.002"


def test_learning_log_probabilities_are_those_of_acting(policy, batch):
    algorithm = SelfCritical(
        policy, samples_per_image=4, max_length=LENGTH, sampling=Sampling(temperature=1.3, top_k=2)
    )
    rollout = algorithm.act(batch, scorer(policy), (0, 1))
    logprobs = policy.logprobs(rollout.encoded.repeat(4), rollout.captions, algorithm.sampling)
    torch.testing.assert_close(logprobs, rollout.captions.logprobs, rtol=0, atol=1e-5)


def test_advantages_compare_samples_with_their_own_greedy_caption(policy, batch):
    algorithm = SelfCritical(policy, samples_per_image=2, max_length=LENGTH)
    (rollout,) = algorithm.weigh([algorithm.act(batch, scorer(policy), (0, 1))], alone)
    greedy = np.array(reds(policy.detokenize(policy.caption(policy.encode(batch), Decoding(max_length=LENGTH)))))
    sampled = np.array(reds(policy.detokenize(rollout.captions))).reshape(3, 2)
    expected = (sampled - greedy[:, None]).flatten()
    np.testing.assert_allclose(rollout.advantages[:, 0].numpy(), expected, rtol=1e-6, atol=1e-6)
    assert rollout.stats["reward/greedy"] == pytest.approx(greedy.mean(), rel=1e-6)
    assert rollout.stats["reward/reds"] == pytest.approx(sampled.mean(), rel=1e-6)
    assert rollout.decoded == 3 * (2 + 1)


def test_constant_reward_gives_no_gradient(policy, batch):
    algorithm = SelfCritical(policy, max_length=LENGTH)
    rollout = algorithm.act(batch, scorer(policy, lambda captions: [1.0] * len(captions)), (0, 1))
    (rollout,) = algorithm.weigh([rollout], alone)
    algorithm.loss(rollout).mean({"policy": 1.0}).backward()
    assert all(p.grad is None or not p.grad.any() for p in policy.parameters())


def test_each_image_is_encoded_once_a_step(policy, batch):
    rows = []
    policy.encoder.register_forward_hook(
        lambda module, inputs, kwargs, output: rows.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    algorithm = SelfCritical(policy, samples_per_image=7, max_length=LENGTH)
    (rollout,) = algorithm.weigh([algorithm.act(batch, scorer(policy), (0, 1))], alone)
    algorithm.loss(rollout).mean({"policy": 1.0}).backward()
    assert rows == [len(batch)]
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in policy.encoder.parameters())


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        (Normalization.TOKEN, (2 * 1 + 3 * 1 + 1 * 5) / 3),
        (Normalization.CAPTION, ((2 * 1 + 3 * 1) / 2 + 1 * 5) / 2),
        (Normalization.SEQUENCE, (2 * 1 + 3 * 1 + 1 * 5) / 2),
    ],
)
def test_normalizations_against_worked_numbers(normalization, expected):
    from rlcap.functional.losses import count_units, policy_gradient, reduce_tokens

    logprobs = -torch.tensor([[2.0, 3.0, 9.0], [1.0, 9.0, 9.0]])
    advantages = torch.tensor([[1.0, 1.0, 1.0], [5.0, 5.0, 5.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    total = reduce_tokens(policy_gradient(logprobs, advantages), mask, normalization)
    assert float(total / count_units(mask, normalization)) == pytest.approx(expected)


def test_no_samples_is_said(policy):
    with pytest.raises(UserError, match="at least 1, got 0"):
        SelfCritical(policy, samples_per_image=0)
