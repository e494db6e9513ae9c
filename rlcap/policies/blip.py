"""BLIP: a vision Transformer, and a BERT-like decoder with cross-attention. Li et al. 2022, arXiv 2201.12086."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    BlipForConditionalGeneration,
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    LogitsProcessorList,
)

from rlcap.policies.pretrained import PretrainedPolicy, first_token
from rlcap.types import Captions, Encoded


class Blip(PretrainedPolicy):
    """A BLIP captioner, such as ``Salesforce/blip-image-captioning-base``.

    Args:
        checkpoint: hub name, or directory of a model, its tokenizer and its image processor.
        image_size: side in pixels that images are resized to; None keeps the checkpoint's own size.
        freeze_encoder: keep the image encoder as it is; its features are then computed once per image and kept.
    """

    model_class = BlipForConditionalGeneration

    def __init__(self, checkpoint: str, image_size: int | None = None, freeze_encoder: bool = False) -> None:
        super().__init__(checkpoint, image_size, freeze_encoder)
        self.model.text_decoder.generation_config = self.model.generation_config

    @property
    def encoder(self) -> nn.Module:
        encoder: nn.Module = self.model.vision_model
        return encoder

    def special_tokens(self) -> tuple[int, int, int]:
        text = self.model.config.text_config
        start = first_token("start", text.vocab_size, text.bos_token_id)
        eos = first_token("end (SEP)", text.vocab_size, text.sep_token_id, self.tokenizer.sep_token_id)
        pad = first_token("padding", text.vocab_size, text.pad_token_id, self.tokenizer.pad_token_id)
        return start, eos, pad

    def score_tokens(
        self, encoded: Encoded, captions: Captions
    ) -> tuple[Float[Tensor, "tokens vocabulary"], Float[Tensor, "captions length width"]]:
        hidden = self.model.text_decoder.bert(
            input_ids=captions.inputs(self.start_id),
            encoder_hidden_states=encoded.states,
            is_decoder=True,
            use_cache=False,
        ).last_hidden_state
        return self.model.text_decoder.cls(hidden[captions.mask]), hidden

    def generate_tokens(
        self, encoded: Encoded, config: GenerationConfig, processors: LogitsProcessorList
    ) -> Int[Tensor, "captions length"]:
        start = torch.full((len(encoded), 1), self.start_id, device=encoded.states.device)
        config.max_new_tokens = min(config.max_new_tokens, self.positions)
        tokens: Tensor = self.model.text_decoder.generate(
            input_ids=start,
            attention_mask=torch.ones_like(start),
            encoder_hidden_states=encoded.states,
            # so that the images' keys and values are computed once, not at every word
            past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
            generation_config=config,
            logits_processor=processors,
        )
        return tokens[:, 1:]
