"""Tiny models that look at images, built on the spot with random weights and saved as the hub would."""

import string
from pathlib import Path

import numpy as np
import torch
from captioners import BERT_SPECIAL, PATCH, SIDE, TEXT, VIT, WIDTH, WORDS, bert_tokenizer, build_vit, sharpen
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    Blip2Config,
    Blip2ForImageTextRetrieval,
    BlipConfig,
    BlipForImageTextRetrieval,
    BlipImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    ViltConfig,
    ViltForImageAndTextRetrieval,
    ViltImageProcessor,
)

LONGEST = 12  # tokens that the text models of CLIP and SigLIP read
LETTERS = string.ascii_lowercase + string.digits


def noise(count: int, seed: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> list[Image.Image]:
    """Images of coarse noise, all different."""
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(size) for _ in range(count)]


def clip_tokenizer(lower: bool = True) -> PreTrainedTokenizerFast:
    """Words and letters, closed by an end token; in lower case by itself unless told not to."""
    vocabulary = {token: index for index, token in enumerate(("<pad>", "<bos>", "<unk>", *WORDS, *LETTERS, "<eos>"))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    if lower:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", len(vocabulary) - 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        pad_token="<pad>",
        model_max_length=LONGEST,
    )


def _text(**more: int) -> dict[str, int]:
    size = len(clip_tokenizer())
    return {**TEXT, "vocab_size": size, "eos_token_id": size - 1, "max_position_embeddings": LONGEST, **more}


def build_clip(directory: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    text = _text(bos_token_id=1, pad_token_id=0, projection_dim=16)
    config = CLIPConfig(text_config=text, vision_config={**VIT, "projection_dim": 16}, projection_dim=16)
    model = CLIPModel(config)
    sharpen(model)
    model.save_pretrained(directory)
    clip_tokenizer().save_pretrained(directory)
    crop = {"height": SIDE, "width": SIDE}
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=crop).save_pretrained(directory)
    return directory


def build_siglip(directory: Path) -> Path:
    """A tokenizer that keeps capitals, as Gemma's does for SigLIP 2."""
    torch.manual_seed(1)
    text = _text(bos_token_id=1, pad_token_id=0, projection_size=WIDTH)
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=VIT))
    sharpen(model)
    model.save_pretrained(directory)
    clip_tokenizer(lower=False).save_pretrained(directory)
    SiglipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(directory)
    return directory


def build_vit_only(directory: Path) -> Path:
    """A checkpoint of another kind: it has images and no texts."""
    build_vit(directory)
    clip_tokenizer().save_pretrained(directory)
    return directory


def build_blip_itm(directory: Path) -> Path:
    torch.manual_seed(2)
    text = {**TEXT, "vocab_size": len(BERT_SPECIAL) + len(WORDS), "encoder_hidden_size": WIDTH, "pad_token_id": 0}
    model = BlipForImageTextRetrieval(BlipConfig(text_config=text, vision_config=VIT, image_text_hidden_size=16))
    sharpen(model, 0.2)
    model.save_pretrained(directory)
    bert_tokenizer().save_pretrained(directory)
    BlipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(directory)
    return directory


def build_blip2_itm(directory: Path, image_token: bool = False) -> Path:
    """With ``image_token`` the model counts tokens for the queries at the head of every text."""
    torch.manual_seed(3)
    size = len(BERT_SPECIAL) + len(WORDS)
    config = Blip2Config(
        vision_config=VIT,
        qformer_config={
            **TEXT,
            "vocab_size": size,
            "encoder_hidden_size": WIDTH,
            "use_qformer_text_input": True,
            "cross_attention_frequency": 1,
            "pad_token_id": 0,
        },
        num_query_tokens=3,
        image_text_hidden_size=16,
        image_token_index=4 if image_token else None,
    )
    model = Blip2ForImageTextRetrieval(config)
    sharpen(model, 0.2)
    torch.nn.init.normal_(model.query_tokens)
    model.save_pretrained(directory)
    bert_tokenizer().save_pretrained(directory)
    BlipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(directory)
    return directory


def build_vilt(directory: Path) -> Path:
    torch.manual_seed(4)
    size = len(BERT_SPECIAL) + len(WORDS)
    model = ViltForImageAndTextRetrieval(ViltConfig(**{**VIT, **TEXT}, vocab_size=size, max_image_length=-1))
    sharpen(model, 0.2)
    model.save_pretrained(directory)
    bert_tokenizer().save_pretrained(directory)
    ViltImageProcessor(size={"shortest_edge": SIDE}, size_divisor=PATCH).save_pretrained(directory)
    return directory


CHAT = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """Every character is a token, and so are a few answers; BPE merges make them."""
    characters = [chr(code) for code in range(32, 127)] + ["\n"]
    answers = ["Yes", "yes", " Yes", "YES", "No", "no", " no", "yesterday"]
    pieces = sorted(
        {word[:end] for word in answers for end in range(2, len(word) + 1)}, key=lambda piece: (len(piece), piece)
    )
    special = ["<unk>", "<s>", "</s>", "<pad>", "<image>", "<fake_token_around_image>", "<global-img>"]
    vocabulary = {token: index for index, token in enumerate([*special, *characters, *pieces])}
    merges = [(word[:-1], word[-1]) for word in pieces]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=["<image>", "<fake_token_around_image>", "<global-img>"],
    )


LANGUAGE = {
    "model_type": "llama",
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 400,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
}


def build_llava(directory: Path) -> Path:
    torch.manual_seed(5)
    tokenizer = chat_tokenizer()
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **VIT, "projection_dim": 16},
        text_config={**LANGUAGE, "vocab_size": len(tokenizer)},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=(SIDE // PATCH) ** 2,
        vision_feature_layer=-1,
    )
    model = LlavaForConditionalGeneration(config)
    sharpen(model)
    model.save_pretrained(directory)
    crop = {"height": SIDE, "width": SIDE}
    images = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=crop)
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    ).save_pretrained(directory)
    return directory


def build_idefics3(directory: Path) -> Path:
    torch.manual_seed(6)
    tokenizer = chat_tokenizer()
    config = Idefics3Config(
        vision_config={**VIT, "model_type": "idefics3_vision"},
        text_config={**LANGUAGE, "vocab_size": len(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=1,
        pad_token_id=3,
    )
    model = Idefics3ForConditionalGeneration(config)
    sharpen(model)
    model.save_pretrained(directory)
    images = Idefics3ImageProcessor(
        size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE}, do_image_splitting=False
    )
    Idefics3Processor(images, tokenizer, image_seq_len=(SIDE // PATCH) ** 2, chat_template=CHAT).save_pretrained(
        directory
    )
    return directory
