"""Self-retrieval: a caption is good when it finds its own image among the others of the batch.

Liu et al. 2018 (arXiv 1803.08314) and Dessì et al. 2023 (arXiv 2304.01662). The scores depend on which images the batch
holds; in a run of several processes each compares with the images of its own part of the batch.
"""

from abc import abstractmethod
from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Int64

from rewards.base import Candidates, RewardError, Signature
from rewards.networks.dual_encoder import DualEncoder
from rewards.networks.pretrained import Precision


def own_logprob(
    similarity: Float64[np.ndarray, "captions images"], own: Int64[np.ndarray, " captions"], temperature: float
) -> Float64[np.ndarray, " captions"]:
    """Log-probability of each caption's own image: ``log softmax(cos / temperature)``. Dessì et al. 2023."""
    logits = similarity / temperature
    logits = logits - logits.max(axis=1, keepdims=True)
    logprobs: Float64[np.ndarray, " captions"] = logits[np.arange(len(own)), own] - np.log(np.exp(logits).sum(axis=1))
    return logprobs


def own_margin(
    similarity: Float64[np.ndarray, "captions images"], own: Int64[np.ndarray, " captions"]
) -> Float64[np.ndarray, " captions"]:
    """Similarity of each caption with its own image over that with the hardest other one. Liu et al. 2018."""
    rows = np.arange(len(own))
    others = similarity.copy()
    others[rows, own] = -np.inf
    margins: Float64[np.ndarray, " captions"] = similarity[rows, own] - others.max(axis=1)
    return margins


class Retrieval(DualEncoder):
    """A reward on the similarities of every caption with every distinct image of the batch, told apart by image id."""

    independent = False

    @abstractmethod
    def judge(
        self, similarity: Float64[np.ndarray, "captions images"], own: Int64[np.ndarray, " captions"]
    ) -> Float64[np.ndarray, " captions"]:
        """Score of each caption, given the cosines with all images and the place of its own."""

    def signature_of(self, candidates: Candidates) -> Signature:
        """The signature with the number of images that each caption's own was to be found among."""
        signature = super().signature_of(candidates)
        if candidates.image_ids is None:
            return signature
        return replace(signature, settings={**signature.settings, "images": str(len(set(candidates.image_ids)))})

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """Score of each caption."""
        if not len(candidates):
            return np.zeros(0)
        if candidates.image_ids is None:
            raise RewardError("self-retrieval tells images apart by id, and Candidates.image_ids is None: give them")
        count = len(set(candidates.image_ids))
        if count < 2:
            raise RewardError(
                f"self-retrieval finds an image among others, and these {len(candidates)} captions are of {count} "
                "image: give captions of 2 images or more at a time"
            )
        images, own = self.embed_images(candidates)
        captions = self.embed_captions(candidates.captions)
        return self.judge(captions.astype(np.float64) @ images.astype(np.float64).T, own)


class SelfRetrieval(Retrieval):
    """Log-probability that a caption picks its own image among the distinct images of the batch.

    Args:
        checkpoint: hub name or directory of a CLIP, a SigLIP or their like.
        temperature: what cosines are divided by before the softmax; CLIP was trained to 0.01.
        precision: of the model's weights; embeddings are compared in float32.
        batch_size: how many images or captions are embedded together.
        remembered_images: how many images' embeddings are kept between calls, at 4 bytes a dimension.
    """

    def __init__(
        self,
        checkpoint: str = "openai/clip-vit-base-patch32",
        temperature: float = 0.01,
        precision: Precision = "float32",
        batch_size: int = 64,
        remembered_images: int = 131_072,
    ) -> None:
        if not temperature > 0:
            raise RewardError(f"the temperature of self-retrieval is {temperature}: give a number above 0")
        super().__init__(checkpoint, precision, batch_size, remembered_images)
        self.temperature = temperature

    @property
    def signature(self) -> Signature:
        """Model, temperature and precision."""
        return Signature(
            "SelfRetrieval",
            {"model": self.called, "temperature": f"{self.temperature:g}", "precision": self.precision},
        )

    def judge(
        self, similarity: Float64[np.ndarray, "captions images"], own: Int64[np.ndarray, " captions"]
    ) -> Float64[np.ndarray, " captions"]:
        """The log-probability of the own image."""
        return own_logprob(similarity, own, self.temperature)


class SelfRetrievalMargin(Retrieval):
    """Cosine of a caption with its own image, over that with the most similar other image of the batch.

    Args:
        checkpoint: hub name or directory of a CLIP, a SigLIP or their like.
        precision: of the model's weights; embeddings are compared in float32.
        batch_size: how many images or captions are embedded together.
        remembered_images: how many images' embeddings are kept between calls, at 4 bytes a dimension.
    """

    def __init__(
        self,
        checkpoint: str = "openai/clip-vit-base-patch32",
        precision: Precision = "float32",
        batch_size: int = 64,
        remembered_images: int = 131_072,
    ) -> None:
        super().__init__(checkpoint, precision, batch_size, remembered_images)

    @property
    def signature(self) -> Signature:
        """Model and precision."""
        return Signature(type(self).__name__, {"model": self.called, "precision": self.precision})

    def judge(
        self, similarity: Float64[np.ndarray, "captions images"], own: Int64[np.ndarray, " captions"]
    ) -> Float64[np.ndarray, " captions"]:
        """The margin of the own image."""
        return own_margin(similarity, own)


class SelfRetrievalRecall(SelfRetrievalMargin):
    """Recall@1: 1 for a caption that is nearer to its own image than to any other of the batch, 0 otherwise, ties too.

    Args:
        checkpoint: hub name or directory of a CLIP, a SigLIP or their like.
        precision: of the model's weights; embeddings are compared in float32.
        batch_size: how many images or captions are embedded together.
        remembered_images: how many images' embeddings are kept between calls, at 4 bytes a dimension.
    """

    def judge(
        self, similarity: Float64[np.ndarray, "captions images"], own: Int64[np.ndarray, " captions"]
    ) -> Float64[np.ndarray, " captions"]:
        """Whether the own image is the nearest."""
        return (own_margin(similarity, own) > 0).astype(np.float64)
