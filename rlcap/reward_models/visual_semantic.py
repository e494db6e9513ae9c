"""Image and caption each as one vector, by two encoders that were not made for each other. Faghri et al. 2018."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer

from rewards.base import RewardError
from rewards.networks.pretrained import load
from rewards.networks.vision import model_class, regions_of
from rewards.networks.visual_semantic import VisualSemantic
from rlcap.policies.backbone_decoder import load_backbone
from rlcap.policies.images import ImageProcessor
from rlcap.policies.pretrained import errors_only
from rlcap.policies.tiny import fresh_processor, fresh_vit
from rlcap.reward_models.base import RewardModel
from rlcap.reward_models.dual_encoder import SETTINGS_FILE, DualEncoder, load_dual_encoder
from rlcap.reward_models.words import WordEncoder, word_encoder, word_tokenizer
from rlcap.types import UserError


@dataclass(frozen=True)
class Heads:
    """The layers between two encoders and the space that images and captions share.

    Attributes:
        width: of that space.
        hidden: width of the layers.
        dropout: in the layers, while learning.
    """

    width: int = 512
    hidden: int = 512
    dropout: float = 0.1


@dataclass(frozen=True)
class PatchEncoder:
    """The shape of a small ViT.

    Attributes:
        patch: side of a patch in pixels.
        width: of its hidden states.
        layers: encoder blocks.
        heads: attention heads; must divide the width.
    """

    patch: int = 16
    width: int = 64
    layers: int = 3
    heads: int = 4


TINY_TEXT = WordEncoder(width=64, dropout=0.0, min_count=1)
TINY_HEADS = Heads(width=64, hidden=128, dropout=0.0)


def load_text_encoder(checkpoint: str) -> tuple[nn.Module, Any]:
    """A text encoder without its pooler, and its tokenizer, from the hub or a directory.

    Raises:
        UserError: if there is none.
    """
    try:
        tokenizer = load(AutoTokenizer, checkpoint)
        kind, unpooled = model_class(load(AutoConfig, checkpoint))
        with errors_only():  # the weights of a head or of a pooler go unused, as they should
            settings = {"use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
            model, loading = load(kind, checkpoint, **settings, **unpooled)
    except RewardError as error:
        raise UserError(str(error)) from error
    if loading["missing_keys"]:
        raise UserError(
            f"{checkpoint} lacks weights of its {kind.__name__}, such as {sorted(loading['missing_keys'])[0]}"
        )
    text: nn.Module = getattr(model, "text_model", model)
    return text, tokenizer


class VisualSemanticModel(DualEncoder):
    """A vision encoder and a text encoder of your choice, with fresh layers into a space of their own.

    Args:
        vision: hub name or directory of a vision model whose last hidden state is a grid or a sequence of regions
            (MobileNetV2, ResNet, ConvNeXt, ViT, CLIP's vision model, ...).
        text: hub name or directory of a text encoder (BERT, MiniLM, RoBERTa, DistilBERT, ...).
        image_size: side in pixels that images are resized to; None keeps the vision model's own size.
        freeze_vision: keep the vision encoder as it is; its features are then computed once per image and kept.
        freeze_text: keep the text encoder as it is.
        heads: the layers between the encoders and the space.
    """

    def __init__(
        self,
        vision: str,
        text: str,
        image_size: int | None = None,
        freeze_vision: bool = True,
        freeze_text: bool = False,
        heads: Heads = Heads(),
    ) -> None:
        super().__init__()
        self.freeze_vision, self.freeze_text = freeze_vision, freeze_text
        encoder, processor = load_backbone(vision, image_size)
        self._join(encoder, processor, *load_text_encoder(text), heads)

    def _join(
        self, vision: nn.Module, processor: ImageProcessor, text: nn.Module, tokenizer: Any, heads: Heads
    ) -> None:
        with torch.no_grad():
            regions = regions_of(vision.eval(), processor([Image.new("RGB", (32, 32))]))
        model = VisualSemantic.joining(vision, text, regions.shape[2], **asdict(heads))
        self._assemble(model, tokenizer, processor)

    def regions(self, pixel_values: Tensor) -> Float[Tensor, "images regions width"]:
        regions: Tensor = self.model.regions(pixel_values)
        return regions

    def embed_regions(self, regions: Float[Tensor, "images regions inputs"]) -> Float[Tensor, "images width"]:
        embeddings: Tensor = self.model.image_features_of(regions)
        return embeddings

    def frozen(self) -> Iterable[nn.Parameter]:
        for encoder, stays in ((self.model.vision, self.freeze_vision), (self.model.text, self.freeze_text)):
            if stays:
                yield from encoder.parameters()

    def _settings(self) -> dict[str, Any]:
        return {"freeze_vision": self.freeze_vision, "freeze_text": self.freeze_text}

    @classmethod
    def load_files(cls, directory: Path) -> "VisualSemanticModel":
        settings = json.loads((directory / SETTINGS_FILE).read_text())
        model = cls.__new__(cls)
        RewardModel.__init__(model)
        model.freeze_vision, model.freeze_text = settings["freeze_vision"], settings["freeze_text"]
        model._assemble(*load_dual_encoder(str(directory)))
        model.shift.fill_(settings["shift"])
        return model


class TinyDualEncoder(VisualSemanticModel):
    """A fresh ViT and a fresh encoder of the data's own words, small enough to learn on a CPU in minutes.

    The vocabulary is that of the training references: all is built by ``prepare`` before training starts, and saved.

    Args:
        image_size: side of the images in pixels.
        vision: the shape of the ViT.
        text: the shape of the text encoder.
        heads: the layers between the encoders and the space that they share.
    """

    def __init__(
        self,
        image_size: int = 64,
        vision: PatchEncoder = PatchEncoder(),
        text: WordEncoder = TINY_TEXT,
        heads: Heads = TINY_HEADS,
    ) -> None:
        RewardModel.__init__(self)
        self.freeze_vision = self.freeze_text = False
        self.model = None
        self._fresh = (vision, text, heads)
        self.processor = fresh_processor(image_size)

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Build the vocabulary and the encoders, unless they were loaded."""
        if self.model is not None:
            return
        vision, text, heads = self._fresh
        tokenizer = word_tokenizer(references, text.min_count, text.positions)
        side = self.processor.settings["size"]["height"]
        encoder = fresh_vit(side, vision.patch, vision.width, vision.layers, vision.heads)
        self._join(encoder, self.processor, word_encoder(text, len(tokenizer)), tokenizer, heads)
