"""Dual encoders as reward models: what they promise the loop, and the rewards that their folders become."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captioners import build_mobilenet, build_vit
from text_encoders import build_bert
from tiny_models import LONGEST, build_clip, build_siglip, noise
from torch import nn

from rewards.base import Candidates
from rewards.clip import ClipScore
from rlcap.policies.backbone_decoder import BackboneDecoder
from rlcap.reward_models.base import REFERENCE_MEAN, load_reward_model
from rlcap.reward_models.dual_encoder import DualEncoder, PretrainedDualEncoder, scaled_cosine
from rlcap.reward_models.visual_semantic import Heads, PatchEncoder, TinyDualEncoder, VisualSemanticModel
from rlcap.reward_models.words import WordEncoder, word_tokenizer
from rlcap.types import Batch, Captions, UserError

CAPTIONS = ("a cat sits here", "the red dog runs", "blue", "a dog")
REFERENCES = ((CAPTIONS[0],), (CAPTIONS[1], CAPTIONS[2]), (CAPTIONS[3],))
HEADS = Heads(width=8, hidden=16, dropout=0.0)
Build = Callable[[], DualEncoder]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Checkpoints as from the hub."""
    folder = tmp_path_factory.mktemp("hub")
    for name, build in {
        "mobilenet": build_mobilenet,
        "vit": build_vit,
        "clip": build_clip,
        "siglip": build_siglip,
    }.items():
        build(folder / name)
    build_bert(folder / "bert")
    return {path.name: str(path) for path in folder.iterdir()}


def tiny() -> TinyDualEncoder:
    text = WordEncoder(width=16, layers=1, heads=2, dropout=0.1, min_count=1, positions=12)
    model = TinyDualEncoder(32, PatchEncoder(width=16, layers=1, heads=2), text, HEADS)
    model.prepare(REFERENCES)
    return model


def builders(parts: dict[str, str]) -> dict[str, Build]:
    return {
        "mobilenet_bert": lambda: VisualSemanticModel(parts["mobilenet"], parts["bert"], 64, heads=HEADS),
        "learning": lambda: VisualSemanticModel(
            parts["vit"], parts["bert"], 64, freeze_vision=False, heads=replace(HEADS, dropout=0.1)
        ),
        "clip_parts_frozen": lambda: VisualSemanticModel(parts["clip"], parts["clip"], freeze_text=True, heads=HEADS),
        "clip": lambda: PretrainedDualEncoder(parts["clip"]),
        "clip_locked": lambda: PretrainedDualEncoder(parts["clip"], freeze_vision=True),
        "siglip": lambda: PretrainedDualEncoder(parts["siglip"]),
        "siglip_locked": lambda: PretrainedDualEncoder(parts["siglip"], freeze_vision=True),
        "tiny": tiny,
    }


NAMES = tuple(builders({}))
LOCKED = tuple(
    name for name in NAMES if name in ("mobilenet_bert", "clip_parts_frozen", "clip_locked", "siglip_locked")
)


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, parts: dict[str, str]) -> DualEncoder:
    torch.manual_seed(0)
    return builders(parts)[request.param]()


def batch(model: DualEncoder) -> Batch:
    return Batch(("a", "b", "c", "d"), ((),) * 4, model.process_images(noise(4, size=(50, 40))))


def scores(model: DualEncoder, given: Batch, captions: Captions) -> torch.Tensor:
    with torch.no_grad():
        return model.score(model.encode(given), captions)


def test_scaled_cosine_on_hand_worked_numbers() -> None:
    images, texts = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [-2.0, 0.0]])
    # cosines 24/25 and -1, times e^log(10)
    torch.testing.assert_close(scaled_cosine(images, texts, torch.tensor(10.0).log()), torch.tensor([9.6, -10.0]))


