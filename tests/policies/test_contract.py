"""What every family promises, tried on all of them."""

import copy
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from rlcap.errors import UserError
from rlcap.policies import Policy, load_policy
from rlcap.policies.base import Decoding, policy_folder
from rlcap.policies.reference import Reference
from rlcap.types import Batch, Captions, Encoded, Sampling

LENGTH = 8
TOLERANCE = 1e-5  # float32: a cached decode and a parallel forward add in different orders
SAMPLINGS = {
    "plain": Sampling(),
    "temperature": Sampling(temperature=0.7),
    "top_k": Sampling(top_k=3),
    "top_p": Sampling(top_p=0.8),
    "all": Sampling(temperature=1.5, top_k=6, top_p=0.9),
}
sampled_every_way = pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)

BatchOf = Callable[[Policy, int], Batch]


def act(
    policy: Policy,
    batch: Batch,
    *,
    samples: int = 4,
    greedy: bool = False,
    key: tuple[int, ...] = (7, 1),
    sampling: Sampling = SAMPLINGS["plain"],
) -> tuple[Encoded, Captions]:
    """The encodings of a batch and captions drawn from them."""
    with torch.no_grad():
        encoded = policy.encode(batch)
    captions = policy.generate(
        encoded, batch.image_ids, samples=samples, greedy=greedy, key=key, sampling=sampling, max_length=LENGTH
    )
    return encoded, captions


def rows(batch: Batch, *index: int) -> Batch:
    assert batch.pixel_values is not None
    ids = tuple(batch.image_ids[row] for row in index)
    return Batch(ids, ((),) * len(index), pixel_values=batch.pixel_values[list(index)])


def trimmed(captions: Captions) -> list[list[int]]:
    """The tokens of each caption without padding."""
    return [tokens[mask].tolist() for tokens, mask in zip(captions.token_ids, captions.mask, strict=True)]


@contextmanager
def rows_through(*modules: nn.Module) -> Iterator[dict[nn.Module, list[int]]]:
    """How many rows pass each module, call by call."""
    seen: dict[nn.Module, list[int]] = {module: [] for module in modules}

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen[module].append(len(next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))))

    handles = [module.register_forward_pre_hook(note, with_kwargs=True) for module in modules]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


# --- sampling and scoring agree


@sampled_every_way
def test_sampling_logprobs_are_those_of_the_parallel_forward(
    policy: Policy, batch_of: BatchOf, sampling: Sampling, record_property: Callable[[str, object], None]
) -> None:
    encoded, captions = act(policy, batch_of(policy, 4), sampling=sampling, samples=6)
    with torch.no_grad():
        scored = policy.logprobs(encoded.repeat(6), captions, sampling)
    assert captions.logprobs is not None
    record_property("difference", float((scored - captions.logprobs).abs().max()))
    torch.testing.assert_close(scored, captions.logprobs, atol=TOLERANCE, rtol=0)


@sampled_every_way
def test_greedy_rows_of_the_mixed_decode_are_the_greedy_captions(
    policy: Policy, batch_of: BatchOf, sampling: Sampling
) -> None:
    encoded, mixed = act(policy, batch_of(policy, 4), samples=3, greedy=True, sampling=sampling)
    first = torch.arange(4) * 4
    greedy = mixed.select(first)
    assert trimmed(greedy) == trimmed(policy.caption(encoded, Decoding(max_length=LENGTH)))
    with torch.no_grad():
        scored = policy.logprobs(encoded, greedy, Sampling())
    assert greedy.logprobs is not None
    torch.testing.assert_close(scored, greedy.logprobs, atol=TOLERANCE, rtol=0)


def test_sampled_rows_are_the_same_with_and_without_greedy_rows(policy: Policy, batch_of: BatchOf) -> None:
    batch = batch_of(policy, 3)
    _, mixed = act(policy, batch, samples=2, greedy=True)
    _, alone = act(policy, batch, samples=2)
    sampled = torch.tensor([row for row in range(9) if row % 3])
    assert trimmed(mixed.select(sampled)) == trimmed(alone)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_k=4), Sampling(temperature=0.8, top_p=0.9)], ids=str)
