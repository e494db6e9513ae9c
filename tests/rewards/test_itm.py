"""Image-text matching against the transformers classes, called one pair at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import SIDE, build_blip2_itm, build_blip_itm, build_clip, build_vilt, noise
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    Blip2ForImageTextRetrieval,
    Blip2Processor,
    BlipForConditionalGeneration,
    BlipForImageTextRetrieval,
    ViltForImageAndTextRetrieval,
)

from rewards.base import Candidates, RewardError
from rewards.itm import Blip2Itc, Blip2Itm, BlipItc, BlipItm, Matching, ViltItm, match_probability

CAPTIONS = ["a cat", "the red dog runs here", "blue dog", "a dog sits", "the cat sits here", "red"]
IDS = ["1", "2", "3", "1", "3", "2"]

# what the transformers class gives for one pair: model and inputs in, one number out
PAIRS: dict[str, tuple[type[Matching], Any, Callable[[Any, Any], torch.Tensor]]] = {
    "blip_itm": (
        BlipItm,
        BlipForImageTextRetrieval,
        lambda model, pair: model(**pair).itm_score.softmax(-1)[0, 1],
    ),
    "blip_itc": (
        BlipItc,
        BlipForImageTextRetrieval,
        lambda model, pair: model(**pair, use_itm_head=False).itm_score[0, 0],
    ),
    "blip2_itm": (
        Blip2Itm,
        Blip2ForImageTextRetrieval,
        lambda model, pair: model(**pair, use_image_text_matching_head=True).logits_per_image.softmax(-1)[0, 1],
    ),
    "blip2_itc": (
        Blip2Itc,
        Blip2ForImageTextRetrieval,
        lambda model, pair: model(**pair).logits_per_image[0, 0],
    ),
    "vilt": (ViltItm, ViltForImageAndTextRetrieval, lambda model, pair: model(**pair).logits[0, 0]),
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("itm")
    blip, blip2 = str(build_blip_itm(folder / "blip")), str(build_blip2_itm(folder / "blip2"))
    vilt = str(build_vilt(folder / "vilt"))
    return {"blip_itm": blip, "blip_itc": blip, "blip2_itm": blip2, "blip2_itc": blip2, "vilt": vilt}


def candidates() -> Candidates:
    images = [*noise(2, size=(40, 36)), *noise(1, seed=7, size=(SIDE, 2 * SIDE))]  # one of another shape
    return Candidates(CAPTIONS, image_ids=IDS, images=[images[int(name) - 1] for name in IDS])


def one_by_one(kind: str, directory: str) -> np.ndarray:
    _, model_class, score = PAIRS[kind]
    model = model_class.from_pretrained(directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    processor = AutoImageProcessor.from_pretrained(directory, backend="pil")
    scores = []
    given = candidates()
    for caption, image in zip(CAPTIONS, given.images or [], strict=True):
        tokens = tokenizer(caption, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            scores.append(float(score(model, {**processor(images=image, return_tensors="pt"), **tokens})))
    return np.array(scores)


@pytest.mark.parametrize("batch_size", [2, 16])
@pytest.mark.parametrize("kind", PAIRS)
def test_scores_are_those_of_the_transformers_class_pair_by_pair(
    checkpoints: dict[str, str], kind: str, batch_size: int
) -> None:
    expected = one_by_one(kind, checkpoints[kind])
    assert np.ptp(expected) > 0.05  # pairs differ, so that mixing them up would show
    scores = PAIRS[kind][0](checkpoints[kind], batch_size=batch_size)(candidates())
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["blip2_itm", "blip2_itc"])
def test_a_blip2_that_counts_query_tokens_is_given_them_as_its_processor_would(tmp_path: Path, kind: str) -> None:
    reward_class, model_class, score = PAIRS[kind]
    directory = str(build_blip2_itm(tmp_path / "blip2", image_token=True))
    model = model_class.from_pretrained(directory).eval()
    processor = Blip2Processor(
        AutoImageProcessor.from_pretrained(directory, backend="pil"),
        AutoTokenizer.from_pretrained(directory),
        num_query_tokens=model.config.num_query_tokens,
    )
    given = candidates()
    expected = []
    for caption, image in zip(CAPTIONS, given.images or [], strict=True):
        with torch.no_grad():
            expected.append(float(score(model, processor(images=image, text=caption, return_tensors="pt"))))
    np.testing.assert_allclose(reward_class(directory)(given), expected, rtol=1e-4, atol=1e-5)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", ["blip_itm", "blip_itc", "blip2_itm", "blip2_itc"])
def test_an_image_is_encoded_once_for_all_its_captions(checkpoints: dict[str, str], kind: str) -> None:
    reward = PAIRS[kind][0](checkpoints[kind], batch_size=2)
    encoded: list[int] = []
    model: Any = reward.model
    model.vision_model.encoder.register_forward_pre_hook(
        lambda _, positional, named: encoded.append(len((*positional, *named.values())[0])), with_kwargs=True
    )
    reward(candidates())
    assert encoded == [2, 1]  # three images under six captions, two at a time
    with torch.no_grad():  # and the model is as it was
        again = one_by_one(kind, checkpoints[kind])
    np.testing.assert_allclose(reward(candidates()), again, rtol=1e-4, atol=1e-5)


def test_match_probability_on_hand_worked_logits() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, np.log(3.0)]], dtype=torch.float64)
    np.testing.assert_allclose(match_probability(logits), [0.5, 0.75])


def test_vilt_leaves_the_generator_of_the_policy_alone_and_is_the_same_twice(checkpoints: dict[str, str]) -> None:
    reward = ViltItm(checkpoints["vilt"])
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = reward(candidates())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    np.testing.assert_array_equal(reward(candidates()), first)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", PAIRS)
def test_half_precision_stays_near_float32(checkpoints: dict[str, str], kind: str, precision: Any) -> None:
    reward_class: Any = PAIRS[kind][0]
    exact, rough = reward_class(checkpoints[kind]), reward_class(checkpoints[kind], precision=precision)
    tolerance = 0.03 if precision == "bfloat16" else 0.005  # 8 and 11 bits of mantissa
    np.testing.assert_allclose(rough(candidates()), exact(candidates()), atol=tolerance)
    assert rough.signature.settings["precision"] == precision


def test_captions_beyond_the_text_side_are_cut(checkpoints: dict[str, str]) -> None:
    image = noise(1)
    for kind in PAIRS:
        scores = PAIRS[kind][0](checkpoints[kind])(Candidates([" ".join(["dog"] * 60)], images=image))
        cut = PAIRS[kind][0](checkpoints[kind])(Candidates([" ".join(["dog"] * 38)], images=image))  # 40 positions
        np.testing.assert_allclose(scores, cut, atol=1e-6)


def test_wrong_inputs_are_told_in_one_line(checkpoints: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"Candidates\.images is None"):
        BlipItm(checkpoints["blip_itm"])(Candidates(["a cat"]))
    with pytest.raises(RewardError, match=r"lacks \d+ weights of a BlipForImageTextRetrieval, such as"):
        BlipItm(str(build_clip(tmp_path / "clip")))
    captioner = BlipForImageTextRetrieval.from_pretrained(checkpoints["blip_itm"])
    BlipForConditionalGeneration(captioner.config).save_pretrained(tmp_path / "captioner")
    with pytest.raises(RewardError, match="it is a checkpoint of another kind"):
        BlipItm(str(tmp_path / "captioner"))
    with pytest.raises(RewardError, match=r"cannot load .*nowhere.* as ViltForImageAndTextRetrieval"):
        ViltItm(str(tmp_path / "nowhere"))
    assert BlipItm(checkpoints["blip_itm"])(Candidates([], images=[])).shape == (0,)
