"""CLIPScore and RefCLIPScore against transformers' own CLIP and SigLIP, and what is computed only once."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import SELF_CRITICAL, experiment, trainer
from tiny_models import LONGEST, build_clip, build_siglip, build_vit_only, noise
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, SiglipModel

from rewards.base import Candidates, OpenedWhenRead, RewardError
from rewards.clip import ClipScore, RefClipScore, clip_score, ref_clip_score

CAPTIONS = ["a cat sits here", "the red dog", "blue dog runs", "a cat sits here", "the cat"]
REFERENCES = [["a cat", "the cat sits"], ["red dog here"], ["a dog", "dog runs", "blue"], ["a cat"], ["the dog"]]
IDS = ["1", "2", "3", "1", "2"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_clip(tmp_path_factory.mktemp("clip")))


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_siglip(tmp_path_factory.mktemp("siglip")))


def candidates() -> Candidates:
    images = noise(3, size=(40, 33))
    return Candidates(CAPTIONS, references=REFERENCES, image_ids=IDS, images=[images[int(name) - 1] for name in IDS])


def embedded(reward: ClipScore) -> dict[str, list[int]]:
    """How many images and texts go through the model's encoders from now on, call by call."""
    sizes: dict[str, list[int]] = {"images": [], "texts": []}
    model: Any = reward.model
    model.vision_model.register_forward_pre_hook(
        lambda _, __, inputs: sizes["images"].append(len(inputs["pixel_values"])), with_kwargs=True
    )
    model.text_model.register_forward_pre_hook(
        lambda _, __, inputs: sizes["texts"].append(len(inputs["input_ids"])), with_kwargs=True
    )
    return sizes


def clip_cosines(directory: str, texts: Sequence[str], images: Sequence[Image.Image]) -> np.ndarray:
    """Cosines of all texts with all images from the logits of one forward of CLIPModel."""
    model = CLIPModel.from_pretrained(directory).eval()
    tokens = AutoTokenizer.from_pretrained(directory)(
        list(texts), padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"
    )
    pixels = AutoImageProcessor.from_pretrained(directory, backend="pil")(images=list(images), return_tensors="pt")
    with torch.no_grad():
        logits = model(**tokens, **pixels).logits_per_image / model.logit_scale.exp()
    return logits.T.double().numpy()


def test_the_formulas_on_hand_worked_numbers() -> None:
    np.testing.assert_allclose(clip_score(np.array([0.3, -0.2])), [0.75, 0.0])
    # harmonic means of 0.75 and 0.5, of 0.5 and 0, of 0 and 0.9, of 0 and 0
    expected = [2 * 0.75 * 0.5 / 1.25, 0.0, 0.0, 0.0]
    scores = ref_clip_score(np.array([0.75, 0.5, 0.0, 0.0]), np.array([0.5, -0.1, 0.9, -1.0]))
    np.testing.assert_allclose(scores, expected)


@pytest.mark.parametrize("batch_size", [2, 64])
def test_clip_score_is_the_formula_on_the_logits_of_transformers(clip: str, batch_size: int) -> None:
    images = noise(3, size=(40, 33))
    cosines = clip_cosines(clip, [f"A photo depicts {caption}" for caption in CAPTIONS], images)
    expected = 2.5 * np.maximum(cosines, 0).ravel()
    assert (expected > 0.05).sum() >= 4  # the test must not rest on zeros
    every = Candidates([caption for caption in CAPTIONS for _ in images], images=images * len(CAPTIONS))
    np.testing.assert_allclose(ClipScore(clip, batch_size=batch_size)(every), expected, rtol=1e-5, atol=1e-6)


