"""Activations computed again in the backward pass: same numbers, less kept, decoding left alone."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlcap.errors import UserError
from rlcap.policies import Policy
from rlcap.policies.base import Decoding
from rlcap.policies.recompute import blocks_of, recompute_activations
from rlcap.types import Batch, Captions, Sampling

BatchOf = Callable[[Policy, int], Batch]
LENGTH = 8


@contextmanager
def calls_within(blocks: list[nn.Module]) -> Iterator[list[int]]:
    """How often the first layer in each block is called."""
    counts = [0] * len(blocks)
    handles = []
    for number, block in enumerate(blocks):

        def count(*_: Any, number: int = number) -> None:
            counts[number] += 1

        leaf = next(module for module in block.modules() if not list(module.children()))
        handles.append(leaf.register_forward_pre_hook(count))
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def loss_of(policy: Policy, batch: Batch, captions: Captions) -> Tensor:
    torch.manual_seed(3)  # of dropout
    return policy.logprobs(policy.encode(batch).repeat(2), captions, Sampling(top_k=5)).sum()


def gradients(policy: Policy, loss: Tensor) -> dict[str, Tensor]:
    weights = {name: weight for name, weight in policy.named_parameters() if weight.requires_grad}
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


def captions_of(policy: Policy, batch: Batch) -> Captions:
    encoded = policy.encode(batch).detach()
    return policy.generate(
        encoded, batch.image_ids, samples=2, greedy=False, key=(5,), sampling=Sampling(top_k=5), max_length=LENGTH
    )


@pytest.mark.parametrize("dropout", [False, True], ids=["reinforcing", "teaching"])
def test_loss_and_gradients_stay_and_blocks_run_twice(
    load: Callable[..., Policy], batch_of: BatchOf, dropout: bool
) -> None:
    policy = load(freeze=False)
    batch = batch_of(policy, 2)
    captions = captions_of(policy, batch)
    policy.train(dropout)
    plain = loss_of(policy, batch, captions)
    expected = gradients(policy, plain)

    recompute_activations(policy)
    recompute_activations(policy)  # once more changes nothing
    blocks = blocks_of(policy)
    with calls_within(blocks) as counts:
        again = loss_of(policy, batch, captions)
        assert counts == [1] * len(blocks)
        received = gradients(policy, again)
        assert counts == [2] * len(blocks)
    torch.testing.assert_close(again, plain, rtol=1e-6, atol=0)
    assert received.keys() == expected.keys()
    for name, gradient in expected.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(received[name], gradient, rtol=1e-6, atol=1e-6 * scale)


def test_less_is_kept_for_the_backward_pass(load: Callable[..., Policy], batch_of: BatchOf) -> None:
    """Bytes of tensors saved for the backward pass, but for weights and the one input that each block keeps."""
    policy = load(freeze=False)
    batch = batch_of(policy, 2)
    captions = captions_of(policy, batch)

    def kept() -> int:
        weights = {weight.untyped_storage().data_ptr() for weight in policy.parameters()}
        storages: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = loss_of(policy, batch, captions)  # in scope until counted, so that no address is used twice
        assert loss.requires_grad
        return sum(storages.values())

    before = kept()
    recompute_activations(policy)
    assert kept() < 0.75 * before


def test_decoding_keeps_its_cache_and_its_words(load: Callable[..., Policy], family: Any, batch_of: BatchOf) -> None:
    policy = load(freeze=False)
    batch = batch_of(policy, 3)
    encoded = policy.encode(batch).detach()
    decoding = Decoding(beams=2, max_length=LENGTH)
    sampled, searched = captions_of(policy, batch), policy.caption(encoded, decoding)
    recompute_activations(policy)
    again = captions_of(policy, batch)
    assert torch.equal(again.token_ids, sampled.token_ids)
    assert torch.equal(again.logprobs, sampled.logprobs)

    lengths: list[int] = []
    last = blocks_of(policy)[-1]  # of the decoder
    handle = last.register_forward_pre_hook(lambda module, inputs: lengths.append(inputs[0].shape[1]))
    keys = family.image_keys(policy)[-1]
    projected: list[int] = []
    keys.register_forward_pre_hook(lambda module, inputs: projected.append(len(inputs[0])))
    assert torch.equal(policy.caption(encoded, decoding).token_ids, searched.token_ids)
    handle.remove()
    assert len(lengths) > 2
    assert set(lengths[1:]) == {1}  # one word at a time: those before it are in the cache
    assert projected == [6]  # the image's keys once, for two beams each


def test_a_copy_computes_with_its_own_weights(load: Callable[..., Policy], batch_of: BatchOf) -> None:
    policy = load(freeze=False)
    recompute_activations(policy)
    batch = batch_of(policy, 2)
    captions = captions_of(policy, batch)
    other = copy.deepcopy(policy)
    with torch.no_grad():
        for block in blocks_of(other):
            for weight in block.parameters():
                weight.zero_()
    loss = loss_of(policy, batch, captions)
    assert not torch.allclose(loss_of(other, batch, captions), loss, atol=1e-2)


def test_what_has_no_blocks_is_said() -> None:
    with pytest.raises(UserError, match="finds no blocks"):
        recompute_activations(nn.Sequential(nn.Linear(2, 2)))
