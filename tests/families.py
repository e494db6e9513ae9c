"""Tiny captioners of every family, as policies."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
from torch import nn

from rlcap.policies.backbone_decoder import BackboneDecoder, DecoderSettings
from rlcap.policies.base import Policy
from rlcap.policies.blip import Blip
from rlcap.policies.encoder_decoder import EncoderDecoder
from rlcap.policies.git import Git
from rlcap.policies.lora import Lora


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


def lora_family(base: Family) -> Family:
    """A family with adapters that have learned something."""

    def load(checkpoint: str, freeze: bool) -> Policy:
        policy = Lora(base.load(checkpoint, freeze), rank=4, dropout=0.1)
        policy.prepare([])
        stir(policy)
        return policy

    return Family(
        base.build,
        load,
        lambda policy: base.vision(policy.policy),
        lambda policy: base.image_keys(policy.policy),
    )


def stir(policy: Lora) -> None:
    """Give adapters something to say; they start with nothing."""
    generator = torch.Generator().manual_seed(0)
    for layer in policy.adapters().values():
        nn.init.normal_(layer.lora_B["default"].weight, std=0.1, generator=generator)


BASES = {
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
FAMILIES = {**BASES, **{f"lora-{name}": lora_family(BASES[name]) for name in ("vit-gpt2", "git")}}
