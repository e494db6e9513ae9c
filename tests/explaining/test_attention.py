"""Attention maps and their gradients, against what the models themselves hand out and autograd makes of it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from captioners import PATCH, SIDE
from families import FAMILIES
from PIL import Image
from torch import Tensor, nn

from rlcap.errors import UserError
from rlcap.explaining.attention import TokenAttention, eager, log_odds, token_attention
from rlcap.policies.base import Decoding, Policy
from rlcap.policies.grid import grid_of
from rlcap.types import Batch, Captions

Load = Callable[..., Any]
SIDE_CELLS = SIDE // PATCH
GRIDS = {"mobilenet": (2, 2), "resnet": (4, 4)}  # 64 pixels over 32; 32 pixels over 8
REGIONS = SIDE_CELLS**2 + 1  # of a ViT, its class token included


def explained(policy: Policy, photo: Image.Image, length: int) -> tuple[TokenAttention, Tensor, Captions]:
    """The attention of all words of a caption of so many tokens."""
    pixels = policy.process_images([photo])
    with torch.no_grad():
        encoded = policy.encode(Batch(("photo",), ((),), pixel_values=pixels))
        ids = policy.caption(encoded, Decoding(max_length=length)).token_ids[0].tolist()
    ids = (ids * length)[:length]  # whatever it says, of this length
    caption = Captions(torch.tensor([ids]), torch.ones(1, length, dtype=torch.bool))
    return token_attention(policy, pixels, caption, range(length)), pixels, caption


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gives_finite_maps_of_its_grid(name: str, load: Load, photo: Image.Image) -> None:
    length = 4
    policy: Policy = load(name)
    before = [module.config._attn_implementation for module in policy.modules() if hasattr(module, "config")]
    found, pixels, caption = explained(policy, photo, length)
    assert found.grid == GRIDS.get(name, (SIDE_CELLS, SIDE_CELLS))
    cells = found.grid[0] * found.grid[1]
    for maps in (found.relevance, found.gradient_attention):
        assert maps.shape == (length, cells)
        assert maps.isfinite().all()
        assert (maps >= 0).all()
        assert maps.any()
    assert (found.relevance.sum(dim=1) > 0).all()
    with torch.no_grad():  # as it computes attention otherwise
        encoded = policy.encode(Batch(("photo",), ((),), pixel_values=pixels))
        expected = policy.logprobs(encoded, caption)[0].exp()
    torch.testing.assert_close(found.probabilities, expected, atol=1e-5, rtol=0)
    # nothing is left behind
    assert [m.config._attn_implementation for m in policy.modules() if hasattr(m, "config")] == before
    hooks = [hook for module in policy.modules() for hook in module._forward_hooks.values()]
    assert not any(hook.__module__.startswith("rlcap") for hook in hooks)
    assert all(parameter.grad is None for parameter in policy.parameters())


@pytest.mark.parametrize("name", ["vit-gpt2", "git", "vit"])
def test_a_frozen_encoder_is_explained_like_a_learning_one(name: str, load: Load, photo: Image.Image) -> None:
    learning, _, caption = explained(load(name), photo, 3)
    frozen, _, same = explained(load(name, freeze=True), photo, 3)
    assert torch.equal(caption.token_ids, same.token_ids)
    assert len(frozen.encoder) == len(learning.encoder) == 2
    torch.testing.assert_close(frozen.relevance, learning.relevance)


def weighted(odds: Tensor, attentions: tuple[Tensor, ...]) -> list[Tensor]:
    """The mean over heads of attention times gradient, where it is positive, by autograd."""
    gradients = torch.autograd.grad(odds, attentions, retain_graph=True)
    return [(gradient * own).clamp(min=0).mean(dim=1)[0] for own, gradient in zip(attentions, gradients, strict=True)]


def own_maps(name: str, policy: Policy, pixels: Tensor, inputs: Tensor) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Logits, and the attention of the encoder, the words, and the words to the image, as the model itself has them."""
    model = policy.model
    assert isinstance(model, nn.Module)
    if name == "blip":
        vision = model.vision_model(pixel_values=pixels, output_attentions=True)
        text = model.text_decoder(
            input_ids=inputs,
            encoder_hidden_states=vision.last_hidden_state,
            is_decoder=True,
            output_attentions=True,
            use_cache=False,
        )
        return text.logits[0], [vision.attentions, text.attentions, text.cross_attentions]
    ones = torch.ones_like(inputs)
    done = model(
        pixel_values=pixels,
        decoder_input_ids=inputs,
        decoder_attention_mask=ones,
        output_attentions=True,
        use_cache=False,
    )
    return done.logits[0], [done.encoder_attentions, done.decoder_attentions, done.cross_attentions]


