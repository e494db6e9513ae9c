"""Loading, device, precision and the name of a model, and what tells images apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import Float64
from PIL import Image
from tiny_models import build_clip, build_llava, build_vit_only, noise
from torch import nn
from transformers import AutoModel, CLIPModel, CLIPTextModel, CLIPVisionModel, ViTForImageClassification

from rewards.base import Candidates, OpenedWhenRead, RewardError
from rewards.networks.pretrained import Kept, ModelReward, distinct_images, fingerprint, load, load_model


class Parameters(ModelReward):
    """The number of parameters for every caption."""

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        with self.judging():
            assert torch.is_inference_mode_enabled()
            assert not torch.is_autocast_enabled("cpu")
            total = sum(weights.numel() for weights in self.model.parameters())
        return np.full(len(candidates), float(total))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_clip(tmp_path_factory.mktemp("models") / "clip"))


def test_a_loaded_model_judges_without_dropout_and_without_gradients(clip: str) -> None:
    model = load_model(CLIPModel, clip, "bfloat16")
    assert not model.training
    assert {weights.dtype for weights in model.parameters()} == {torch.bfloat16}
    assert not any(weights.requires_grad for weights in model.parameters())


def test_a_reward_has_its_models_precision_and_is_left_out_of_autocast(clip: str) -> None:
    reward = Parameters(clip, load_model(AutoModel, clip, "float16"), batch_size=2)
    reward.to("cpu")
    assert (reward.dtype, reward.precision, reward.device) == (torch.float16, "float16", torch.device("cpu"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (reward(Candidates(["a", "b"])) > 0).all()
    moved = reward.inputs({"pixel_values": torch.zeros(2), "input_ids": torch.zeros(2, dtype=torch.long), "sizes": [1]})
    assert (moved["pixel_values"].dtype, moved["input_ids"].dtype, moved["sizes"]) == (torch.float16, torch.int64, [1])


def test_a_model_that_keeps_some_weights_in_float32_takes_pixels_in_its_own_precision() -> None:
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2, dtype=torch.bfloat16)])
    assert Parameters("mixed", model, 1).dtype == torch.bfloat16


def test_a_whole_checkpoint_is_demanded_only_when_asked_for(clip: str, tmp_path: Path) -> None:
    CLIPTextModel.from_pretrained(clip).save_pretrained(tmp_path / "text")
    assert load_model(CLIPTextModel, str(tmp_path / "text"), "float32", whole=True)
    vit = str(build_vit_only(tmp_path / "vit"))
    load_model(ViTForImageClassification, vit, "float32")  # a classifier drawn at random
    with pytest.raises(RewardError, match=r"lacks 2 weights of a ViTForImageClassification, such as classifier\.bias"):
        load_model(ViTForImageClassification, vit, "float32", whole=True)


def test_wrong_checkpoints_are_told_in_one_line(clip: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = build_clip(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"nonsense")
    for loader, checkpoint in (
        (AutoModel, str(tmp_path / "nowhere")),
        (AutoModel, str(empty)),
        (CLIPModel, str(broken)),
        (AutoModel, "no such/hub/name"),
    ):
        with pytest.raises(RewardError, match="cannot load") as error:
            load_model(loader, checkpoint, "float32")
        assert "\n" not in str(error.value)
        assert checkpoint in str(error.value)
    with pytest.raises(RewardError, match="it is a checkpoint of another kind"):  # sizes that do not fit
        load_model(CLIPVisionModel, str(build_llava(tmp_path / "llava")), "float32", whole=True)


def test_weights_in_pickles_are_refused(clip: str, tmp_path: Path) -> None:
    model = CLIPModel.from_pretrained(clip)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(RewardError, match=r"no file named model\.safetensors"):
        load_model(CLIPModel, str(tmp_path), "float32")


def test_a_fingerprint_tells_weights_and_settings_apart_and_nothing_else(clip: str, tmp_path: Path) -> None:
    model: Any = load(CLIPModel, clip)
    first = fingerprint(model)
    assert len(first) == 8
    assert fingerprint(load(CLIPModel, clip)) == first
    assert len({first, fingerprint(model, {"size": 1}), fingerprint(model, {"size": 2})}) == 3
    with torch.no_grad():
        model.logit_scale += 1
    assert fingerprint(model) != first
    assert Parameters(clip, load(CLIPModel, clip), 1).called == f"clip@{first}"
    assert Parameters(f"{clip}/", load(CLIPModel, clip), 1).called == f"clip@{first}"
    assert Parameters("openai/clip", load(CLIPModel, clip), 1).called == f"clip@{first}"


def test_images_are_told_apart_by_id_or_by_being_one_object() -> None:
    one, two = noise(2)

    def told(**columns: Any) -> tuple[list[int], list[int]]:
        rows, own = distinct_images(Candidates(["a", "b", "c", "d"], **columns))
        return rows, own.tolist()

    def open_one() -> Image.Image:
        return one

    assert told(images=[one, two, one, one], image_ids=["x", "y", "y", "x"]) == ([0, 1], [0, 1, 1, 0])
    assert told(images=[one, two, one, two]) == ([0, 1], [0, 1, 0, 1])
    assert told(images=[one, one.copy(), one, two]) == ([0, 1, 3], [0, 1, 0, 2])
    assert told(images=OpenedWhenRead([open_one, lambda: two, open_one, open_one])) == ([0, 1], [0, 1, 0, 0])
    with pytest.raises(RewardError, match=r"Candidates\.images is None: give one for each caption"):
        told()


def test_kept_results_are_made_once_and_the_oldest_used_goes_first() -> None:
    made: list[str] = []

    def ask(kept: Kept[str, str], keys: list[str]) -> list[str]:
        def make(places: list[int]) -> list[str]:
            made.extend(keys[place] for place in places)
            return [keys[place].upper() for place in places]

        return kept(keys, make)

    kept: Kept[str, str] = Kept(2)
    assert ask(kept, ["a", "b"]) == ["A", "B"]
    assert ask(kept, ["a", "c"]) == ["A", "C"]  # b was used last of all
    assert ask(kept, ["c", "a"]) == ["C", "A"]
    assert ask(kept, ["b"]) == ["B"]
    assert made == ["a", "b", "c", "b"]
    assert ask(Kept(0), ["a", "a2"]) == ["A", "A2"]