def test_first_tokens_occur_as_often_as_the_model_says(policy: Policy, batch_of: BatchOf, sampling: Sampling) -> None:
    """Chi-square of 4,000 draws with a fixed key; a right sampler fails it with probability 0.001 over all keys."""
    draws = 4000
    encoded = policy.encode(batch_of(policy, 1)).detach()
    captions = policy.generate(
        encoded, ("image",), samples=draws, greedy=False, key=(3,), sampling=sampling, max_length=1
    )
    with torch.no_grad():
        expected = policy.predict(encoded, captions.select(torch.tensor([0])), sampling).log_probabilities[0].exp()
    expected = expected.double() * draws
    observed = torch.bincount(captions.token_ids[:, 0], minlength=len(expected)).double()
    assert observed[expected == 0].sum() == 0
    common = expected >= 5
    expected = torch.cat([expected[common], expected[~common].sum()[None]])
    observed = torch.cat([observed[common], observed[~common].sum()[None]])
    statistic = ((observed - expected) ** 2 / expected.clamp(min=1)).sum()
    freedom = torch.tensor(float(max(1, common.sum() - 1)), dtype=torch.double)
    assert torch.special.gammaincc(freedom / 2, statistic / 2) > 0.001


# --- what a caption depends on


def test_samples_depend_on_image_and_key_alone(policy: Policy, batch_of: BatchOf) -> None:
    batch = batch_of(policy, 4)
    _, captions = act(policy, batch)
    _, again = act(policy, batch)
    assert torch.equal(captions.token_ids, again.token_ids)
    _, other = act(policy, batch, key=(7, 2))
    assert trimmed(captions) != trimmed(other)

    _, turned = act(policy, rows(batch, 2, 0))  # other neighbours, other places
    expected = [tokens for image in (2, 0) for tokens in trimmed(captions)[image * 4 : image * 4 + 4]]
    assert trimmed(turned) == expected
    assert captions.logprobs is not None
    assert turned.logprobs is not None
    index = torch.tensor([8, 9, 10, 11, 0, 1, 2, 3])
    both = min(captions.logprobs.shape[1], turned.logprobs.shape[1])
    torch.testing.assert_close(turned.logprobs[:, :both], captions.logprobs[index, :both], atol=TOLERANCE, rtol=0)


def test_more_samples_leave_the_first_ones_alone(policy: Policy, batch_of: BatchOf) -> None:
    batch = batch_of(policy, 2)
    _, few = act(policy, batch, samples=2)
    _, many = act(policy, batch, samples=5)
    assert trimmed(few) == trimmed(many.select(torch.tensor([0, 1, 5, 6])))


def test_captions_differ_between_images_and_samples(policy: Policy, batch_of: BatchOf) -> None:
    _, captions = act(policy, batch_of(policy, 4))
    assert len({tuple(tokens) for tokens in trimmed(captions)}) > 8
    encoded = policy.encode(batch_of(policy, 2))
    assert not torch.allclose(encoded.states[0], encoded.states[1], atol=1e-2)


def test_more_padding_changes_no_logprob(policy: Policy, batch_of: BatchOf) -> None:
    encoded, captions = act(policy, batch_of(policy, 3))
    padding = torch.full((len(captions), 3), policy.pad_id)
    longer = Captions(
        torch.cat([captions.token_ids, padding], dim=1),
        torch.cat([captions.mask, torch.zeros_like(padding, dtype=torch.bool)], dim=1),
    )
    with torch.no_grad():
        short = policy.logprobs(encoded.repeat(4), captions)
        long = policy.logprobs(encoded.repeat(4), longer)
    torch.testing.assert_close(long[:, : short.shape[1]], short, atol=TOLERANCE, rtol=0)
    assert (long[:, short.shape[1] :] == 0).all()


def test_likelihood_reads_no_token_it_predicts(policy: Policy, batch_of: BatchOf) -> None:
    encoded, captions = act(policy, batch_of(policy, 2))
    token_ids = captions.token_ids.clone()
    token_ids[:, 3] = (token_ids[:, 3] + 1) % 5
    whole = torch.ones_like(captions.mask)
    with torch.no_grad():
        before, _ = policy.score_tokens(encoded.repeat(4), Captions(captions.token_ids, whole))
        after, _ = policy.score_tokens(encoded.repeat(4), Captions(token_ids, whole))
    before, after = (logits.unflatten(0, whole.shape) for logits in (before, after))
    torch.testing.assert_close(after[:, :4], before[:, :4], atol=TOLERANCE, rtol=0)
    if before.shape[1] > 4:
        assert not torch.allclose(after[:, 4], before[:, 4], atol=1e-3)


# --- masks and tokens