def test_ref_clip_score_is_the_harmonic_mean_with_the_nearest_reference(clip: str) -> None:
    given = candidates()
    reward = RefClipScore(clip, weight=2.0, prompt="a")
    model = CLIPModel.from_pretrained(clip).eval()
    tokenizer = AutoTokenizer.from_pretrained(clip)
    scores = ClipScore(clip, weight=2.0, prompt="a")(given)

    def embed(text: str) -> torch.Tensor:
        with torch.no_grad():
            features = model.get_text_features(**tokenizer(f"a {text}", return_tensors="pt")).pooler_output[0]
        return features / features.norm()

    for caption, references, score, got in zip(CAPTIONS, REFERENCES, scores, reward(given), strict=True):
        nearest = max(0.0, *(float(embed(caption) @ embed(reference)) for reference in references))
        expected = 2 * score * nearest / (score + nearest) if score + nearest else 0.0
        assert got == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert reward.needs_references
    assert not ClipScore.needs_references


def test_siglip_reads_lower_case_padded_to_its_length_without_a_mask(siglip: str) -> None:
    given = candidates()
    capitals = Candidates([caption.title() for caption in CAPTIONS], image_ids=IDS, images=given.images)
    model = SiglipModel.from_pretrained(siglip).eval()
    tokenizer = AutoTokenizer.from_pretrained(siglip)
    ids = tokenizer(
        [f"this is {caption}" for caption in CAPTIONS], padding="max_length", max_length=LONGEST, return_tensors="pt"
    )["input_ids"]
    pixels = AutoImageProcessor.from_pretrained(siglip, backend="pil")(images=given.images, return_tensors="pt")
    with torch.no_grad():
        logits = model(input_ids=ids, **pixels).logits_per_text
        cosines = ((logits - model.logit_bias) / model.logit_scale.exp()).double().numpy()
    expected = np.maximum(np.diag(cosines), 0)
    assert (expected > 0.05).any()
    for each in (given, capitals):
        scores = ClipScore(siglip, prompt="This is", weight=1.0)(each)
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_an_image_is_embedded_once_while_it_is_remembered(clip: str) -> None:
    reward = ClipScore(clip, batch_size=2, remembered_images=2)
    sizes = embedded(reward)
    first = reward(candidates())
    assert sizes == {"images": [2, 1], "texts": [2, 2]}  # 3 images of 5 rows; 4 captions, one of them twice
    sizes["images"].clear()
    known = reward(candidates().select([1, 2, 4]))  # of the two images used last
    np.testing.assert_allclose(known, first[[1, 2, 4]], atol=1e-6)  # other captions beside them
    assert sizes["images"] == []
    reward(candidates())
    assert sizes["images"] == [1]  # the one forgotten


def test_references_are_embedded_once(clip: str) -> None:
    reward = RefClipScore(clip)
    sizes = embedded(reward)
    first = reward(candidates())
    assert sizes["texts"] == [4, 7]  # 7 distinct among 8 references
    np.testing.assert_array_equal(reward(candidates()), first)
    assert sizes["texts"] == [4, 7, 4]


def test_only_images_not_known_are_opened_and_one_batch_at_a_time(clip: str) -> None:
    images, opened = noise(3), list[int]()

    def opener(number: int) -> Any:
        return lambda: opened.append(number) or images[number]  # type: ignore[func-returns-value]

    openers = [opener(number) for number in range(3)]
    rows = [int(name) - 1 for name in IDS]
    reward = ClipScore(clip)
    with_ids = Candidates(CAPTIONS, image_ids=IDS, images=OpenedWhenRead([openers[row] for row in rows]))
    without_ids = Candidates(CAPTIONS, images=OpenedWhenRead([openers[row] for row in rows]))
    opened.clear()  # type checks look into an image or two
    expected = reward(with_ids)
    reward(with_ids)
    assert opened == [0, 1, 2]
    opened.clear()
    np.testing.assert_array_equal(reward(without_ids), expected)
    reward(without_ids)
    assert opened == [0, 1, 2, 0, 1, 2]  # told apart within a call, and not kept


def test_without_ids_another_image_is_never_taken_for_one_seen(clip: str) -> None:
    reward = ClipScore(clip, weight=1.0)
    words = [*CAPTIONS, "blue", "red", "runs here"]
    scores = {tuple(reward(Candidates(words, images=noise(1, seed=seed) * len(words)))) for seed in range(8)}
    assert len(scores) == 8


