"""The policy that a run started from."""

import torch
from enumeration import LENGTH, PLAIN, nudge, outcomes

from rlcap.functional.divergences import exact_kl
from rlcap.policies.reference import Reference
from rlcap.policies.tiny import TinyViT
from rlcap.types import Batch, Sampling


def test_at_the_start_it_is_the_policy(policy: TinyViT, batch: Batch) -> None:
    reference = Reference(policy)
    for sampling in (PLAIN, Sampling(temperature=0.6), Sampling(top_k=2)):
        captions = policy.generate(
            policy.encode(batch),
            batch.image_ids,
            samples=3,
            greedy=False,
            key=(0,),
            sampling=sampling,
            max_length=LENGTH,
        )
        own = policy.predict(policy.encode(batch).repeat(3), captions, sampling)
        theirs = reference.log_probabilities(batch, captions, sampling)
        assert torch.equal(own.log_probabilities, theirs)
        assert exact_kl(own.log_probabilities, theirs).abs().max() == 0
        logprobs = reference.logprobs(batch, captions, sampling)
        assert torch.equal(logprobs, policy.logprobs(policy.encode(batch).repeat(3), captions, sampling))
        torch.testing.assert_close(logprobs, captions.logprobs, rtol=0, atol=1e-5)


def test_it_stays_while_the_policy_learns(policy: TinyViT, batch: Batch) -> None:
    reference = Reference(policy)
    captions = outcomes(policy, batch.select(torch.tensor([0]))).rollout.captions
    one = batch.select(torch.zeros(len(captions), dtype=torch.long))
    before = reference.logprobs(one, captions, PLAIN)
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.1)
    policy.logprobs(policy.encode(one), captions, PLAIN).sum().backward()
    optimizer.step()
    assert torch.equal(reference.logprobs(one, captions, PLAIN), before)
    moved = policy.predict(policy.encode(one), captions, PLAIN).log_probabilities
    assert exact_kl(moved, reference.log_probabilities(one, captions, PLAIN)).mean() > 1e-3


def test_nothing_of_it_learns_or_is_among_the_policys_weights(policy: TinyViT, batch: Batch) -> None:
    reference = Reference(policy)
    assert reference.copied
    assert not any(parameter.requires_grad for parameter in reference.policy.parameters())
    assert not {id(one) for one in reference.policy.parameters()} & {id(one) for one in policy.parameters()}
    captions = outcomes(policy, batch).rollout.captions
    copies = outcomes(policy, batch).rollout.batch
    assert not reference.logprobs(copies, captions, PLAIN).requires_grad
    nudge(policy, 0.1)
    assert all(parameter.requires_grad for parameter in policy.parameters() if parameter.ndim == 2)


def test_its_dropout_is_off(policy: TinyViT) -> None:
    assert not Reference(policy.train()).policy.training
    assert policy.training
