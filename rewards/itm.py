"""Image-text matching: how sure a model trained to tell true pairs from false ones is of an image and a caption.

- BLIP (Li et al. 2022, arXiv 2201.12086) and BLIP-2 (Li et al. 2023, arXiv 2301.12597) have two answers: the matching
  head's probability, which reads both together, and the contrastive cosine of the two read apart.
- ViLT (Kim et al. 2021, arXiv 2102.03334) has one: the ranking logit.

BLIP and BLIP-2 encode an image once for all its captions of a call: their image encoder hands back what it gave before.
ViLT reads image and caption in one Transformer, so each pair is computed whole.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    Blip2ForImageTextRetrieval,
    BlipForImageTextRetrieval,
    ViltForImageAndTextRetrieval,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from rewards.base import Candidates, Signature
from rewards.networks.pretrained import ModelReward, Precision, distinct_images, load, load_image_processor, load_model


def match_probability(logits: Float[Tensor, "captions classes"]) -> Float[Tensor, " captions"]:
    """Probability that caption and image belong together, given the logits of no and yes."""
    return logits.softmax(dim=-1)[:, 1]


class Matching(ModelReward):
    """A reward on pairs of an image and a caption.

    Args:
        checkpoint: hub name or directory of the model, its tokenizer and its image processor.
        precision: of the model's weights.
        batch_size: how many images are encoded, and how many captions are matched, together.
    """

    needs_images = True
    model_class: ClassVar[Any]
    name: ClassVar[str]  # in signatures

    def __init__(self, checkpoint: str, precision: Precision, batch_size: int) -> None:
        model = load_model(self.model_class, checkpoint, precision, whole=True)
        self._tokenizer = load(AutoTokenizer, checkpoint)
        self._processor = load_image_processor(checkpoint)
        super().__init__(checkpoint, model, batch_size, self._processor.to_dict())
        self._longest = min(self._tokenizer.model_max_length, self.text_config(model.config).max_position_embeddings)

    @property
    def signature(self) -> Signature:
        """Model and precision."""
        return Signature(self.name, {"model": self.called, "precision": self.precision})

    def text_config(self, config: Any) -> Any:
        """The part of the model's configuration that is of its text side."""
        return config.text_config

    @abstractmethod
    def encode(self, pixels: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """What is computed of images before any caption is known, one row each."""

    @abstractmethod
    def match(
        self, encoded: Mapping[str, Tensor], own: Int[Tensor, " captions"], tokens: Mapping[str, Tensor]
    ) -> Float[Tensor, " captions"]:
        """Score of each caption with its own of the encoded images."""

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """Score of each caption with its image."""
        rows, own = distinct_images(candidates)
        scores = np.zeros(len(candidates))
        for first in range(0, len(rows), self.batch_size):
            opened = [candidates.images[row] for row in rows[first : first + self.batch_size]]  # type: ignore[index]
            captions = np.flatnonzero((own >= first) & (own < first + len(opened)))
            with self.judging():
                encoded = self.encode(self.inputs(self._processor(images=opened, return_tensors="pt")))
                for start in range(0, len(captions), self.batch_size):
                    now = captions[start : start + self.batch_size]
                    place = torch.from_numpy(own[now] - first).to(self.device)
                    tokens = self.tokens([candidates.captions[caption] for caption in now])
                    scores[now] = self.match(encoded, place, tokens).cpu().double().numpy()
        return scores

    def tokens(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """The captions as the text side reads them; what is beyond its positions is cut."""
        return self.inputs(
            self._tokenizer(
                list(captions),
                padding=True,
                truncation=True,
                max_length=self._longest,
                return_token_type_ids=False,
                return_tensors="pt",
            )
        )


@contextmanager
def answering(encoder: nn.Module, states: Float[Tensor, "images regions width"]) -> Iterator[None]:
    """Meanwhile the image encoder gives these states, whatever it is asked: the model's own forward does the rest."""
    encoder.forward = lambda *_, **__: BaseModelOutputWithPooling(last_hidden_state=states)
    try:
        yield
    finally:
        del encoder.forward  # the class's shows again


class BlipItm(Matching):
    """Probability of BLIP's matching head that the caption is the image's.

    Args:
        checkpoint: hub name or directory of a ``BlipForImageTextRetrieval``.
        precision: of the model's weights.
        batch_size: how many images are encoded, and how many captions are matched, together.
    """

    model_class = BlipForImageTextRetrieval
    name = "BLIP-ITM"

    def __init__(
        self,
        checkpoint: str = "Salesforce/blip-itm-base-coco",
        precision: Precision = "float32",
        batch_size: int = 32,
    ) -> None:
        super().__init__(checkpoint, precision, batch_size)

    def encode(self, pixels: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The states of the image's patches."""
        return {"states": self.model.vision_model(pixels["pixel_values"])[0]}  # type: ignore[operator]

    def match(
        self, encoded: Mapping[str, Tensor], own: Int[Tensor, " captions"], tokens: Mapping[str, Tensor]
    ) -> Float[Tensor, " captions"]:
        """The head's probability of each pair."""
        with answering(self.model.vision_model, encoded["states"][own]):  # type: ignore[arg-type]
            return match_probability(self.model(pixel_values=None, use_itm_head=True, **tokens).itm_score.float())


class BlipItc(BlipItm):
    """Cosine of image and caption in BLIP's contrastive space.

    Args:
        checkpoint: hub name or directory of a ``BlipForImageTextRetrieval``.
        precision: of the model's weights.
        batch_size: how many images are encoded, and how many captions are matched, together.
    """

    name = "BLIP-ITC"

    def match(
        self, encoded: Mapping[str, Tensor], own: Int[Tensor, " captions"], tokens: Mapping[str, Tensor]
    ) -> Float[Tensor, " captions"]:
        """The cosine of each pair; the model gives those of all images with all captions."""
        with answering(self.model.vision_model, encoded["states"]):  # type: ignore[arg-type]
            cosines = self.model(pixel_values=None, use_itm_head=False, **tokens).itm_score
        return _own(cosines, own)


class Blip2Itm(Matching):
    """Probability of BLIP-2's matching head that the caption is the image's.

    Args:
        checkpoint: hub name or directory of a ``Blip2ForImageTextRetrieval``.
        precision: of the model's weights; with float16 transformers keeps the Q-Former in float32.
        batch_size: how many images are encoded, and how many captions are matched, together.
    """

    model_class = Blip2ForImageTextRetrieval
    name = "BLIP-2-ITM"

    def text_config(self, config: Any) -> Any:
        """The Q-Former reads the captions; the language model of this configuration is no part of the matcher."""
        return config.qformer_config

    def __init__(
        self,
        checkpoint: str = "Salesforce/blip2-itm-vit-g",
        precision: Precision = "float32",
        batch_size: int = 32,
    ) -> None:
        super().__init__(checkpoint, precision, batch_size)

    def encode(self, pixels: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The states of the image's patches."""
        return {"states": self.model.vision_model(pixels["pixel_values"])[0]}  # type: ignore[operator]

    def tokens(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """The captions' tokens, after those that stand for the queries where the model counts them among the text."""
        tokens = super().tokens(captions)
        config: Any = self.model.config
        if config.image_token_index is None:
            return tokens
        queries = tokens["input_ids"].new_full((len(captions), config.num_query_tokens), config.image_token_index)
        return {
            "input_ids": torch.cat([queries, tokens["input_ids"]], dim=1),
            "attention_mask": torch.cat([torch.ones_like(queries), tokens["attention_mask"]], dim=1),
        }

    def match(
        self, encoded: Mapping[str, Tensor], own: Int[Tensor, " captions"], tokens: Mapping[str, Tensor]
    ) -> Float[Tensor, " captions"]:
        """The head's probability of each pair."""
        with answering(self.model.vision_model, encoded["states"][own]):  # type: ignore[arg-type]
            logits = self.model(pixel_values=None, use_image_text_matching_head=True, **tokens).logits_per_image
        return match_probability(logits.float())


class Blip2Itc(Blip2Itm):
    """Cosine of image and caption in BLIP-2's contrastive space: the largest over the image's queries.

    Args:
        checkpoint: hub name or directory of a ``Blip2ForImageTextRetrieval``.
        precision: of the model's weights; with float16 transformers keeps the Q-Former in float32.
        batch_size: how many images are encoded, and how many captions are matched, together.
    """

    name = "BLIP-2-ITC"

    def match(
        self, encoded: Mapping[str, Tensor], own: Int[Tensor, " captions"], tokens: Mapping[str, Tensor]
    ) -> Float[Tensor, " captions"]:
        """The cosine of each pair; the model gives those of all images with all captions."""
        with answering(self.model.vision_model, encoded["states"]):  # type: ignore[arg-type]
            cosines = self.model(pixel_values=None, use_image_text_matching_head=False, **tokens).logits_per_image
        return _own(cosines, own)


class ViltItm(Matching):
    """ViLT's ranking logit of image and caption: the greater the better, and no probability.

    Args:
        checkpoint: hub name or directory of a ``ViltForImageAndTextRetrieval``.
        precision: of the model's weights.
        batch_size: how many pairs run together.
    """

    model_class = ViltForImageAndTextRetrieval
    name = "ViLT-ITM"

    def text_config(self, config: Any) -> Any:
        """All of it: there is one Transformer."""
        return config

    def __init__(
        self,
        checkpoint: str = "dandelin/vilt-b32-finetuned-coco",
        precision: Precision = "float32",
        batch_size: int = 32,
    ) -> None:
        super().__init__(checkpoint, precision, batch_size)

    def encode(self, pixels: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The pixels themselves, and where they are padding."""
        return pixels

    def match(
        self, encoded: Mapping[str, Tensor], own: Int[Tensor, " captions"], tokens: Mapping[str, Tensor]
    ) -> Float[Tensor, " captions"]:
        """The logit of each pair."""
        images = {name: value[own] for name, value in encoded.items()}
        # ViLT draws the order of the patches from torch's generator. They carry their positions, so it means nothing,
        # but the policy draws its captions from that generator too.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            logits: Tensor = self.model(**images, **tokens).logits
        return logits.squeeze(1)


def _own(scores: Float[Tensor, "images captions"], own: Int[Tensor, " captions"]) -> Float[Tensor, " captions"]:
    return scores.float()[own, torch.arange(len(own), device=own.device)]
