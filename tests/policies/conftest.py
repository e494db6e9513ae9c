"""Tiny captioners of every family, built on the spot with random weights and saved as the hub would."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    BertConfig,
    BertLMHeadModel,
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    CLIPImageProcessor,
    ConvNextImageProcessor,
    GitConfig,
    GitForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MobileNetV2Config,
    MobileNetV2ImageProcessor,
    MobileNetV2Model,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetModel,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from rlcap.policies.backbone_decoder import BackboneDecoder, DecoderSettings
from rlcap.policies.base import Policy
from rlcap.policies.blip import Blip
from rlcap.policies.encoder_decoder import EncoderDecoder
from rlcap.policies.git import Git
from rlcap.policies.pretrained import no_progress_bars
from rlcap.types import Batch

WORDS = ("a", "the", "red", "blue", "cat", "dog", "sits", "runs", "here")
BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SIDE, PATCH, WIDTH = 32, 16, 24
VIT = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": SIDE,
    "patch_size": PATCH,
    "initializer_range": 0.2,
}
TEXT = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}


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


def sharpen(model: nn.Module, scale: float = 0.3) -> None:
    """Weights large enough for distributions that are far from uniform and differ between images."""
    for parameter in model.parameters():
        if parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter)
        elif parameter.ndim > 1:
            nn.init.normal_(parameter, std=scale)


def bert_tokenizer() -> BertTokenizerFast:
    return BertTokenizerFast(vocab={word: index for index, word in enumerate((*BERT_SPECIAL, *WORDS))})


def build_vit_gpt2(directory: Path) -> None:
    """As nlpconnect/vit-gpt2-image-captioning: start, EOS and padding are one token."""
    vocabulary = {word: index for index, word in enumerate(("<|endoftext|>", *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    ).save_pretrained(directory)
    decoder = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(vocabulary),
            n_embd=WIDTH,
            n_layer=2,
            n_head=2,
            n_positions=40,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
            add_cross_attention=True,
        )
    )
    sharpen(decoder)
    model = VisionEncoderDecoderModel(encoder=ViTModel(ViTConfig(**VIT)), decoder=decoder)
    model.generation_config.decoder_start_token_id = 0
    model.generation_config.max_length = 16  # settings that a policy must not fall for
    model.generation_config.num_beams = 4
    model.generation_config.no_repeat_ngram_size = 1
    model.save_pretrained(directory)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(directory)


def build_vit_bert(directory: Path) -> None:
    """A decoder narrower than the encoder, and no special token named but by the tokenizer."""
    bert_tokenizer().save_pretrained(directory)
    settings = {**TEXT, "hidden_size": 16}
    decoder = BertLMHeadModel(
        BertConfig(vocab_size=len(BERT_SPECIAL) + len(WORDS), is_decoder=True, add_cross_attention=True, **settings)
    )
    sharpen(decoder)
    VisionEncoderDecoderModel(encoder=ViTModel(ViTConfig(**VIT)), decoder=decoder).save_pretrained(directory)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(directory)


def build_blip(directory: Path) -> None:
    """As Salesforce's: the start token lies beyond the tokenizer's, captions close with SEP."""
    bert_tokenizer().save_pretrained(directory)
    size = len(BERT_SPECIAL) + len(WORDS) + 2
    text = {**TEXT, "vocab_size": size, "encoder_hidden_size": WIDTH, "bos_token_id": size - 2, "sep_token_id": 3}
    config = BlipConfig(text_config={**text, "pad_token_id": 0}, vision_config=VIT)
    model = BlipForConditionalGeneration(config)
    sharpen(model, 0.2)
    model.save_pretrained(directory)
    BlipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(directory)


def build_git(directory: Path) -> None:
    bert_tokenizer().save_pretrained(directory)
    size = len(BERT_SPECIAL) + len(WORDS)
    config = GitConfig(vision_config=VIT, vocab_size=size, bos_token_id=2, eos_token_id=3, pad_token_id=0, **TEXT)
    model = GitForCausalLM(config)
    sharpen(model)
    model.save_pretrained(directory)
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(
        directory
    )


def build_vit(directory: Path) -> None:
    ViTModel(ViTConfig(**VIT)).save_pretrained(directory)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(directory)


def build_mobilenet(directory: Path) -> None:
    model = MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.1, min_depth=8))
    sharpen(model)
    model.save_pretrained(directory)
    MobileNetV2ImageProcessor().save_pretrained(directory)


def build_resnet(directory: Path) -> None:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    model = ResNetModel(config)
    sharpen(model)
    model.save_pretrained(directory)
    ConvNextImageProcessor(size={"shortest_edge": SIDE}).save_pretrained(directory)


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