def test_saved_and_loaded_it_scores_the_same_to_the_bit(model: DualEncoder, tmp_path: Path) -> None:
    model.measured({REFERENCE_MEAN: 0.1})
    model.save(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    again = load_reward_model(str(tmp_path))
    assert isinstance(again, type(model))
    again.prepare(())  # changes nothing, and asks for no references
    captions = model.tokenize(CAPTIONS, 20)
    assert torch.equal(again.tokenize(CAPTIONS, 20).token_ids, captions.token_ids)
    model.eval(), again.eval()
    given = batch(model)
    assert torch.equal(scores(again, given, captions), scores(model, given, captions))
    assert torch.equal(again.shift, torch.tensor(0.1))
    assert torch.equal(model.shift, again.shift)
    learning, loaded = ({n: p.requires_grad for n, p in each.named_parameters()} for each in (model, again))
    assert learning == loaded
    assert again.feature_shape == model.feature_shape


def test_clip_score_of_its_folder_is_its_cosine(model: DualEncoder, tmp_path: Path) -> None:
    with torch.no_grad():
        model.logit_scale.fill_(2.0)  # in place, as contrastive learning clamps it
    model.eval().save(tmp_path)
    reward = ClipScore(str(tmp_path), prompt="", weight=1.0)
    long = " ".join(CAPTIONS * 3)  # cut by both
    captions = [*CAPTIONS[:3], long]
    images, own = reward.embed_images(Candidates(captions, images=noise(4, size=(50, 40))))
    cosines = (images[own] * reward.embed_captions(captions)).sum(axis=1)
    found = scores(model, batch(model), model.tokenize(captions, 1000)) / np.exp(2.0)
    assert len(set(cosines.round(3))) == 4
    np.testing.assert_allclose(found.numpy(), cosines, rtol=1e-4, atol=1e-5)


def test_features_are_a_shortcut(parts: dict[str, str]) -> None:
    for name in LOCKED:
        model = builders(parts)[name]().eval()
        given = batch(model)
        kept = model.with_features(given)
        assert kept.pixel_values is None
        assert kept.features is not None
        assert kept.features.shape[1:] == model.feature_shape
        with torch.no_grad():
            assert torch.equal(model.embed_images(kept), model.embed_images(given))
    whole = builders(parts)["learning"]()
    assert whole.feature_shape is None
    assert whole.with_features(batch(whole)).features is None


def test_what_is_frozen_stays_and_all_else_learns(model: DualEncoder) -> None:
    """No parameter that learns goes without a gradient, which data-parallel training would wait for."""
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    learning = dict(model.named_parameters())
    frozen = {name for name, parameter in learning.items() if not parameter.requires_grad}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    encoded, captions = model.encode(batch(model)), model.tokenize(CAPTIONS, 20)
    (model.score(encoded, captions) * torch.tensor([1.0, 2.0, -1.0, 0.5])).sum().backward()
    assert {name for name, parameter in learning.items() if parameter.grad is None} == frozen
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert not changed & frozen
    vision = {f"model.{name}" for name, _ in model.model.named_parameters() if name.split(".")[0].startswith("vis")}
    text = {f"model.{name}" for name, _ in model.model.named_parameters() if name.split(".")[0].startswith("text")}
    assert vision
    assert text
    assert vision <= frozen if model.freeze_vision else len(vision & changed) > len(vision) / 2
    if not getattr(model, "freeze_text", False):
        assert len(text & changed) > len(text) / 2
    assert "model.logit_scale" in changed


def test_what_is_frozen_and_batch_norms_stay_in_evaluation_mode(parts: dict[str, str]) -> None:
    model = builders(parts)["clip_parts_frozen"]().train()
    assert [model.model.vision.training, model.model.text.training] == [False, False]
    assert model.model.text_head.training
    learning = VisualSemanticModel(parts["mobilenet"], parts["bert"], 64, freeze_vision=False, heads=HEADS).train()
    norms = [module for module in learning.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert learning.model.vision.training


def test_text_is_cut_where_told_and_special_tokens_are_read(parts: dict[str, str]) -> None:
    model = builders(parts)["mobilenet_bert"]()
    long = " ".join(CAPTIONS * 20)
    captions = model.tokenize([*CAPTIONS, "", long], 6)
    assert captions.token_ids.shape == (6, 6)
    assert captions.mask.sum(dim=1).tolist() == [6, 6, 3, 4, 2, 6]  # CLS and SEP are two of them
    assert model.tokenize([long], 10_000).token_ids.shape[1] == 40  # positions of the text encoder
    assert len(model.tokenize([], 5)) == 0
    siglip = builders(parts)["siglip"]()
    assert siglip.tokenize(["A CAT"], 5).mask.sum() == LONGEST  # padding is read too
    assert torch.equal(siglip.tokenize(["A CAT"], 5).token_ids, siglip.tokenize(["a cat"], 9).token_ids)


def test_features_are_shared_with_a_captioner_of_the_same_encoder(parts: dict[str, str]) -> None:
    policy = BackboneDecoder(parts["mobilenet"], 64).eval()
    model = builders(parts)["mobilenet_bert"]().eval()
    assert model.fingerprint == policy.fingerprint
    pixels = model.process_images(noise(2))
    assert torch.equal(model.features(pixels), policy.features(pixels))
    locked = builders(parts)["clip_locked"]()
    before = locked.fingerprint
    with torch.no_grad():
        locked.logit_scale.add_(1.0)
        for parameter in locked.model.text_model.parameters():
            parameter.add_(1.0)
    assert locked.fingerprint == before
    with torch.no_grad():
        locked.model.visual_projection.weight.add_(1.0)
    assert locked.fingerprint != before


def test_words_of_the_references_are_the_tokens(tmp_path: Path) -> None:
    tokenizer = word_tokenizer([["A dog's t-shirt, red.", "a DOG"], ["Café (red)"]], min_count=2, positions=6)
    assert tokenizer.get_vocab() == {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "dog": 5, "red": 6}
    assert tokenizer("Dog, a cafe!")["input_ids"] == [2, 5, 4, 1, 3]
    assert tokenizer("a a a a a a a", truncation=True)["input_ids"] == [2, 4, 4, 4, 4, 3]
    with pytest.raises(UserError, match="no word occurs 9 times"):
        word_tokenizer([["a"]], min_count=9, positions=6)


def test_mistakes_are_told_in_one_line(parts: dict[str, str], tmp_path: Path) -> None:
    def no_padding() -> Any:
        folder = tmp_path / "text"
        build_bert(folder)
        file = folder / "tokenizer_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "pad_token": None}))
        return VisualSemanticModel(parts["vit"], str(folder))

    mistakes: list[tuple[Callable[[], Any], str]] = [
        (lambda: PretrainedDualEncoder(parts["bert"]), "no space that images and texts share"),
        (lambda: PretrainedDualEncoder(str(tmp_path / "nothing")), "cannot load"),
        (lambda: VisualSemanticModel(parts["vit"], str(tmp_path / "nothing")), "cannot load"),
        (no_padding, "no padding token"),
        (lambda: WordEncoder(width=10, heads=4), "no multiple"),
    ]
    for mistake, message in mistakes:
        with pytest.raises(UserError, match=message) as caught:
            mistake()
        assert "\n" not in str(caught.value)