def test_captions_beyond_the_text_model_are_cut_counted_and_told_once(
    clip: str, caplog: pytest.LogCaptureFixture
) -> None:
    reward = ClipScore(clip, prompt="", weight=1.0)
    kept = LONGEST - 2  # between start and end
    words = ["dog", "cat", "red", "blue", "runs", "sits", "here", "a", "the", "x", "y", "z"]
    long, exact = " ".join(words), " ".join(words[:kept])
    image = noise(1)[0]
    with caplog.at_level(logging.WARNING, logger="rewards.networks.dual_encoder"):
        scores = reward(Candidates([long, exact, long, "a dog"], images=[image] * 4))
        assert reward.cut_share == 0.5
        reward(Candidates([long], images=[image]))
        assert reward.cut_share == 1.0
    assert [record.message.split(": ")[1] for record in caplog.records] == ["2 of 4 captions are longer and were cut"]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    reward(Candidates([exact], images=[image]))
    assert reward.cut_share == 0.0


def test_bfloat16_stays_near_float32(clip: str) -> None:
    exact, rough = ClipScore(clip), ClipScore(clip, precision="bfloat16")
    scores = exact(candidates())
    np.testing.assert_allclose(rough(candidates()), scores, atol=0.05)  # 2.5 times what 8 bits of mantissa leave
    assert str(exact.signature) != str(rough.signature)


def test_scores_are_the_same_in_an_autocast_run_and_carry_no_gradients(clip: str) -> None:
    reward = RefClipScore(clip)
    reward.to("cpu")
    expected = reward(candidates())
    other = RefClipScore(clip)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(other(candidates()), expected)
    assert not any(weights.requires_grad for weights in reward.model.parameters())


def test_the_signature_tells_what_changes_the_number_and_no_path(clip: str, tmp_path: Path) -> None:
    other = str(build_clip(tmp_path / "clip", seed=1))
    signatures = {
        str(reward.signature)
        for reward in (
            ClipScore(clip),
            ClipScore(other),
            ClipScore(clip, prompt=""),
            ClipScore(clip, weight=1.0),
            RefClipScore(clip),
        )
    }
    assert len(signatures) == 5
    assert not any(str(tmp_path.parent) in signature or "/" in signature for signature in signatures)
    assert str(ClipScore(clip).signature) == str(ClipScore(clip, batch_size=3, remembered_images=1).signature)


def test_no_captions_have_no_scores(clip: str) -> None:
    for reward in (ClipScore(clip), RefClipScore(clip)):
        assert reward(Candidates([], references=[], images=[])).shape == (0,)
        assert reward.corpus(Candidates([], references=[], images=[])) == 0.0


def test_wrong_inputs_are_told_in_one_line(clip: str, tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"Candidates\.images is None: give one for each caption"):
        ClipScore(clip)(Candidates(["a cat"]))
    with pytest.raises(RewardError, match=r"Candidates\.references is None"):
        RefClipScore(clip)(Candidates(["a cat"], images=noise(1)))
    with pytest.raises(RewardError, match="ViTModel, which has no space that images and texts share"):
        ClipScore(str(build_vit_only(tmp_path / "vit")))
    with pytest.raises(RewardError, match="batch_size must be 1 or more, got 0"):
        ClipScore(clip, batch_size=0)
    with pytest.raises(RewardError, match="cannot remember -1 results"):
        ClipScore(clip, remembered_images=-1)
    with pytest.raises(RewardError) as error:
        ClipScore(str(tmp_path / "nowhere"))
    assert "nowhere" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_policy_trains_on_it(clip: str, tmp_path: Path) -> None:
    config = experiment(SELF_CRITICAL, steps=2)
    config["rewards"] = {
        "clip": {"reward": {"class_path": "rewards.clip.ClipScore", "init_args": {"checkpoint": clip}}}
    }
    trainer(tmp_path, config).run()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any(line.get("reward/clip", 0.0) != 0.0 for line in lines)
