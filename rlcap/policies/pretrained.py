"""What captioners with a tokenizer of their own share: loading, saving, text to tokens, an encoder perhaps frozen."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, GenerationConfig
from transformers.utils import logging

from rewards.networks.vision import last_hidden_state
from rlcap.errors import UserError
from rlcap.functional.masking import until_eos
from rlcap.policies.base import Policy, ProcessImages
from rlcap.policies.freezing import freeze_unreached
from rlcap.policies.grid import grid_of
from rlcap.policies.images import ImageProcessor
from rlcap.types import Batch, Captions, Encoded

SETTINGS_FILE = "settings.json"


class PretrainedPolicy(Policy):
    """A captioner of the hub. What it saves is again a checkpoint that transformers reads.

    A family says which model class it is of, which of its modules is the image encoder, and which tokens are special.

    Args:
        checkpoint: hub name, or directory of a model, its tokenizer and its image processor.
        image_size: side in pixels that images are resized to; None keeps the checkpoint's own size.
        freeze_encoder: keep the image encoder as it is; its features are then computed once per image and kept.
    """

    model_class: ClassVar[Any]
    model: Any
    start_id: int

    def __init__(self, checkpoint: str, image_size: int | None = None, freeze_encoder: bool = False) -> None:
        super().__init__()
        self.processor = ImageProcessor.load(checkpoint, image_size)
        self.model, self.tokenizer = load_checkpoint(self.model_class, checkpoint)
        text = self.model.config.get_text_config(decoder=True)
        self.positions = int(getattr(text, "max_position_embeddings", None) or 1 << 20)
        self.start_id, self.eos_id, self.pad_id = self.special_tokens()
        beyond = range(len(self.tokenizer), text.vocab_size)  # embeddings that no text stands for
        unwritten = {self.start_id, self.pad_id, *self.tokenizer.all_special_ids, *beyond} - {self.eos_id}
        self.suppressed = tuple(sorted(token for token in unwritten if token < text.vocab_size))
        # a checkpoint's own generation settings (beams, penalties, lengths) would alter the distribution drawn from
        self.model.generation_config = GenerationConfig(
            bos_token_id=self.start_id,
            decoder_start_token_id=self.start_id,
            eos_token_id=self.eos_id,
            pad_token_id=self.pad_id,
        )
        self.freeze_encoder = freeze_encoder
        probe = self.processor([Image.new("RGB", (32, 32))])
        freeze_unused(self.encoder, probe, everything=freeze_encoder)
        self._feature_shape: tuple[int, int] | None = None
        if freeze_encoder:
            _, regions, width = self.features(probe).shape
            self._feature_shape = (regions, width)

    # --- what a family says

    @property
    @abstractmethod
    def encoder(self) -> nn.Module:
        """The image encoder: pixel values to a last hidden state of regions."""

    @abstractmethod
    def special_tokens(self) -> tuple[int, int, int]:
        """The ids of the start token, of EOS and of padding."""

    def connect(self, regions: Float[Tensor, "images regions _"]) -> Float[Tensor, "images regions width"]:
        """What the decoder attends to, from the encoder's last hidden state."""
        return regions

    # --- what they share

    def train(self, mode: bool = True) -> "PretrainedPolicy":
        """Switch dropout; a frozen encoder, and every BatchNorm of a learning one, stays in evaluation mode."""
        super().train(mode)
        for module in self.encoder.modules():
            if self.freeze_encoder or isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(False)
        return self

    @property
    def process_images(self) -> ProcessImages:
        return self.processor

    @property
    def feature_shape(self) -> tuple[int, int] | None:
        return self._feature_shape

    @property
    def hidden_width(self) -> int:
        return int(self.model.config.get_text_config(decoder=True).hidden_size)

    @torch.no_grad()
    def features(self, pixel_values: Tensor) -> Float[Tensor, "images regions width"]:
        return last_hidden_state(self.encoder, pixel_values)

    def encode(self, batch: Batch) -> Encoded:
        if batch.features is not None:
            regions = batch.features.to(self.model.dtype)
        elif batch.pixel_values is None:
            raise UserError("a batch must hold pixel_values or features")
        elif self.freeze_encoder:
            regions = self.features(batch.pixel_values)
        else:
            regions = last_hidden_state(self.encoder, batch.pixel_values)
        return Encoded(self.connect(regions))

    def encode_grid(
        self, pixel_values: Float[Tensor, "images channels height width"]
    ) -> tuple[Encoded, tuple[int, int]]:
        regions = last_hidden_state(self.encoder, pixel_values)
        return Encoded(self.connect(regions)), grid_of(self.encoder, pixel_values, regions.shape[1])

    def tokenize(self, captions: Sequence[str], max_length: int) -> Captions:
        limit = min(max_length, self.positions)
        texts = self.tokenizer(list(captions), add_special_tokens=False, verbose=False)["input_ids"] if captions else []
        rows = [[*tokens, self.eos_id][:limit] for tokens in texts]
        length = max(map(len, rows), default=0)
        padded = [row + [self.pad_id] * (length - len(row)) for row in rows]
        token_ids = torch.tensor(padded, dtype=torch.long).reshape(len(rows), length)
        written = torch.arange(length) < torch.tensor([[len(row)] for row in rows], dtype=torch.long).reshape(-1, 1)
        return Captions(token_ids, until_eos(token_ids, self.eos_id) & written)

    def detokenize(self, captions: Captions) -> list[str]:
        rows = [tokens[mask].tolist() for tokens, mask in zip(captions.token_ids, captions.mask, strict=True)]
        texts = self.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=True)
        return [" ".join(text.split()) for text in texts]

    def save_files(self, directory: Path) -> None:
        with no_progress_bars():
            self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        self.processor.save(directory)
        (directory / SETTINGS_FILE).write_text(json.dumps({"freeze_encoder": self.freeze_encoder}, indent=2) + "\n")

    @classmethod
    def load_files(cls, directory: Path) -> "PretrainedPolicy":
        settings = json.loads((directory / SETTINGS_FILE).read_text())
        return cls(str(directory), freeze_encoder=settings["freeze_encoder"])

    @property
    def fingerprint(self) -> str:
        """Changes when the frozen encoder or its image processor does: the key of features kept on disk."""
        return fingerprint_of(self.encoder, self.processor)


