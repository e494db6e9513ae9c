"""Any transformers ``VisionEncoderDecoderModel``: ViT with GPT-2, Swin with BERT, TrOCR's kind, ..."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessorList, VisionEncoderDecoderModel
from transformers.modeling_outputs import BaseModelOutput

from rlcap.policies.pretrained import PretrainedPolicy, first_token
from rlcap.types import Captions, Encoded


class EncoderDecoder(PretrainedPolicy):
    """A vision encoder and a text decoder with cross-attention, such as ``nlpconnect/vit-gpt2-image-captioning``.

    Args:
        checkpoint: hub name, or directory of a model, its tokenizer and its image processor.
        image_size: side in pixels that images are resized to; None keeps the checkpoint's own size.
        freeze_encoder: keep the image encoder as it is; its features are then computed once per image and kept.
    """

    model_class = VisionEncoderDecoderModel

    def __init__(self, checkpoint: str, image_size: int | None = None, freeze_encoder: bool = False) -> None:
        super().__init__(checkpoint, image_size, freeze_encoder)
        if hasattr(self.model, "enc_to_dec_proj"):
            self.model.enc_to_dec_proj.__class__ = _ProjectOnce

    @property
    def encoder(self) -> nn.Module:
        encoder: nn.Module = self.model.encoder
        return encoder

    def special_tokens(self) -> tuple[int, int, int]:
        model, text = self.model.config, self.tokenizer
        places = (self.model.generation_config, model, model.decoder)  # where checkpoints name them, the surest first

        def named(attribute: str) -> list[int | None]:
            return [getattr(place, attribute, None) for place in places]

        size = model.decoder.vocab_size
        starts = [*named("decoder_start_token_id"), *named("bos_token_id"), text.bos_token_id, text.cls_token_id]
        start = first_token("start", size, *starts)
        eos = first_token("end (EOS)", size, *named("eos_token_id"), text.eos_token_id, text.sep_token_id)
        pad = first_token("padding", size, *named("pad_token_id"), text.pad_token_id, eos)
        return start, eos, pad

    def connect(self, regions: Float[Tensor, "images regions _"]) -> Float[Tensor, "images regions width"]:
        projected: Tensor = self.model.enc_to_dec_proj(regions) if hasattr(self.model, "enc_to_dec_proj") else regions
        return projected

    def score_tokens(
        self, encoded: Encoded, captions: Captions
    ) -> tuple[Float[Tensor, "tokens vocabulary"], Float[Tensor, "captions length width"]]:
        inputs = captions.inputs(self.start_id)
        # every decoder names its parts differently, but all give their hidden states
        output = self.model.decoder(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            encoder_hidden_states=encoded.states,
            output_hidden_states=True,
            use_cache=False,
        )
        return output.logits[captions.mask], output.hidden_states[-1]

    def generate_tokens(
        self, encoded: Encoded, config: GenerationConfig, processors: LogitsProcessorList
    ) -> Int[Tensor, "captions length"]:
        start = torch.full((len(encoded), 1), self.start_id, device=encoded.states.device)
        config.max_new_tokens = min(config.max_new_tokens, self.positions)
        config.decoder_start_token_id = self.start_id
        # both masks are all ones: given, so that no start token that is also padding is taken for it, nor warned of
        tokens: Tensor = self.model.generate(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded.states),
            attention_mask=start.new_ones(encoded.states.shape[:2]),
            decoder_input_ids=start,
            decoder_attention_mask=torch.ones_like(start),
            generation_config=config,
            logits_processor=processors,
        )
        return tokens[:, 1:]


class _ProjectOnce(nn.Linear):
    """The model's encoder-to-decoder projection, which leaves alone what it has projected already.

    The model would apply it to the regions anew at every word; the two widths differ wherever there is a projection.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch names it so
        return input if input.shape[-1] == self.out_features else super().forward(input)
