"""Tokens against patches: the joint space of a tiny CLIP, batches, and what is refused."""

import numpy as np
import pytest
import torch
from captioners import PATCH, SIDE
from text_encoders import build_bert
from tiny_models import build_clip, build_siglip, noise
from transformers import AutoModel, AutoTokenizer, CLIPImageProcessor

from rewards.base import Candidates, OpenedWhenRead, RewardError
from rewards.patch_transport import PatchTransport
from rewards.transport import Sinkhorn

CAPTIONS = ["a cat sits", "the red dog", "a cat sits", "", "the dog runs here"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_clip(tmp_path_factory.mktemp("clip")))


def test_tokens_and_patches_lie_in_the_space_of_captions_and_images(clip: str) -> None:
    """The end token's embedding is the caption's; the class token, led the way of the patches, is the image's."""
    reward, model = PatchTransport(clip), AutoModel.from_pretrained(clip).eval()
    inputs = AutoTokenizer.from_pretrained(clip)(["a cat"], return_tensors="pt")
    pixels = CLIPImageProcessor.from_pretrained(clip, use_fast=False)(noise(1), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        (text,) = reward.encoder(["a cat"], 1, reward.device)
        caption = torch.nn.functional.normalize(model.get_text_features(**inputs).pooler_output, dim=1)
        torch.testing.assert_close(text.vectors[-1:], caption, atol=1e-5, rtol=0)
        patches, grid = reward.patches(noise(1))
        vision = model.vision_model
        hidden = vision.post_layernorm(vision(pixel_values=pixels).last_hidden_state)
        projected = torch.nn.functional.normalize(model.visual_projection(hidden), dim=2)
        image = torch.nn.functional.normalize(model.get_image_features(pixels).pooler_output, dim=1)
    assert text.is_text.tolist() == [False, True, True, False]
    assert grid == (SIDE // PATCH, SIDE // PATCH)
    torch.testing.assert_close(projected[:, 0], image, atol=1e-5, rtol=0)
    torch.testing.assert_close(patches, projected[:, 1:], atol=1e-5, rtol=0)


def test_a_batch_is_its_captions_one_by_one(clip: str) -> None:
    images, place = noise(3), [0, 1, 1, 2, 2]
    candidates = Candidates(CAPTIONS, images=[images[row] for row in place], image_ids=[str(row) for row in place])
    scores = PatchTransport(clip, batch_size=2)(candidates)
    alone = PatchTransport(clip)
    one_by_one = [
        float(alone(Candidates([caption], images=[images[row]]))[0])
        for caption, row in zip(CAPTIONS, place, strict=True)
    ]
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, one_by_one, atol=1e-5)
    assert scores[3] == 0  # no tokens
    assert abs(scores[0] - scores[2]) > 1e-3  # the same caption of two images
    assert alone(Candidates([], images=[])).tolist() == []


def test_an_image_is_looked_at_once(clip: str) -> None:
    reward, seen = PatchTransport(clip), list[int]()
    reward.model.vision_model.register_forward_pre_hook(
        lambda _, args, inputs: seen.append(len(inputs["pixel_values"])), with_kwargs=True
    )
    images = OpenedWhenRead([lambda row=row: noise(2)[row] for row in (0, 0, 1, 1, 1)])
    reward(Candidates(CAPTIONS, images=images, image_ids=["a", "a", "b", "b", "b"]))
    assert seen == [2]


def test_an_alignment_is_what_the_reward_is_made_of(clip: str) -> None:
    reward = PatchTransport(clip, solver=Sinkhorn())
    (image,) = noise(1)
    alignment = reward.alignment("the dog runs", image)
    assert alignment.rows == ("the", "dog", "runs")
    assert alignment.grid == (2, 2)
    assert alignment.columns == ("1, 1", "1, 2", "2, 1", "2, 2")
    np.testing.assert_allclose(alignment.plan.sum(axis=0), 1 / 4, atol=1e-6)
    assert alignment.reward == pytest.approx(float(reward(Candidates(["the dog runs"], images=[image]))[0]), abs=1e-5)
    assert str(reward.signature).endswith("|precision:float32|solver:sinkhorn-0.05-100|v:0.1.0")


@pytest.mark.parametrize("kind", ["bert", "siglip"])
def test_models_without_a_joint_space_of_tokens_and_patches(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp(kind)
    checkpoint = str(build_bert(directory) if kind == "bert" else build_siglip(directory))
    with pytest.raises(RewardError, match=r"is a \w+ without \w+, so its tokens and patches have no space in common"):
        PatchTransport(checkpoint)


def test_images_are_needed(clip: str) -> None:
    with pytest.raises(RewardError, match=r"Candidates\.images is None"):
        PatchTransport(clip)(Candidates(["a cat"]))