# As many tokens as regions: maps of words to words and of words to regions are then of one shape.
@pytest.mark.parametrize("length", [3, REGIONS])
@pytest.mark.parametrize("name", ["vit-gpt2", "vit-bert", "blip"])
def test_maps_are_the_models_own_weighted_by_autograd(name: str, length: int, load: Load, photo: Image.Image) -> None:
    policy = load(name)
    found, pixels, caption = explained(policy, photo, length)
    with eager(policy):
        logits, attentions = own_maps(name, policy, pixels, caption.inputs(policy.start_id))
    assert [len(found.encoder), len(found.words), len(found.across), len(found.joint)] == [2, 2, 2, 0]
    for position, token in enumerate(caption.token_ids[0].tolist()):
        odds = logits[position].softmax(0)[token].logit()
        for ours, theirs in zip((found.encoder, found.words, found.across), attentions, strict=True):
            for layer, expected in zip(ours, weighted(odds, theirs), strict=True):
                torch.testing.assert_close(layer[position], expected, atol=1e-5, rtol=1e-3)  # odds by way of logits
        last = weighted(odds, attentions[2])[-1]
        torch.testing.assert_close(found.gradient_attention[position], last[position, 1:], atol=1e-5, rtol=1e-3)


def test_maps_of_one_stream_are_the_models_own(load: Load, photo: Image.Image) -> None:
    policy = load("git")
    found, pixels, caption = explained(policy, photo, 4)
    with eager(policy):
        done = policy.model(
            pixel_values=pixels,
            input_ids=caption.inputs(policy.start_id),
            output_attentions=True,
            use_cache=False,
        )
    assert [len(found.encoder), len(found.words), len(found.across), len(found.joint)] == [2, 0, 0, 2]
    logits = done.logits[0, REGIONS:] if done.logits.shape[1] > 4 else done.logits[0]
    for position, token in enumerate(caption.token_ids[0].tolist()):
        odds = logits[position].softmax(0)[token].logit()
        expected = weighted(odds, done.attentions)
        for layer, own in zip(found.joint, expected, strict=True):
            torch.testing.assert_close(layer[position], own, atol=1e-5, rtol=1e-3)
        last = expected[-1][REGIONS + position, 1:REGIONS]
        torch.testing.assert_close(found.gradient_attention[position], last, atol=1e-5, rtol=1e-3)


def test_log_odds_are_of_a_token_over_all_others() -> None:
    """Probabilities 1/4 and 3/4: odds of 1 to 3."""
    assert log_odds(torch.tensor([0.0, 0.0, 2.0]).exp().log(), 2).item() == pytest.approx(2 - torch.tensor(2.0).log())
    assert log_odds(torch.tensor([0.0, 3.0]).add(1).log(), 0).item() == pytest.approx(-torch.tensor(4.0).log())


def test_a_policy_whose_regions_have_no_place_is_refused(load: Load, photo: Image.Image) -> None:
    policy = load("vit")
    caption = Captions(torch.tensor([[4, 5]]), torch.ones(1, 2, dtype=torch.bool))
    policy.encode_grid = lambda pixels: Policy.encode_grid(policy, pixels)
    with pytest.raises(UserError, match="BackboneDecoder does not say where its regions lie"):
        token_attention(policy, policy.process_images([photo]), caption, [0])


class _Encoder(nn.Module):
    def __init__(self, patch_size: int | None) -> None:
        super().__init__()
        self.config = type("Config", (), {"patch_size": patch_size} if patch_size else {})()


@pytest.mark.parametrize(
    ("patch", "size", "regions", "grid"),
    [
        (16, (224, 224), 197, (14, 14)),  # ViT
        (16, (224, 224), 198, (14, 14)),  # DeiT, with a distillation token
        (14, (224, 224), 261, (16, 16)),  # DINOv2 with registers
        (16, (48, 96), 19, (3, 6)),
        (4, (224, 224), 49, (7, 7)),  # Swin and ConvNeXt: patches are merged
        (None, (64, 128), 8, (2, 4)),  # a convolutional one
        (None, (128, 64), 8, (4, 2)),
        (None, (100, 128), 12, (3, 4)),
    ],
)
def test_grids(patch: int | None, size: tuple[int, int], regions: int, grid: tuple[int, int]) -> None:
    assert grid_of(_Encoder(patch), torch.zeros(1, 3, *size), regions) == grid
