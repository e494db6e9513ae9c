"""Dual encoders trained in rlcap as rewards: what is saved is what is loaded, and CLIPScore is their cosine."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from captioners import WIDTH, build_mobilenet, build_vit
from text_encoders import build_bert
from tiny_models import noise
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, BertModel, MobileNetV2Model, ViTModel

from rewards.base import Candidates
from rewards.clip import ClipScore
from rewards.networks.visual_semantic import VisualSemantic, masked_max, masked_mean

CAPTIONS = ["a cat sits here", "the red dog runs", "blue"]
VISION = {"mobilenet": build_mobilenet, "vit": build_vit}


def build(folder: Path, name: str) -> Path:
    """A saved model: a grid or a sequence of regions, and BERT."""
    VISION[name](folder / "vision")
    text = build_bert(folder / "text")
    torch.manual_seed(1)
    kind, width = (MobileNetV2Model, 1280) if name == "mobilenet" else (ViTModel, WIDTH)
    vision = kind.from_pretrained(folder / "vision", add_pooling_layer=False)
    bert = BertModel.from_pretrained(text, add_pooling_layer=False)
    model = VisualSemantic.joining(vision, bert, width, width=8, hidden=16, dropout=0.5)
    with torch.no_grad():
        model.logit_scale.fill_(1.5)
    model.save_pretrained(folder / "saved")
    AutoTokenizer.from_pretrained(text).save_pretrained(folder / "saved")
    processor = AutoImageProcessor.from_pretrained(folder / "vision", backend="pil")
    processor.size, processor.do_center_crop = {"height": 64, "width": 64}, False
    processor.save_pretrained(folder / "saved")
    torch.save(model.state_dict(), folder / "state.pt")
    return folder


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: build(tmp_path_factory.mktemp(name), name) for name in VISION}


@pytest.fixture(params=sorted(VISION))
def directory(request: pytest.FixtureRequest, directories: dict[str, Path]) -> Path:
    return directories[request.param]


def inputs(directory: Path) -> tuple[Tensor, dict[str, Tensor]]:
    processor = AutoImageProcessor.from_pretrained(directory / "saved", backend="pil")
    pixels = processor(images=noise(3, size=(70, 50)), return_tensors="pt")["pixel_values"]
    return pixels, AutoTokenizer.from_pretrained(directory / "saved")(CAPTIONS, padding=True, return_tensors="pt")


def test_hand_worked_mean_and_maximum_over_what_the_mask_lets_through() -> None:
    states = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [9.0, 9.0]], [[5.0, 5.0], [6.0, 6.0], [7.0, 7.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert masked_mean(states, mask).tolist() == [[2.0, -3.0], [0.0, 0.0]]
    assert masked_max(states, mask).tolist() == [[3.0, -2.0], [0.0, 0.0]]


def test_what_is_loaded_is_what_was_saved(directory: Path) -> None:
    model = AutoModel.from_pretrained(directory / "saved")
    assert type(model) is VisualSemantic
    state = torch.load(directory / "state.pt")
    assert state.keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)
    assert {path.name for path in (directory / "saved").iterdir() if path.suffix not in (".json", ".txt")} == {
        "model.safetensors"
    }
    config = json.loads((directory / "saved" / "config.json").read_text())
    assert str(directory) not in json.dumps(config)


def test_pretrained_encoders_go_in_as_they_are(directory: Path) -> None:
    model = AutoModel.from_pretrained(directory / "saved").eval()
    pixels, tokens = inputs(directory)
    with torch.no_grad():
        seen = AutoModel.from_pretrained(directory / "vision").eval()
        options = {} if isinstance(seen, MobileNetV2Model) else {"interpolate_pos_encoding": True}
        states = seen(pixel_values=pixels, **options).last_hidden_state
        regions = states.flatten(2).mT if states.ndim == 4 else states
        torch.testing.assert_close(model.regions(pixels), regions, rtol=0, atol=0)
        read = AutoModel.from_pretrained(directory / "text").eval()(**tokens).last_hidden_state
        torch.testing.assert_close(
            model.get_text_features(**tokens), model.text_head(read, tokens["attention_mask"].bool()), rtol=0, atol=0
        )


def test_padding_changes_no_text(directory: Path) -> None:
    model = AutoModel.from_pretrained(directory / "saved").eval()
    tokenizer = AutoTokenizer.from_pretrained(directory / "saved")
    with torch.no_grad():
        together = model.get_text_features(
            **tokenizer(CAPTIONS, padding="max_length", max_length=20, return_tensors="pt")
        )
        for caption, row in zip(CAPTIONS, together, strict=True):
            alone = model.get_text_features(**tokenizer(caption, return_tensors="pt"))[0]
            torch.testing.assert_close(alone, row, rtol=1e-4, atol=1e-5)
        without_mask = model.get_text_features(tokenizer(CAPTIONS[0], return_tensors="pt")["input_ids"])[0]
        torch.testing.assert_close(without_mask, together[0], rtol=1e-4, atol=1e-5)


def test_clip_score_is_the_cosine(directory: Path) -> None:
    model = AutoModel.from_pretrained(directory / "saved").eval()
    pixels, tokens = inputs(directory)
    with torch.no_grad():
        images, texts = model.get_image_features(pixels), model.get_text_features(**tokens)
        expected = ((images * texts).sum(1) / images.norm(dim=1) / texts.norm(dim=1)).double().numpy()
    given = Candidates(CAPTIONS, images=noise(3, size=(70, 50)))
    reward = ClipScore(str(directory / "saved"), prompt="", weight=1.0)
    embedded, own = reward.embed_images(given)
    cosines = (embedded[own] * reward.embed_captions(CAPTIONS)).sum(axis=1)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(cosines, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(reward(given), np.maximum(expected, 0), rtol=1e-4, atol=1e-5)


def test_a_fresh_interpreter_needs_no_other_import(directories: dict[str, Path]) -> None:
    saved = [str(folder / "saved") for folder in directories.values()]
    program = f"""
import json
from rewards.clip import ClipScore
from rewards.base import Candidates
from PIL import Image
given = Candidates(["a cat"], images=[Image.new("RGB", (9, 9))])
rewards = [ClipScore(directory, prompt="") for directory in {saved!r}]
print(json.dumps([[type(reward.model).__name__, len(reward(given))] for reward in rewards]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [["VisualSemantic", 1]] * 2


def test_batch_norms_keep_their_statistics_while_dropout_is_on(directory: Path) -> None:
    model = AutoModel.from_pretrained(directory / "saved").train()
    assert model.image_head.training
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert bool(norms) == isinstance(model.vision, MobileNetV2Model)
    assert not any(norm.training for norm in norms)