def test_masks_end_after_the_first_eos(policy: Policy, batch_of: BatchOf) -> None:
    _, captions = act(policy, batch_of(policy, 6), samples=8, sampling=Sampling(temperature=2.0))
    assert captions.logprobs is not None
    closed = 0
    for tokens, mask, logprobs in zip(captions.token_ids, captions.mask, captions.logprobs, strict=True):
        ends = (tokens == policy.eos_id).nonzero()[:, 0]
        length = int(ends[0]) + 1 if len(ends) else len(tokens)
        closed += len(ends) > 0
        assert mask.tolist() == [position < length for position in range(len(tokens))]
        assert (tokens[length:] == policy.pad_id).all()
        assert (logprobs[length:] == 0).all()
        assert (logprobs[:length] < 0).all()
        assert not set(tokens[:length].tolist()) & set(policy.suppressed)
    assert 4 < closed < len(captions)  # both kinds occurred, or this test says little


def test_eos_is_never_suppressed(policy: Policy) -> None:
    assert policy.eos_id not in policy.suppressed


def test_text_survives_tokenizing(policy: Policy) -> None:
    texts = ["a red cat sits here", "the dog runs", "a blue dog"]
    captions = policy.tokenize(texts, 10)
    assert policy.detokenize(captions) == texts
    assert captions.mask.sum(dim=1).tolist() == [6, 4, 4]
    assert captions.token_ids[captions.mask].tolist().count(policy.eos_id) == 3


def test_cut_captions_have_no_eos(policy: Policy) -> None:
    captions = policy.tokenize(["a red cat sits here", "the dog runs", ""], 4)
    assert captions.token_ids.shape == (3, 4)
    assert captions.mask.sum(dim=1).tolist() == [4, 4, 1]
    assert (captions.token_ids == policy.eos_id).masked_fill(~captions.mask, value=False).sum(dim=1).tolist() == [
        0,
        1,
        1,
    ]
    assert policy.detokenize(captions) == ["a red cat sits", "the dog runs", ""]


def test_sampled_captions_read_as_words(policy: Policy, batch_of: BatchOf) -> None:
    _, captions = act(policy, batch_of(policy, 3))
    texts = policy.detokenize(captions)
    assert [len(text.split()) for text in texts] == [
        len(tokens) - (tokens[-1] == policy.eos_id) for tokens in trimmed(captions)
    ]


# --- the work is done once


def test_each_image_is_encoded_once(policy: Policy, family: Any, batch_of: BatchOf) -> None:
    batch = batch_of(policy, 3)
    with rows_through(family.vision(policy)) as seen:
        encoded, captions = act(policy, batch, samples=5, greedy=True)
        policy.logprobs(encoded.repeat(6), captions)
        policy.caption(encoded, Decoding(beams=3, max_length=LENGTH))
    assert seen[family.vision(policy)] == [3]


@pytest.mark.parametrize("beams", [1, 3])
def test_the_image_is_turned_into_keys_once_a_decode(
    policy: Policy, family: Any, batch_of: BatchOf, beams: int
) -> None:
    encoded = policy.encode(batch_of(policy, 3)).detach()
    modules = family.image_keys(policy)
    with rows_through(*modules) as seen:
        captions = policy.caption(encoded, Decoding(beams=beams, max_length=LENGTH))
    assert captions.token_ids.shape[1] > 2
    assert all(calls == [3 * beams] for calls in seen.values())


# --- beam search


def test_beams_find_captions_at_least_as_probable(policy: Policy, batch_of: BatchOf) -> None:
    """By the sum of log-probabilities; search may lose the greedy caption, so three quarters of the images will do."""
    encoded = policy.encode(batch_of(policy, 12)).detach()
    greedy = policy.caption(encoded, Decoding(max_length=LENGTH))
    beam = policy.caption(encoded, Decoding(beams=3, max_length=LENGTH, length_penalty=0.0))
    with torch.no_grad():
        gains = policy.logprobs(encoded, beam, Sampling()).sum(dim=1) - policy.logprobs(
            encoded, greedy, Sampling()
        ).sum(dim=1)
    assert (gains > -TOLERANCE).float().mean() >= 0.75
    assert gains.mean() > 0


def test_beams_search_each_image_alone(policy: Policy, batch_of: BatchOf) -> None:
    encoded = policy.encode(batch_of(policy, 4)).detach()
    decoding = Decoding(beams=3, max_length=LENGTH)
    together = trimmed(policy.caption(encoded, decoding))
    alone = [trimmed(policy.caption(encoded.select(torch.tensor([row])), decoding))[0] for row in range(4)]
    assert together == alone


