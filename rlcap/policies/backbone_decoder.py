"""Any transformers vision backbone that gives a grid, and a small Transformer decoder over the data's own words."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LogitsProcessorList,
)

from rewards.networks.vision import model_class, regions_of
from rlcap.policies.base import Policy, ProcessImages
from rlcap.policies.grid import grid_of
from rlcap.policies.images import ImageProcessor
from rlcap.policies.pretrained import errors_only, fingerprint_of, freeze_unused, no_progress_bars
from rlcap.policies.vocabulary import EOS, PAD, START, UNKNOWN, Vocabulary
from rlcap.types import Batch, Captions, Encoded, UserError


@dataclass(frozen=True)
class DecoderSettings:
    """The shape of the decoder.

    Attributes:
        width: of its hidden states.
        layers: decoder blocks.
        heads: attention heads; must divide the width.
        dropout: on embeddings, attention and residuals, while teacher forcing.
        min_count: a word enters the vocabulary if the training captions hold it so often.
        positions: the longest caption it can read or write, in tokens.
        region_positions: standard deviation of the fresh vectors that tell regions apart by their place; the regions'
            own content has about 0.5.
    """

    width: int = 256
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    min_count: int = 5
    positions: int = 64
    region_positions: float = 0.02

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UserError(f"the decoder's width {self.width} is no multiple of its {self.heads} heads")


class BackboneDecoder(Policy):
    """A vision backbone and a causal decoder with cross-attention, GPT-2's blocks with tied embeddings.

    The vocabulary is that of the training references: it is built by ``prepare`` before training starts, and saved with
    the policy.

    Args:
        backbone: hub name or directory of a vision model whose last hidden state is a grid or a sequence of regions
            (MobileNetV2, ResNet, ConvNeXt, ViT, CLIP's vision model, ...).
        image_size: side in pixels that images are resized to; None keeps the backbone's own size.
        freeze: keep the backbone as it is; its features are then computed once per image and kept.
        decoder: the shape of the decoder.
    """

    encoder: Any
    decoder: Any

    def __init__(
        self,
        backbone: str,
        image_size: int | None = None,
        freeze: bool = True,
        decoder: DecoderSettings = DecoderSettings(),
    ) -> None:
        encoder, processor = load_backbone(backbone, image_size)
        self._assemble(encoder, processor, freeze, decoder)

    def _assemble(self, encoder: nn.Module, processor: ImageProcessor, freeze: bool, settings: DecoderSettings) -> None:
        super().__init__()
        self.settings = settings
        self.freeze = freeze
        self.processor = processor
        self.encoder = encoder.eval()
        probe = processor([Image.new("RGB", (32, 32))])
        freeze_unused(encoder, probe, everything=freeze)
        with torch.no_grad():
            _, self.regions, self.encoder_width = self.grid(probe).shape
        self.project = nn.Sequential(nn.LayerNorm(self.encoder_width), nn.Linear(self.encoder_width, settings.width))
        self.region_positions = nn.Parameter(torch.randn(self.regions, settings.width) * settings.region_positions)
        self.vocabulary: Vocabulary | None = None

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Build the vocabulary and the decoder, unless they were loaded."""
        if self.vocabulary is None:
            self._adopt(Vocabulary.of(references, self.settings.min_count))

    def _adopt(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.eos_id, self.pad_id, self.start_id = (vocabulary.id(token) for token in (EOS, PAD, START))
        self.suppressed = (self.pad_id, self.start_id, vocabulary.id(UNKNOWN))
        settings = self.settings
        self.decoder = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=len(vocabulary),
                n_positions=settings.positions,
                n_embd=settings.width,
                n_layer=settings.layers,
                n_head=settings.heads,
                resid_pdrop=settings.dropout,
                embd_pdrop=settings.dropout,
                attn_pdrop=settings.dropout,
                bos_token_id=self.start_id,
                eos_token_id=self.eos_id,
                pad_token_id=self.pad_id,
                add_cross_attention=True,
            )
        ).to(self.region_positions.device)
        self.decoder.train(self.training)

    def train(self, mode: bool = True) -> "BackboneDecoder":
        """Switch dropout; a frozen backbone, and every BatchNorm of a learning one, keeps its statistics."""
        super().train(mode)
        for module in self.encoder.modules():
            if self.freeze or isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(False)
        return self

    @property
    def process_images(self) -> ProcessImages:
        return self.processor

    def grid(self, pixel_values: Tensor) -> Float[Tensor, "images regions width"]:
        """The backbone's last hidden state as a sequence of regions, row by row."""
        return regions_of(self.encoder, pixel_values)

    @property
    def feature_shape(self) -> tuple[int, int] | None:
        return (self.regions, self.encoder_width) if self.freeze else None

    @torch.no_grad()
    def features(self, pixel_values: Tensor) -> Float[Tensor, "images regions width"]:
        return self.grid(pixel_values)

    @property
    def hidden_width(self) -> int:
        return self.settings.width

    def encode(self, batch: Batch) -> Encoded:
        if batch.features is not None:
            grid = batch.features.to(self.region_positions.dtype)
        elif batch.pixel_values is not None:
            grid = self.features(batch.pixel_values) if self.freeze else self.grid(batch.pixel_values)
        else:
            raise UserError("a batch must hold pixel_values or features")
        return Encoded(self.project(grid) + self.region_positions)

    def encode_grid(
        self, pixel_values: Float[Tensor, "images channels height width"]
    ) -> tuple[Encoded, tuple[int, int]]:
        grid = grid_of(self.encoder, pixel_values, self.regions)
        return Encoded(self.project(self.grid(pixel_values)) + self.region_positions), grid

    def tokenize(self, captions: Sequence[str], max_length: int) -> Captions:
        return self._words.tokenize(captions, min(max_length, self.settings.positions))

    def detokenize(self, captions: Captions) -> list[str]:
        return self._words.detokenize(captions)

    @property
    def _words(self) -> Vocabulary:
        if self.vocabulary is None:
            raise UserError("the policy has no vocabulary yet: call prepare with the training references first")
        return self.vocabulary

    def score_tokens(
        self, encoded: Encoded, captions: Captions
    ) -> tuple[Float[Tensor, "tokens vocabulary"], Float[Tensor, "captions length width"]]:
        inputs = captions.inputs(self.start_id)
        hidden = self.decoder.transformer(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            encoder_hidden_states=encoded.states,
            use_cache=False,
        ).last_hidden_state
        return self.decoder.lm_head(hidden[captions.mask]), hidden

    def generate_tokens(
        self, encoded: Encoded, config: GenerationConfig, processors: LogitsProcessorList
    ) -> Int[Tensor, "captions length"]:
        start = torch.full((len(encoded), 1), self.start_id, device=encoded.states.device)
        config.max_new_tokens = min(config.max_new_tokens, self.settings.positions)
        tokens: Tensor = self.decoder.generate(
            input_ids=start,
            attention_mask=torch.ones_like(start),
            encoder_hidden_states=encoded.states,
            # so that the images' keys and values are computed once, not at every word
            past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
            generation_config=config,
            logits_processor=processors,
        )
        return tokens[:, 1:]

    def save_files(self, directory: Path) -> None:
        with no_progress_bars():
            self.encoder.save_pretrained(directory / "backbone")
            self.decoder.save_pretrained(directory / "decoder")
        self.processor.save(directory / "backbone")
        self._words.save(directory / "vocabulary.json")
        projection = {name: tensor.detach().contiguous() for name, tensor in self._projection_state().items()}
        save_file(projection, directory / "projection.safetensors")
        settings = {"freeze": self.freeze, "decoder": asdict(self.settings)}
        (directory / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")

    @classmethod
    def load_files(cls, directory: Path) -> "BackboneDecoder":
        settings = json.loads((directory / "settings.json").read_text())
        policy = cls.__new__(cls)
        encoder, processor = load_backbone(str(directory / "backbone"), None)
        policy._assemble(encoder, processor, settings["freeze"], DecoderSettings(**settings["decoder"]))
        policy._adopt(Vocabulary.load(directory / "vocabulary.json"))
        with no_progress_bars():
            policy.decoder = GPT2LMHeadModel.from_pretrained(directory / "decoder")
        missing = policy.load_state_dict(load_file(directory / "projection.safetensors"), strict=False)
        if missing.unexpected_keys:
            raise UserError(f"{directory / 'projection.safetensors'} holds unknown weights {missing.unexpected_keys}")
        return policy

    def _projection_state(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.state_dict().items() if name.startswith(("project", "region_"))}

    @property
    def fingerprint(self) -> str:
        """Changes when the frozen encoder or its image processor does: the key of features kept on disk."""
        return fingerprint_of(self.encoder, self.processor)


def load_backbone(backbone: str, image_size: int | None) -> tuple[nn.Module, ImageProcessor]:
    """A vision model without its head, and its image processor, from the hub or a directory.

    Raises:
        UserError: if there is none, or it is no vision model.
    """
    processor = ImageProcessor.load(backbone, image_size)
    kind, unpooled = model_class(AutoConfig.from_pretrained(backbone))
    with errors_only():  # its head's weights go unused, as they should
        model, loading = kind.from_pretrained(backbone, dtype=torch.float32, output_loading_info=True, **unpooled)
    if loading["missing_keys"]:
        raise UserError(
            f"{backbone} lacks weights of its {kind.__name__}, such as {sorted(loading['missing_keys'])[0]}"
        )
    vision: nn.Module = getattr(model, "vision_model", model)
    return vision, processor
