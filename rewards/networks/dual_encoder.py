"""Images and texts in one space: what rewards on CLIP, SigLIP and their like share."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

import rewards.networks.visual_semantic  # noqa: F401 (so that AutoModel knows the dual encoders trained in rlcap)
from rewards.base import Candidates, RewardError
from rewards.networks.pretrained import (
    Kept,
    ModelReward,
    Precision,
    distinct_images,
    load,
    load_image_processor,
    load_model,
)

logger = logging.getLogger(__name__)

# They read padding as text: trained on texts of one length, without a mask.
PADDED = ("siglip", "siglip2")


@dataclass(frozen=True)
class TextReader:
    """Texts as the tokens that the text model of a dual encoder reads.

    Attributes:
        tokenizer: a transformers tokenizer.
        longest: longer texts are cut.
        padded: whether the model reads padding as text, in lower case: SigLIP and its like.
    """

    tokenizer: Any
    longest: int
    padded: bool

    @classmethod
    def of(cls, tokenizer: Any, config: Any) -> "TextReader":
        """That of a checkpoint's tokenizer and the model's configuration."""
        return cls(tokenizer, min(tokenizer.model_max_length, _positions(config)), config.model_type in PADDED)

    def __call__(self, texts: Sequence[str], longest: int | None = None) -> Mapping[str, Tensor]:
        """What ``get_text_features`` takes: token ids, padded, and a mask unless padding is read too.

        Args:
            texts: any.
            longest: cut them shorter still.
        """
        tokens: dict[str, Tensor] = dict(
            self.tokenizer(
                self._read(texts),
                padding=True,
                truncation=True,
                max_length=min(longest or self.longest, self.longest),
                return_tensors="pt",
            )
        )
        if not self.padded:
            return tokens
        ids = tokens["input_ids"]
        missing = self.longest - ids.shape[1]
        sides = (0, missing) if self.tokenizer.padding_side == "right" else (missing, 0)
        return {"input_ids": torch.nn.functional.pad(ids, sides, value=self.tokenizer.pad_token_id)}

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        """Which texts are cut."""
        tokens = self.tokenizer(self._read(texts), truncation=True, max_length=self.longest + 1)["input_ids"]
        return [len(ids) > self.longest for ids in tokens]

    def _read(self, texts: Sequence[str]) -> list[str]:
        """The texts as the model was taught them: SigLIP in lower case, which not all of its tokenizers see to."""
        return [text.lower() for text in texts] if self.padded else list(texts)


class DualEncoder(ModelReward):
    """A reward on embeddings of images and captions.

    Images are embedded once per image id, which stands for one image as long as the reward lives, and kept between
    calls; without ids, once per call. A caption longer than the text model reads is cut by the tokenizer, as CLIP does.

    Args:
        checkpoint: hub name or directory of a dual encoder of transformers, its tokenizer and its image processor.
        precision: of its weights; embeddings are compared in float32.
        batch_size: how many images or texts are embedded together.
        remembered_images: how many images' embeddings are kept between calls, at 4 bytes a dimension: 2 kB each for
            CLIP ViT-B/32.

    Attributes:
        cut_share: the share of the last call's captions that were too long and cut.
    """

    needs_images = True

    def __init__(self, checkpoint: str, precision: Precision, batch_size: int, remembered_images: int) -> None:
        model = load_model(AutoModel, checkpoint, precision, whole=True)
        if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
            raise RewardError(
                f"{checkpoint!r} is a {type(model).__name__}, which has no space that images and texts share: give a "
                "CLIP or SigLIP, such as openai/clip-vit-base-patch32"
            )
        self._texts = TextReader.of(load(AutoTokenizer, checkpoint), model.config)
        self._processor = load_image_processor(checkpoint)
        super().__init__(checkpoint, model, batch_size, self._processor.to_dict())
        self.cut_share = 0.0
        self._told = False
        self._images: Kept[str, Float32[np.ndarray, " width"]] = Kept(remembered_images)

    def embed_images(
        self, candidates: Candidates
    ) -> tuple[Float32[np.ndarray, "images width"], Int64[np.ndarray, " captions"]]:
        """The unit embedding of each distinct image, and the place of every caption's image among them."""
        rows, own = distinct_images(candidates)
        images = candidates.images
        assert images is not None  # checked by distinct_images

        def make(places: list[int]) -> list[Float32[np.ndarray, " width"]]:
            embeddings: list[Float32[np.ndarray, " width"]] = []
            for start in range(0, len(places), self.batch_size):
                opened = [images[rows[place]] for place in places[start : start + self.batch_size]]
                inputs = self.inputs(self._processor(images=opened, return_tensors="pt"))
                with self.judging():
                    embeddings += _unit(self.model.get_image_features(**inputs))  # type: ignore[operator]
            return embeddings

        if candidates.image_ids is None:
            embeddings = make(list(range(len(rows))))
        else:
            embeddings = self._images([candidates.image_ids[row] for row in rows], make)
        return np.stack(embeddings), own

    def embed_captions(self, captions: Sequence[str]) -> Float32[np.ndarray, "captions width"]:
        """The unit embedding of each caption, equal ones embedded once; tells of those that were cut."""
        texts = list(dict.fromkeys(captions))
        places = {text: place for place, text in enumerate(texts)}
        cut = {text for text, too_long in zip(texts, self._texts.too_long(texts), strict=True) if too_long}
        count = sum(caption in cut for caption in captions)
        if count and not self._told:
            self._told = True
            logger.warning(
                "%s reads %d tokens: %d of %d captions are longer and were cut",
                *(self.called, self._texts.longest, count, len(captions)),
            )
        self.cut_share = count / len(captions)
        return np.stack(self.embed_texts(texts))[[places[caption] for caption in captions]]

    def embed_texts(self, texts: Sequence[str]) -> list[Float32[np.ndarray, " width"]]:
        """The unit embedding of each text."""
        embeddings: list[Float32[np.ndarray, " width"]] = []
        for start in range(0, len(texts), self.batch_size):
            tokens = self._texts(texts[start : start + self.batch_size])
            with self.judging():
                embeddings += _unit(self.model.get_text_features(**self.inputs(tokens)))  # type: ignore[operator]
        return embeddings


def _positions(config: Any) -> int:
    """How many tokens the text model has positions for."""
    return int(getattr(getattr(config, "text_config", config), "max_position_embeddings", 512))


def embeddings_of(features: Any) -> Float[Tensor, "rows width"]:
    """Embeddings as a tensor; transformers gives the features as they are or among a model's outputs."""
    embeddings: Tensor = features if isinstance(features, Tensor) else features.pooler_output
    return embeddings


def _unit(features: Any) -> list[Float32[np.ndarray, " width"]]:
    """Embeddings of length 1."""
    rows = torch.nn.functional.normalize(embeddings_of(features).float(), dim=-1).cpu().numpy()
    return [row.copy() for row in rows]  # a view would keep the whole batch alive
