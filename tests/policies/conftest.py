"""Tiny captioners of every family, as policies."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from captioners import (
    SIDE,
    WIDTH,
    WORDS,
    build_blip,
    build_git,
    build_mobilenet,
    build_resnet,
    build_vit,
    build_vit_bert,
    build_vit_gpt2,
    sharpen,
)
from PIL import Image
from torch import nn

from rlcap.policies.backbone_decoder import BackboneDecoder, DecoderSettings
from rlcap.policies.base import Policy
from rlcap.policies.blip import Blip
from rlcap.policies.encoder_decoder import EncoderDecoder
from rlcap.policies.git import Git
from rlcap.policies.pretrained import no_progress_bars
from rlcap.types import Batch


@dataclass(frozen=True)
class Family:
    """How to build one family, and where to listen to it.

    Attributes:
        build: writes a checkpoint to a directory.
        load: the policy of a checkpoint, its encoder frozen or not.
        vision: the module that every image must pass exactly once.
        image_keys: the modules that turn the image's encoding into what the decoder attends to.
    """

    build: Callable[[Path], None]
    load: Callable[[str, bool], Policy]
    vision: Callable[[Policy], nn.Module]
    image_keys: Callable[[Policy], list[nn.Module]]


def load_backbone_decoder(checkpoint: str, freeze: bool, image_size: int | None = None) -> Policy:
    settings = DecoderSettings(width=WIDTH, layers=2, heads=2, min_count=1, positions=40)
    policy = BackboneDecoder(checkpoint, image_size=image_size, freeze=freeze, decoder=settings)
    policy.prepare([[" ".join(WORDS)]])
    torch.manual_seed(0)
    sharpen(policy.decoder)
    return policy


def gpt2_keys(decoder: nn.Module) -> list[nn.Module]:
    return [block.crossattention.c_attn for block in decoder.transformer.h]


def bert_keys(decoder: nn.Module) -> list[nn.Module]:
    return [layer.crossattention.self.key for layer in decoder.bert.encoder.layer]


def backbone_family(build: Callable[[Path], None], image_size: int | None = None) -> Family:
    return Family(
        build,
        lambda checkpoint, freeze: load_backbone_decoder(checkpoint, freeze, image_size),
        lambda policy: policy.encoder,
        lambda policy: gpt2_keys(policy.decoder),
    )


FAMILIES = {
    "vit-gpt2": Family(
        build_vit_gpt2,
        lambda checkpoint, freeze: EncoderDecoder(checkpoint, freeze_encoder=freeze),
        lambda policy: policy.encoder,
        lambda policy: gpt2_keys(policy.model.decoder),
    ),
    "vit-bert": Family(
        build_vit_bert,
        lambda checkpoint, freeze: EncoderDecoder(checkpoint, freeze_encoder=freeze),
        lambda policy: policy.encoder,
        lambda policy: bert_keys(policy.model.decoder),
    ),
    "blip": Family(
        build_blip,
        lambda checkpoint, freeze: Blip(checkpoint, freeze_encoder=freeze),
        lambda policy: policy.encoder,
        lambda policy: bert_keys(policy.model.text_decoder),
    ),
    "git": Family(
        build_git,
        lambda checkpoint, freeze: Git(checkpoint, freeze_encoder=freeze),
        lambda policy: policy.encoder.vision_model,  # within what hands back features
        lambda policy: [policy.model.git.visual_projection],  # the regions' keys are then in the words' cache
    ),
    "vit": backbone_family(build_vit),
    "mobilenet": backbone_family(build_mobilenet, image_size=2 * SIDE),
    "resnet": backbone_family(build_resnet),
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The checkpoint of a family, built when first asked for."""
    root = tmp_path_factory.mktemp("checkpoints")

    def checkpoint(name: str) -> str:
        if not (root / name).is_dir():
            torch.manual_seed(1)
            with no_progress_bars():
                FAMILIES[name].build(root / name)
        return str(root / name)

    return checkpoint


@pytest.fixture(scope="session", params=list(FAMILIES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def family(name: str) -> Family:
    return FAMILIES[name]


@pytest.fixture
def load(name: str, family: Family, checkpoints: Callable[[str], str]) -> Callable[..., Policy]:
    """A new policy of the family, in evaluation mode."""

    def load(freeze: bool = False) -> Policy:
        torch.manual_seed(0)
        return family.load(checkpoints(name), freeze).eval()

    return load


@pytest.fixture(scope="session")
def policy(name: str, family: Family, checkpoints: Callable[[str], str]) -> Policy:
    """One policy of the family for all tests that only read it."""
    torch.manual_seed(0)
    return family.load(checkpoints(name), False).eval()


@pytest.fixture(scope="session")
def photos() -> Callable[[int], list[Image.Image]]:
    """Images that differ from one another in every region."""

    def photos(count: int) -> list[Image.Image]:
        rng = np.random.default_rng(0)
        return [Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)).resize((40, 40)) for _ in range(count)]

    return photos


@pytest.fixture(scope="session")
def batch_of(photos: Callable[[int], list[Image.Image]]) -> Callable[[Policy, int], Batch]:
    """The first images as a policy sees them."""

    def batch_of(policy: Policy, count: int) -> Batch:
        ids = tuple(f"image{index}" for index in range(count))
        return Batch(ids, ((),) * count, pixel_values=policy.process_images(photos(count)))

    return batch_of