def test_a_search_gives_its_best_captions_in_order(policy: Policy, batch_of: BatchOf) -> None:
    encoded = policy.encode(batch_of(policy, 4)).detach()
    decoding = Decoding(beams=4, max_length=LENGTH, length_penalty=0.0)  # a caption's score is its log-probability
    best = policy.caption(encoded, decoding)
    captions = policy.caption(encoded, decoding, each=3)
    assert len(captions) == 12
    assert trimmed(captions)[::3] == trimmed(best)
    with torch.no_grad():
        scores = policy.logprobs(encoded.repeat(3), captions, Sampling()).sum(dim=1).reshape(4, 3)
    assert (scores[:, :-1] >= scores[:, 1:] - TOLERANCE).all()
    for image in range(4):
        assert len({tuple(tokens) for tokens in trimmed(captions)[image * 3 : image * 3 + 3]}) == 3
    with pytest.raises(UserError, match="4 beams give at most as many captions of an image, not 5"):
        policy.caption(encoded, decoding, each=5)


# --- learning


def test_hidden_states_are_as_wide_as_said(policy: Policy, batch_of: BatchOf) -> None:
    encoded, captions = act(policy, batch_of(policy, 2))
    with torch.no_grad():
        assert policy.predict(encoded.repeat(4), captions).hidden.shape == (*captions.mask.shape, policy.hidden_width)


def test_every_learning_weight_gets_a_gradient(load: Callable[..., Policy], family: Any, batch_of: BatchOf) -> None:
    policy = load(freeze=False)
    batch = batch_of(policy, 2)
    _, captions = act(policy, batch)
    policy.logprobs(policy.encode(batch).repeat(4), captions).sum().backward()
    without = [name for name, weight in policy.named_parameters() if weight.requires_grad and weight.grad is None]
    assert without == []
    assert any(weight.grad.abs().sum() > 0 for weight in family.vision(policy).parameters() if weight.grad is not None)
    assert policy.feature_shape is None


def test_a_frozen_encoder_gets_none_and_its_features_may_be_kept(
    load: Callable[..., Policy], family: Any, batch_of: BatchOf
) -> None:
    policy = load(freeze=True)
    batch = batch_of(policy, 3)
    assert batch.pixel_values is not None
    features = policy.features(batch.pixel_values)
    assert features.shape[1:] == policy.feature_shape
    kept = Batch(batch.image_ids, batch.references, features=features)
    encoded, captions = act(policy, batch)
    torch.testing.assert_close(policy.encode(kept).states, encoded.states, atol=1e-6, rtol=0)
    with rows_through(family.vision(policy)) as seen:
        policy.logprobs(policy.encode(kept).repeat(4), captions).sum().backward()
    assert seen[family.vision(policy)] == []
    assert all(weight.grad is None and not weight.requires_grad for weight in family.vision(policy).parameters())
    assert [name for name, weight in policy.named_parameters() if weight.requires_grad and weight.grad is None] == []


def test_a_batch_with_features_is_encoded_no_more(load: Callable[..., Policy], family: Any, batch_of: BatchOf) -> None:
    policy = load(freeze=True)
    batch = batch_of(policy, 3)
    with rows_through(family.vision(policy)) as seen:
        kept = policy.with_features(batch)
        states = policy.encode(kept).states
        assert policy.with_features(kept) is kept
    assert seen[family.vision(policy)] == [3]
    assert torch.equal(states, policy.encode(batch).states)
    assert kept.features is not None
    assert not kept.features.requires_grad
    learning = load(freeze=False)
    assert learning.with_features(batch) is batch


@pytest.mark.parametrize("freeze", [True, False])
def test_training_leaves_frozen_encoders_and_batchnorm_in_evaluation_mode(
    load: Callable[..., Policy], family: Any, freeze: bool
) -> None:
    policy = load(freeze=freeze).train()
    for module in family.vision(policy).modules():
        normed = isinstance(module, nn.modules.batchnorm._BatchNorm)
        assert module.training == (not freeze and not normed)
    assert any(isinstance(module, nn.Dropout) and module.training for module in policy.modules())
    policy.eval()
    assert not any(module.training for module in policy.modules())


def test_a_batch_without_images_is_refused(policy: Policy) -> None:
    with pytest.raises(UserError, match="pixel_values or features"):
        policy.encode(Batch(("image",), ((),)))


# --- on disk and in other processes


