"""How good a caption is by itself: a text encoder with a scalar head. It sees no image: grammar, fluency, style."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor, nn

from rewards.networks.dual_encoder import TextReader
from rewards.networks.visual_semantic import masked_mean
from rlcap.errors import UserError
from rlcap.models import ProcessImages
from rlcap.policies.freezing import freeze_unreached
from rlcap.policies.pretrained import no_progress_bars
from rlcap.reward_models.base import RewardModel, readable
from rlcap.reward_models.heads import ScalarHead, load_own_weights, save_own_weights
from rlcap.reward_models.visual_semantic import load_text_encoder
from rlcap.reward_models.words import WordEncoder, word_encoder, word_tokenizer
from rlcap.types import Batch, Captions, Encoded

SETTINGS_FILE = "settings.json"
ENCODER_FOLDER = "encoder"


def last_place(
    states: Float[Tensor, "rows places width"], mask: Bool[Tensor, "rows places"]
) -> Float[Tensor, "rows width"]:
    """The state at the last place of each row where the mask is True."""
    places = torch.arange(mask.shape[1], device=mask.device)
    last = places.masked_fill(~mask, 0).amax(dim=1)  # over places
    return states[torch.arange(len(states), device=states.device), last]


POOLINGS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"mean": masked_mean, "last": last_place}


def no_pixels(images: Sequence[Image.Image]) -> Float[Tensor, "images 1 1 1"]:
    """A single 0 for each image: what a model that sees no images makes of them."""
    return torch.zeros(len(images), 1, 1, 1)


@dataclass(frozen=True)
class TextSettings:
    """How captions are read.

    Attributes:
        pooling: ``mean`` of the tokens' states, as suits encoders like BERT; or the ``last`` token's, as suits decoders
            like GPT-2.
        freeze: keep the encoder as it is.
        hidden: width of the head's layer; 0 is none.
        dropout: in the head, while learning.
    """

    pooling: Literal["mean", "last"] = "mean"
    freeze: bool = False
    hidden: int = 0
    dropout: float = 0.1


TINY_ENCODER = WordEncoder(width=64, dropout=0.0, min_count=1)
TINY_SETTINGS = TextSettings(dropout=0.0)


class TextScorer(RewardModel):
    """A text encoder of the hub with a scalar head.

    Args:
        checkpoint: hub name or directory of a text model and its tokenizer (BERT, MiniLM, RoBERTa, DistilBERT, GPT-2).
        settings: how captions are read.
    """

    needs_images = False
    encoder: Any

    def __init__(self, checkpoint: str, settings: TextSettings = TextSettings()) -> None:
        super().__init__()
        self._assemble(*load_text_encoder(checkpoint), settings)

    def _assemble(self, encoder: nn.Module, tokenizer: Any, settings: TextSettings) -> None:
        config: Any = encoder.config
        if getattr(config, "is_encoder_decoder", False):
            raise UserError(f"{config.model_type} is an encoder with a decoder: give a text encoder, such as a BERT")
        if tokenizer.pad_token is None:
            if tokenizer.eos_token is None:
                raise UserError("the tokenizer has neither a padding token nor an end token: set its pad_token")
            tokenizer.pad_token = tokenizer.eos_token  # never read: the mask tells it from an end
        tokenizer.padding_side = "right"
        self.settings = settings
        self.encoder, self.tokenizer = encoder.eval().requires_grad_(not settings.freeze), tokenizer
        self.head = ScalarHead(config.get_text_config().hidden_size, settings.hidden, settings.dropout)
        self._reader = TextReader.of(tokenizer, config)
        self.to(self.shift.device)
        self.train(False)
        with torch.enable_grad():
            probe = self.tokenize(["a"], self._reader.longest).to(self.device)
            freeze_unreached(self._states(probe), self.encoder)
        self.train()

    def _states(self, captions: Captions) -> Float[Tensor, "captions width"]:
        """The pooled state of each caption."""
        mask = captions.mask.to(captions.token_ids.dtype)
        states = self.encoder(input_ids=captions.token_ids, attention_mask=mask).last_hidden_state
        return POOLINGS[self.settings.pooling](states, captions.mask)

    def encode(self, batch: Batch) -> Encoded:
        return Encoded(torch.zeros(len(batch), 1, 1, device=self.device))  # a caption is all there is to see

    def tokenize(self, captions: Sequence[str], max_length: int) -> Captions:
        tokens = self._reader(captions, max_length) if captions else {}
        empty = torch.zeros(len(captions), 0, dtype=torch.long)
        token_ids = tokens.get("input_ids", empty).long()
        mask = tokens.get("attention_mask", empty).bool()
        return readable(Captions(token_ids, mask), self.tokenizer.pad_token_id)

    def score(self, encoded: Encoded, captions: Captions) -> Float[Tensor, " captions"]:
        numbers: Tensor = self.head(self._states(captions))
        return numbers

    @property
    def process_images(self) -> ProcessImages:
        return no_pixels

    def train(self, mode: bool = True) -> "TextScorer":
        """Switch dropout; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.encoder is not None and self.settings.freeze:
            self.encoder.train(False)
        return self

    def save_files(self, directory: Path) -> None:
        with no_progress_bars():
            self.encoder.save_pretrained(directory / ENCODER_FOLDER)
        self.tokenizer.save_pretrained(directory / ENCODER_FOLDER)
        save_own_weights(self, directory, "encoder")
        (directory / SETTINGS_FILE).write_text(json.dumps(asdict(self.settings), indent=2) + "\n")

    @classmethod
    def load_files(cls, directory: Path) -> "TextScorer":
        settings = TextSettings(**json.loads((directory / SETTINGS_FILE).read_text()))
        model = cls.__new__(cls)
        RewardModel.__init__(model)
        model._assemble(*load_text_encoder(str(directory / ENCODER_FOLDER)), settings)
        load_own_weights(model, directory, "encoder")
        return model


class TinyTextScorer(TextScorer):
    """A fresh encoder of the data's own words with a scalar head, for those without a checkpoint.

    The vocabulary is that of the training references: it is built with the encoder by ``prepare`` before training
    starts, and saved.

    Args:
        encoder: the shape of the encoder.
        settings: how captions are read.
    """

    def __init__(
        self,
        encoder: WordEncoder = TINY_ENCODER,
        settings: TextSettings = TINY_SETTINGS,
    ) -> None:
        RewardModel.__init__(self)
        self.encoder = None
        self.shape, self.settings = encoder, settings

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Build the vocabulary and the encoder, unless they were loaded."""
        if self.encoder is None:
            tokenizer = word_tokenizer(references, self.shape.min_count, self.shape.positions)
            self._assemble(word_encoder(self.shape, len(tokenizer)), tokenizer, self.settings)
