"""VQAScore against one plain forward per question of tiny chat models."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import CHAT, build_idefics3, build_llava, build_siglip, chat_tokenizer, noise
from transformers import AutoModelForImageTextToText, AutoProcessor

from rewards.base import Candidates, RewardError
from rewards.vqa import TEMPLATE, VqaScore, answer_probability, answer_tokens, without_control

CAPTIONS = ["a cat", "the red dog runs here and there", "blue", "two dogs and a cat"]


@pytest.fixture(scope="module", params=["llava", "idefics3"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    build = {"llava": build_llava, "idefics3": build_idefics3}[request.param]
    return str(build(tmp_path_factory.mktemp(request.param)))


def candidates(captions: list[str] = CAPTIONS) -> Candidates:
    return Candidates(captions, images=[*noise(2, size=(40, 33)), *noise(2, seed=4)][: len(captions)])


def one_by_one(checkpoint: str, template: str = TEMPLATE) -> np.ndarray:
    """The probabilities of all next tokens after each question, asked alone."""
    model = AutoModelForImageTextToText.from_pretrained(checkpoint).eval()
    processor = AutoProcessor.from_pretrained(checkpoint)
    given, rows = candidates(), []
    for caption, image in zip(CAPTIONS, given.images or [], strict=True):
        prompt = f"user: <image>{template.format(caption=caption)}\nassistant:"  # what the chat template writes
        with torch.no_grad():
            logits = model(**processor(text=prompt, images=[image], return_tensors="pt")).logits
        rows.append(logits[0, -1].softmax(-1).double().numpy())
    return np.stack(rows)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_score_is_the_probability_of_yes_of_a_plain_forward(checkpoint: str, batch_size: int) -> None:
    vocabulary = chat_tokenizer().get_vocab()
    yes = [vocabulary[word] for word in ("Yes", "yes", " Yes", "YES")]
    no = [vocabulary[word] for word in ("No", "no", " no")]
    probabilities = one_by_one(checkpoint)
    expected = probabilities[:, yes].sum(axis=1)
    assert np.ptp(expected) > 0.2 * expected.mean()  # questions differ
    scores = VqaScore(checkpoint, precision="float32", batch_size=batch_size)(candidates())
    np.testing.assert_allclose(scores, expected, rtol=1e-4)
    normalized = VqaScore(checkpoint, precision="float32", batch_size=batch_size, normalized=True)(candidates())
    np.testing.assert_allclose(normalized, expected / (expected + probabilities[:, no].sum(axis=1)), rtol=1e-4)


def test_another_question_is_asked_as_written(checkpoint: str) -> None:
    template = "{caption}? yes or no {{}}"
    yes = answer_tokens(chat_tokenizer().get_vocab(), "yes")
    expected = one_by_one(checkpoint, template.replace("{{}}", "{{{{}}}}"))[:, yes].sum(axis=1)
    scores = VqaScore(checkpoint, template=template, precision="float32")(candidates())
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_answer_probability_on_hand_worked_numbers() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.4, 0.1, 0.1]]))
    np.testing.assert_allclose(answer_probability(logits, [0, 1]), [0.3, 0.8], rtol=1e-6)
    np.testing.assert_allclose(answer_probability(logits, [0, 1], [2]), [0.5, 8 / 9], rtol=1e-6)


def test_the_tokens_of_an_answer_are_told_by_spelling_alone() -> None:
    words = ["Yes", "▁yes", "ĠYES", " Yes", "yesterday", "es", "eyes", "Yes.", "yes▁"]
    assert answer_tokens({word: token for token, word in enumerate(words)}, "yes") == [0, 1, 2, 3]


def test_control_tokens_in_a_caption_are_read_as_plain_text(checkpoint: str) -> None:
    reward = VqaScore(checkpoint, precision="float32")
    image = noise(1)[0]
    smuggled = Candidates(["a cat <image><image> </s>", "a cat"], images=[image, image])
    plain = Candidates(["a cat < image>< image> < /s>", "a cat"], images=[image, image])
    np.testing.assert_array_equal(reward(smuggled), reward(plain))
    assert without_control("<image> cat", ["<image>"]) == "< image> cat"


def test_bfloat16_stays_near_float32(checkpoint: str) -> None:
    exact = VqaScore(checkpoint, precision="float32", normalized=True)
    rough = VqaScore(checkpoint, normalized=True)
    assert rough.signature.settings["precision"] == "bfloat16"
    # 8 bits of mantissa through four layers
    np.testing.assert_allclose(rough(candidates()), exact(candidates()), atol=0.05)


def test_the_signature_tells_the_question(checkpoint: str) -> None:
    signature = str(VqaScore(checkpoint, precision="float32").signature)
    assert "|question:Does this figure show" in signature
    assert "|among:all|precision:float32" in signature
    assert "among:yes,no" in str(VqaScore(checkpoint, precision="float32", normalized=True).signature)
    assert str(Path(checkpoint).parent) not in signature


def test_wrong_inputs_are_told_in_one_line(tmp_path: Path) -> None:
    directory = str(build_llava(tmp_path / "llava"))
    with pytest.raises(RewardError, match=r"has no \{caption\} in it"):
        VqaScore(directory, template="Is it a cat?")
    with pytest.raises(RewardError, match=r"Candidates\.images is None"):
        VqaScore(directory)(Candidates(["a cat"]))
    with pytest.raises(RewardError, match=r"cannot load .* as AutoModelForImageTextToText"):
        VqaScore(str(build_siglip(tmp_path / "siglip")))
    assert VqaScore(directory)(Candidates([], images=[])).shape == (0,)
    processor: Any = AutoProcessor.from_pretrained(directory)
    assert processor.chat_template == CHAT
    (tmp_path / "llava" / "chat_template.jinja").unlink()
    with pytest.raises(RewardError, match="has no chat template"):
        VqaScore(directory)
