"""Optimal transport between the tokens of a caption and the patches of its image, in the joint space of a CLIP.

As in ``rewards.transport``, with the image's patches in the place of a reference's tokens. Patches pass through the
layer norm and the projection that the model applies to the image as a whole, tokens through the projection it applies
to the caption as a whole. Every patch holds as much mass, so the caption must account for the whole image, its
background included.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer

from rewards.base import Candidates, RewardError, Signature
from rewards.networks.pretrained import (
    ModelReward,
    Precision,
    distinct_images,
    load,
    load_image_processor,
    load_model,
)
from rewards.networks.token_embeddings import TokenEncoder, TokenVectors, longest_text
from rewards.transport import Alignment, Ipot, Solver, transport_reward

PARTS = ("text_model", "vision_model", "text_projection", "visual_projection")


class PatchTransport(ModelReward):
    """1 minus the cost of optimal transport between a caption's tokens and its image's patches; 0 without tokens.

    Args:
        checkpoint: hub name or local directory of a CLIP.
        solver: how plans are found; None is ``Ipot()``.
        batch_size: how many images run together, each with its captions.
        precision: of the model's weights; tokens and patches are compared in float32 whatever it is.
    """

    needs_images = True

    def __init__(
        self,
        checkpoint: str = "openai/clip-vit-base-patch32",
        solver: Solver | None = None,
        batch_size: int = 64,
        precision: Precision = "float32",
    ) -> None:
        model = load_model(AutoModel, checkpoint, precision, whole=True)
        lacking = [part for part in PARTS if not hasattr(model, part)]
        if lacking:
            raise RewardError(
                f"{checkpoint!r} is a {type(model).__name__} without {lacking[0]}, so its tokens and patches have no "
                "space in common: give a CLIP, such as openai/clip-vit-base-patch32"
            )
        self._clip: Any = model
        self._processor = load_image_processor(checkpoint)
        super().__init__(checkpoint, model, batch_size, self._processor.to_dict())
        tokenizer = load(AutoTokenizer, checkpoint)
        self.encoder = TokenEncoder(tokenizer, self._embed, longest_text(tokenizer, model))
        self.solver = solver or Ipot()

    @property
    def signature(self) -> Signature:
        """Model, precision and solver."""
        return Signature(
            "PatchTransport", {"model": self.called, "precision": self.precision, "solver": self.solver.name}
        )

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """The reward of each caption; an image is read once, however many captions it has."""
        first_rows, image = distinct_images(candidates)
        images = candidates.images
        assert images is not None  # checked by distinct_images
        scores = np.zeros(len(candidates))
        with self.judging():
            for start in range(0, len(first_rows), self.batch_size):
                rows = first_rows[start : start + self.batch_size]
                patches, _ = self.patches([images[row] for row in rows])
                captions = np.flatnonzero((image >= start) & (image < start + len(rows)))
                scores[captions] = self._score(
                    [candidates.captions[row] for row in captions.tolist()], patches, (image[captions] - start).tolist()
                )
        return scores

    def alignment(self, caption: str, image: Image.Image) -> Alignment:
        """Which patches of the image the tokens of the caption were brought together with."""
        with self.judging():
            patches, grid = self.patches([image])
            (text,) = self.encoder([caption], 1, self.device)
            similarity, rows, columns = self._compare([text], patches, [0])
            plan = self.solver(1 - similarity, rows, columns)
        return Alignment(
            plan[0].double().cpu().numpy(),
            (1 - similarity[0]).double().cpu().numpy(),
            self.encoder.spelled(text),
            tuple(f"{row + 1}, {column + 1}" for row in range(grid[0]) for column in range(grid[1])),
            grid,
        )

    def patches(self, images: Sequence[Image.Image]) -> tuple[Float[Tensor, "images patches width"], tuple[int, int]]:
        """Every patch in the joint space, of length 1, row by row; and how many rows and columns there are."""
        inputs = self.inputs(self._processor(images=list(images), return_tensors="pt"))
        hidden = self._clip.vision_model(pixel_values=inputs["pixel_values"]).last_hidden_state
        side = self._clip.config.vision_config.patch_size
        height, width = (size // side for size in inputs["pixel_values"].shape[-2:])
        hidden = self._clip.vision_model.post_layernorm(hidden[:, -height * width :])  # without the class token
        vectors: Tensor = normalize(self._clip.visual_projection(hidden).float(), dim=-1)
        return vectors, (height, width)

    def _embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        hidden = self._clip.text_model(input_ids=ids, attention_mask=mask).last_hidden_state
        projected: Tensor = self._clip.text_projection(hidden)
        return projected

    def _score(
        self, captions: Sequence[str], patches: Float[Tensor, "images patches width"], image: Sequence[int]
    ) -> Float64[np.ndarray, " captions"]:
        distinct = list(dict.fromkeys(captions))
        vectors = dict(zip(distinct, self.encoder(distinct, 4 * self.batch_size, self.device), strict=True))
        pairs = list(dict.fromkeys(zip(captions, image, strict=True)))
        similarity, rows, columns = self._compare(
            [vectors[caption] for caption, _ in pairs], patches, [place for _, place in pairs]
        )
        rewards = transport_reward(similarity, rows, columns, self.solver).double().cpu().numpy()
        place = {pair: row for row, pair in enumerate(pairs)}
        scores: Float64[np.ndarray, " captions"] = rewards[[place[pair] for pair in zip(captions, image, strict=True)]]
        return scores

    def _compare(
        self, texts: Sequence[TokenVectors], patches: Float[Tensor, "images patches width"], image: Sequence[int]
    ) -> tuple[Float[Tensor, "captions tokens patches"], Tensor, Tensor]:
        """The cosine of each text's tokens and its image's patches, special tokens left out; masks of both."""
        similarity = [
            text.vectors[torch.from_numpy(text.is_text)].to(self.device) @ patches[place].T
            for text, place in zip(texts, image, strict=True)
        ]
        padded = pad_sequence(similarity, batch_first=True)
        lengths = torch.tensor([len(tokens) for tokens in similarity], device=self.device)
        rows = torch.arange(padded.shape[1], device=self.device) < lengths[:, None]
        return padded, rows, torch.ones(padded.shape[0], padded.shape[2], dtype=torch.bool, device=self.device)
