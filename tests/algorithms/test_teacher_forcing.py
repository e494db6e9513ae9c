"""Teacher forcing against torch's own cross-entropy."""

import pytest
import torch

from rlcap.algorithms.base import Scorer
from rlcap.algorithms.teacher_forcing import TeacherForcing
from rlcap.errors import UserError
from rlcap.functional.losses import Normalization
from rlcap.types import Batch, Captions


def mean(algorithm, rollout) -> torch.Tensor:
    return algorithm.loss(rollout).mean(algorithm.units(rollout))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_cross_entropy_of_the_references(policy, batch, smoothing):
    algorithm = TeacherForcing(policy, captions_per_image=2, label_smoothing=smoothing)
    rollout = algorithm.act(batch, Scorer(policy, None), (0, 1)).settled()
    captions = rollout.captions
    whole = Captions(captions.token_ids, torch.ones_like(captions.mask))
    logits, _ = policy.score_tokens(policy.encode(batch).repeat(2), whole)
    targets = captions.token_ids.masked_fill(~captions.mask, -100)
    expected = torch.nn.functional.cross_entropy(logits, targets.flatten(), label_smoothing=smoothing)
    torch.testing.assert_close(mean(algorithm, rollout), expected, rtol=1e-5, atol=1e-6)
    assert policy.detokenize(captions) == [caption for references in batch.references for caption in references]


@pytest.mark.parametrize("normalization", list(Normalization))
def test_gradient_equals_finite_differences(policy, batch, normalization):
    policy = policy.double()
    batch = Batch(batch.image_ids, batch.references, pixel_values=batch.pixel_values.double())
    algorithm = TeacherForcing(policy, captions_per_image=2, label_smoothing=0.1, normalization=normalization)

    def loss() -> torch.Tensor:
        # log-probabilities are made in float32, so differences carry about 1e-6 of rounding
        return mean(algorithm, algorithm.act(batch, Scorer(policy, None), (0, 1)).settled())

    weight = policy.project[1].weight
    (gradient,) = torch.autograd.grad(loss(), weight)
    step = 1e-2
    for row, column in ((0, 0), (3, 5), (15, 7)):
        with torch.no_grad():
            weight[row, column] += step
            above = loss()
            weight[row, column] -= 2 * step
            below = loss()
            weight[row, column] += step
        difference = float((above - below) / (2 * step))
        assert float(gradient[row, column]) == pytest.approx(difference, rel=2e-2, abs=2e-4)


def test_each_image_is_encoded_once_for_all_its_references(policy, batch):
    rows = []
    policy.encoder.register_forward_hook(
        lambda module, inputs, kwargs, output: rows.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    algorithm = TeacherForcing(policy, captions_per_image=2)
    mean(algorithm, algorithm.act(batch, Scorer(policy, None), (0, 1)).settled()).backward()
    assert rows == [len(batch)]


def test_references_are_drawn_anew_at_each_step_and_repeat_when_too_few(policy, batch):
    algorithm = TeacherForcing(policy, captions_per_image=1)
    chosen = {
        tuple(policy.detokenize(algorithm.act(batch, Scorer(policy, None), (0, step)).settled().captions))
        for step in range(20)
    }
    assert len(chosen) > 1
    again = TeacherForcing(policy, captions_per_image=3).act(batch, Scorer(policy, None), (0, 1)).settled()
    assert len(again.captions) == 9
    for references, row in zip(batch.references, range(0, 9, 3), strict=True):
        assert set(policy.detokenize(again.captions)[row : row + 3]) == set(references)


def test_scheduled_sampling_replaces_inputs_but_not_targets(policy, batch):
    plain = TeacherForcing(policy, captions_per_image=2)
    mixed = TeacherForcing(policy, captions_per_image=2, scheduled_sampling=0.9)
    rollout = plain.act(batch, Scorer(policy, None), (0, 1)).settled()
    torch.manual_seed(0)
    assert mean(mixed, rollout).item() != pytest.approx(mean(plain, rollout).item())
    # the first word has no input to replace: captions of one token cannot differ
    short = (
        TeacherForcing(policy, captions_per_image=2, max_length=1).act(batch, Scorer(policy, None), (0, 1)).settled()
    )
    torch.testing.assert_close(mean(mixed, short), mean(plain, short))


def test_mistakes_are_said(policy, batch):
    with pytest.raises(UserError, match=r"label_smoothing must be in \[0, 1\), got 1.5"):
        TeacherForcing(policy, label_smoothing=1.5)
    with pytest.raises(UserError, match="at least 1, got 0"):
        TeacherForcing(policy, captions_per_image=0)
    bare = Batch(("x",), ((),), pixel_values=batch.pixel_values[:1])
    with pytest.raises(UserError, match="image x has no reference captions"):
        TeacherForcing(policy).act(bare, Scorer(policy, None), (0, 1)).settled()
