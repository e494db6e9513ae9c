"""Features of a frozen encoder: computed once, never stale, never silently short."""

import numpy as np
import pytest
import tiny
import torch
from captioners import build_vit
from PIL import Image
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from rlcap.data.base import UnreadableImageError
from rlcap.data.folder import Folder
from rlcap.data.loader import loader
from rlcap.errors import UserError
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


# --- in a run


@pytest.fixture
def config(tmp_path):
    """An experiment whose backbone is frozen."""
    build_vit(tmp_path / "vit")
    config = tiny.experiment(tiny.TEACHER_FORCING, steps=8)  # of 6 batches in an epoch
    decoder = {"width": 16, "layers": 1, "heads": 2, "min_count": 1}
    init_args = {"backbone": str(tmp_path / "vit"), "freeze": True, "decoder": decoder}
    config["policy"] = {"class_path": "rlcap.policies.backbone_decoder.BackboneDecoder", "init_args": init_args}
    return config


def run_of(tmp_path, config, features, name):
    return tiny.trainer(tmp_path, {**config, "training": {**config["training"], "features": features}}, name)


def test_temporary_features_are_computed_once_for_all_epochs_and_then_gone(tmp_path, config):
    run = run_of(tmp_path, config, "temporary", "temporary")
    seen, there = [], []
    run.model.encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    run.model.decoder.register_forward_pre_hook(
        lambda module, args: there.append(len(list((tmp_path / "temporary").rglob("features.npy"))))
    )
    run.run()
    assert sum(seen) == 48 + 8 + 8  # train, val and test
    assert set(there) == {3}
    assert not list((tmp_path / "temporary").rglob("features.npy"))
    assert not list((tmp_path / "temporary").glob(".*"))
    place = tmp_path / "features"
    run_of(tmp_path, config, str(place), "named").run()
    assert len(list(place.rglob("features.npy"))) == 3
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("temporary", "named")]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("while_computing", [True, False], ids=["computing", "training"])
def test_temporary_features_are_gone_after_errors(tmp_path, config, error, while_computing):
    run = run_of(tmp_path, config, "temporary", "run")
    found = []

    def fail(module, *_):
        found.extend((tmp_path / "run").rglob("features.npy"))
        raise error

    (run.model.encoder if while_computing else run.model.decoder.transformer).register_forward_pre_hook(fail)
    with pytest.raises(error):
        run.run()
    assert found
    assert not list((tmp_path / "run").rglob("features.npy"))


def test_learning_encoders_have_no_features_to_keep(tmp_path, config):
    config["policy"]["init_args"]["freeze"] = False
    config["training"]["freeze"] = ["encoder"]  # which is not known to the policy
    with pytest.raises(UserError, match="freeze the model's image encoder"):
        run_of(tmp_path, config, "temporary", "run").run()
