"""GIT: one Transformer that reads the image's regions and then its own words. Wang et al. 2022, arXiv 2205.14100."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import GenerationConfig, GitForCausalLM, GitVisionModel, LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutput

from rlcap.policies.pretrained import PretrainedPolicy, first_token
from rlcap.types import Captions, Encoded


class Git(PretrainedPolicy):
    """A GIT captioner, such as ``microsoft/git-base-coco``.

    Args:
        checkpoint: hub name, or directory of a model, its tokenizer and its image processor.
        image_size: side in pixels that images are resized to; None keeps the checkpoint's own size.
        freeze_encoder: keep the image encoder as it is; its features are then computed once per image and kept.
    """

    model_class = GitForCausalLM

    def __init__(self, checkpoint: str, image_size: int | None = None, freeze_encoder: bool = False) -> None:
        super().__init__(checkpoint, image_size, freeze_encoder)
        self.model.git.image_encoder.__class__ = _EncodeOnce
        for embedding in getattr(self.model.git, "img_temporal_embedding", ()):
            embedding.requires_grad_(False)  # of the frames of a video

    @property
    def encoder(self) -> nn.Module:
        encoder: nn.Module = self.model.git.image_encoder
        return encoder

    def special_tokens(self) -> tuple[int, int, int]:
        config, text = self.model.config, self.tokenizer
        start = first_token("start", config.vocab_size, config.bos_token_id, text.bos_token_id, text.cls_token_id)
        eos = first_token("end (EOS)", config.vocab_size, config.eos_token_id, text.eos_token_id, text.sep_token_id)
        pad = first_token("padding", config.vocab_size, config.pad_token_id, text.pad_token_id)
        return start, eos, pad

    def score_tokens(
        self, encoded: Encoded, captions: Captions
    ) -> tuple[Float[Tensor, "tokens vocabulary"], Float[Tensor, "captions length width"]]:
        states = self.model.git(
            input_ids=captions.inputs(self.start_id),
            pixel_values=_as_pixels(encoded.states),
            use_cache=False,
        ).last_hidden_state
        hidden = states[:, encoded.states.shape[1] :]  # the regions come first
        return self.model.output(hidden[captions.mask]), hidden

    def generate_tokens(
        self, encoded: Encoded, config: GenerationConfig, processors: LogitsProcessorList
    ) -> Int[Tensor, "captions length"]:
        start = torch.full((len(encoded), 1), self.start_id, device=encoded.states.device)
        config.max_new_tokens = min(config.max_new_tokens, self.positions)
        tokens: Tensor = self.model.generate(
            input_ids=start,
            attention_mask=torch.ones_like(start),
            pixel_values=_as_pixels(encoded.states),
            generation_config=config,
            logits_processor=processors,
        )
        return tokens[:, 1:]


def _as_pixels(states: Float[Tensor, "images regions width"]) -> Float[Tensor, "images 1 regions width"]:
    """Encodings in the shape of images of one channel: GIT takes an image in no other way."""
    return states[:, None]


class _EncodeOnce(GitVisionModel):  # type: ignore[misc]  # transformers is untyped
    """GIT's image encoder, which hands back what it has encoded already, told by its single channel."""

    def forward(
        self, pixel_values: Tensor | None = None, interpolate_pos_encoding: bool = False, **kwargs: Any
    ) -> BaseModelOutput:
        if pixel_values is not None and pixel_values.shape[1] == 1:
            return BaseModelOutput(last_hidden_state=pixel_values[:, 0])
        return super().forward(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding, **kwargs)
