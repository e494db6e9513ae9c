"""Tiny captioners and encoders, built on the spot with random weights and saved as the hub would."""

from pathlib import Path

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
