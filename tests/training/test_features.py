"""Features of a frozen encoder: computed once, never stale, never silently short."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from rlcap.data.base import UnreadableImageError
from rlcap.data.folder import Folder
from rlcap.data.loader import loader
from rlcap.policies.backbone_decoder import BackboneDecoder
from rlcap.training.features import features_of, open_features


@pytest.fixture
def policy(tmp_path):
    place = tmp_path / "vit"
    size = {"image_size": 32, "patch_size": 16, "hidden_size": 8, "intermediate_size": 8}
    ViTModel(ViTConfig(num_hidden_layers=1, num_attention_heads=2, **size)).save_pretrained(place)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(place)
    return BackboneDecoder(str(place))


def photos(tmp_path, brightness=0):
    folder = tmp_path / "photos"
    folder.mkdir(exist_ok=True)
    rows = ["image,caption,split"]
    for name in range(4):
        pixels = np.full((20 + name, 20, 3), 40 * name + brightness, np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        rows.append(f"{name}.png,photo {name},train")
    (tmp_path / "captions.csv").write_text("\n".join(rows) + "\n")
    return Folder(str(folder), str(tmp_path / "captions.csv"))


def kept(dataset, policy, place):
    features = open_features(dataset, "train", policy, place)
    return torch.cat([batch.features for batch in loader(features, "train", None, 2)])


def live(dataset, policy):
    batches = loader(dataset, "train", policy.process_images, 2)
    return torch.cat([policy.features(batch.pixel_values) for batch in batches])


def test_kept_features_are_those_of_the_photos_even_after_these_change(tmp_path, policy):
    place = tmp_path / "features"
    for brightness in (0, 90):
        dataset = photos(tmp_path, brightness)
        features_of(dataset, ["train"], policy, place)
        # kept in half precision
        torch.testing.assert_close(kept(dataset, policy, place), live(dataset, policy), rtol=1e-3, atol=2e-3)


def test_nothing_is_computed_twice(tmp_path, policy):
    dataset, seen = photos(tmp_path), []
    for _ in range(2):
        features_of(dataset, ["train"], policy, tmp_path / "features", progress=seen.append)
    assert sum(seen) == 4


def test_images_skipped_by_one_run_stop_a_stricter_one(tmp_path, policy):
    dataset, place = photos(tmp_path), tmp_path / "features"
    (tmp_path / "photos" / "2.png").write_bytes(b"no image")
    features_of(dataset, ["train"], policy, place, on_bad_image="skip")
    assert len(open_features(dataset, "train", policy, place).records("train")) == 3
    with pytest.raises(UnreadableImageError, match=r"2\.png"):
        features_of(dataset, ["train"], policy, place)