@pytest.mark.parametrize("freeze", [True, False])
def test_a_saved_policy_returns_with_identical_logprobs(
    load: Callable[..., Policy], batch_of: BatchOf, tmp_path: Path, freeze: bool
) -> None:
    policy = load(freeze=freeze)
    batch = batch_of(policy, 3)
    encoded, captions = act(policy, batch)
    policy.save(tmp_path)
    loaded = load_policy(str(tmp_path)).eval()
    assert type(loaded) is type(policy)
    assert torch.equal(batch_of(loaded, 3).pixel_values, batch.pixel_values)
    again, same = act(loaded, batch_of(loaded, 3))
    assert torch.equal(same.token_ids, captions.token_ids)
    with torch.no_grad():
        before = policy.logprobs(encoded.repeat(4), captions)
        after = loaded.logprobs(again.repeat(4), captions)
    assert torch.equal(before, after)
    assert loaded.feature_shape == policy.feature_shape
    assert (loaded.eos_id, loaded.pad_id, loaded.suppressed) == (policy.eos_id, policy.pad_id, policy.suppressed)
    assert torch.equal(loaded.tokenize(["a red cat"], 9).token_ids, policy.tokenize(["a red cat"], 9).token_ids)
    trainable = {name for name, weight in policy.named_parameters() if weight.requires_grad}
    assert {name for name, weight in loaded.named_parameters() if weight.requires_grad} == trainable


def test_the_image_processor_can_be_sent_to_workers(policy: Policy, photos: Callable[[int], list[Image.Image]]) -> None:
    process = policy.process_images
    expected = process(photos(2))
    for sent in (copy.deepcopy(process), pickle.loads(pickle.dumps(process))):  # noqa: S301  # ours
        assert torch.equal(sent(photos(2)), expected)


def test_a_copied_policy_is_one_of_its_own(policy: Policy, batch_of: BatchOf) -> None:
    encoded, captions = act(policy, batch_of(policy, 2))
    other = copy.deepcopy(policy)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1.1)
        again = policy.logprobs(policy.encode(batch_of(policy, 2)).repeat(4), captions, Sampling())
        torch.testing.assert_close(again, captions.logprobs, atol=TOLERANCE, rtol=0)
        assert not torch.allclose(other.logprobs(encoded.repeat(4), captions, Sampling()), again, atol=1e-3)


def test_a_reference_stays_where_the_policy_was(load: Callable[..., Policy], batch_of: BatchOf) -> None:
    policy = load()
    policy.fold_adapters()
    batch = batch_of(policy, 2)
    encoded, captions = act(policy, batch)
    reference = Reference(policy)
    before = reference.logprobs(batch, captions, Sampling())
    with torch.no_grad():
        own = policy.logprobs(encoded.repeat(4), captions, Sampling())
    torch.testing.assert_close(before, own, atol=TOLERANCE, rtol=0)
    assert reference.copied == (not policy.adapted)
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.requires_grad:
                weight.add_(0.1)
        learned = policy.logprobs(policy.encode(batch).repeat(4), captions, Sampling())
    assert not torch.allclose(learned, own, atol=1e-2)
    assert torch.equal(reference.logprobs(batch, captions, Sampling()), before)


def test_nothing_is_said_in_normal_use(
    load: Callable[..., Policy], batch_of: BatchOf, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.Logger.warning_once.cache_clear()  # type: ignore[attr-defined]  # transformers' own
    logging.getLogger("transformers").addHandler(listener)
    try:
        policy = load(freeze=False)
        encoded, captions = act(policy, batch_of(policy, 4), greedy=True)
        policy.caption(encoded, Decoding(beams=3, max_length=LENGTH))
        policy.logprobs(encoded.repeat(5), captions)
        policy.tokenize(["a red cat " * 30], 5)
        policy.save(tmp_path)
        load_policy(str(tmp_path))
    finally:
        logging.getLogger("transformers").removeHandler(listener)
    assert said == []
    assert capfd.readouterr() == ("", "")


# --- folders


def test_run_folders_and_checkpoints_lead_to_their_policy(policy: Policy, tmp_path: Path) -> None:
    for step in (20, 100):
        policy.save(tmp_path / "checkpoints" / str(step) / "policy")
    best, latest = (tmp_path / "checkpoints" / step / "policy" for step in ("20", "100"))
    assert policy_folder(best) == policy_folder(best.parent) == best
    assert policy_folder(tmp_path) == latest  # none was measured
    (tmp_path / "checkpoints" / "best.json").write_text(json.dumps({"step": 20}))
    assert policy_folder(tmp_path) == best
    assert type(load_policy(str(tmp_path))) is type(policy)


def test_folders_without_a_policy_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_policy(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="holds no saved policy"):
        load_policy(str(tmp_path))
    (tmp_path / "rlcap_policy.json").write_text(json.dumps({"class_path": "pathlib.Path"}))
    with pytest.raises(UserError, match="not a Policy"):
        load_policy(str(tmp_path))