def load_checkpoint(model_class: Any, checkpoint: str) -> tuple[Any, Any]:
    """A model in float32 and its tokenizer, from the hub or a directory.

    Raises:
        UserError: if there are none, or it is a model of another kind.
    """
    try:
        config = AutoConfig.from_pretrained(checkpoint)
        if not isinstance(config, model_class.config_class):
            expected = model_class.config_class.model_type
            raise UserError(f"{checkpoint} holds a model of type {config.model_type}; this policy needs {expected}")
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        with no_progress_bars():
            return model_class.from_pretrained(checkpoint, dtype=torch.float32), tokenizer
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"no captioner with a tokenizer in {checkpoint}: {reason}") from error


def fingerprint_of(encoder: nn.Module, processor: ImageProcessor) -> str:
    """A digest of an image encoder's weights and of what its image processor does."""
    digest = hashlib.sha256(json.dumps(processor.settings, sort_keys=True, default=str).encode())
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def freeze_unused(encoder: nn.Module, probe: Float[Tensor, "images ..."], everything: bool) -> None:
    """Stop all of a vision encoder from learning, or what its regions do not depend on, such as a pooler."""
    if everything:
        encoder.requires_grad_(False)
        return
    with torch.enable_grad():
        freeze_unreached(last_hidden_state(encoder.eval(), probe), encoder)


def first_token(name: str, vocabulary: int, *candidates: int | Sequence[int] | None) -> int:
    """The first candidate that is a token of the vocabulary; of a list of tokens its first.

    Raises:
        UserError: if none is.
    """
    for candidate in candidates:
        token = candidate[0] if isinstance(candidate, Sequence) and candidate else candidate
        if isinstance(token, int) and 0 <= token < vocabulary:
            return token
    raise UserError(f"the checkpoint names no {name} token within its {vocabulary} tokens: set it in its tokenizer")


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Silence for transformers' bars while a model is loaded or saved."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def errors_only() -> Iterator[None]:
    """Silence for transformers' notices too, where what they would tell is checked."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with no_progress_bars():
            yield
    finally:
        logging.set_verbosity(before)
