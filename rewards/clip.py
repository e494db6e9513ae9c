"""CLIPScore and RefCLIPScore: how near a caption is to its image, and to its references. Hessel et al. 2021.

arXiv 2104.08718. The authors compute with CLIP ViT-B/32 and put "A photo depicts" before every caption and reference.
"""

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Signature
from rewards.networks.dual_encoder import DualEncoder
from rewards.networks.pretrained import Precision
from rewards.ngrams import Memory

PROMPT = "A photo depicts"
WEIGHT = 2.5  # the paper's, which spreads the scores of CLIP ViT-B/32 over 0 to 1


def clip_score(
    similarity: Float64[np.ndarray, " captions"], weight: float = WEIGHT
) -> Float64[np.ndarray, " captions"]:
    """CLIPScore of each caption, given its cosine with its image: ``w max(cos(c, v), 0)``. Hessel et al. 2021."""
    scores: Float64[np.ndarray, " captions"] = weight * np.maximum(similarity, 0.0)
    return scores


def ref_clip_score(
    clip_scores: Float64[np.ndarray, " captions"], reference_similarity: Float64[np.ndarray, " captions"]
) -> Float64[np.ndarray, " captions"]:
    """RefCLIPScore of each caption: ``H-Mean(CLIP-S(c, v), max(max_r cos(c, r), 0))``. Hessel et al. 2021, sec. 3.

    The weight w is in CLIP-S and not in the other mean, in the paper as in its authors' code. It is 0 where either is.

    Args:
        clip_scores: CLIPScore, weighted.
        reference_similarity: the largest cosine with a reference.
    """
    nearest = np.maximum(reference_similarity, 0.0)
    total = clip_scores + nearest
    scores: Float64[np.ndarray, " captions"] = np.divide(
        2 * clip_scores * nearest, total, out=np.zeros_like(total), where=total > 0
    )
    return scores


class ClipScore(DualEncoder):
    """CLIPScore, from any dual encoder of transformers.

    Args:
        checkpoint: hub name or directory of a CLIP, a SigLIP or their like.
        prompt: what comes before each caption, parted by a space; may be empty.
        weight: the factor of the cosine. The paper's 2.5 is for CLIP ViT-B/32.
        precision: of the model's weights; embeddings are compared in float32.
        batch_size: how many images or captions are embedded together.
        remembered_images: how many images' embeddings are kept between calls, at 4 bytes a dimension (2 kB each for
            CLIP ViT-B/32). They are known by image id, which must stand for one image as long as the reward lives.
    """

    def __init__(
        self,
        checkpoint: str = "openai/clip-vit-base-patch32",
        prompt: str = PROMPT,
        weight: float = WEIGHT,
        precision: Precision = "float32",
        batch_size: int = 64,
        remembered_images: int = 131_072,
    ) -> None:
        super().__init__(checkpoint, precision, batch_size, remembered_images)
        self.prompt = prompt
        self.weight = weight

    @property
    def signature(self) -> Signature:
        """Model, prompt, weight and precision."""
        return self._signature("CLIPScore")

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """CLIPScore of each caption."""
        return self._scores(candidates)[0] if len(candidates) else np.zeros(0)

    def _signature(self, name: str) -> Signature:
        return Signature(
            name,
            {"model": self.called, "prompt": self.prompt, "w": f"{self.weight:g}", "precision": self.precision},
        )

    def _prompted(self, text: str) -> str:
        return f"{self.prompt} {text}" if self.prompt else text

    def _scores(
        self, candidates: Candidates
    ) -> tuple[Float64[np.ndarray, " captions"], Float64[np.ndarray, "captions width"]]:
        """CLIPScore and embedding of each caption."""
        images, own = self.embed_images(candidates)
        captions = self.embed_captions([self._prompted(caption) for caption in candidates.captions])
        exact = captions.astype(np.float64)
        return clip_score(np.sum(images[own].astype(np.float64) * exact, axis=1), self.weight), exact


class RefClipScore(ClipScore):
    """RefCLIPScore, from any dual encoder of transformers.

    Args:
        checkpoint: hub name or directory of a CLIP, a SigLIP or their like.
        prompt: what comes before each caption and reference, parted by a space; may be empty.
        weight: the factor of the cosine with the image.
        precision: of the model's weights; embeddings are compared in float32.
        batch_size: how many images or captions are embedded together.
        remembered_images: how many images' embeddings are kept between calls, and five times as many references', at
            4 bytes a dimension (12 kB for an image and five references with CLIP ViT-B/32).
    """

    needs_references = True

    def __init__(
        self,
        checkpoint: str = "openai/clip-vit-base-patch32",
        prompt: str = PROMPT,
        weight: float = WEIGHT,
        precision: Precision = "float32",
        batch_size: int = 64,
        remembered_images: int = 131_072,
    ) -> None:
        super().__init__(checkpoint, prompt, weight, precision, batch_size, remembered_images)
        self._references = Memory(self.embed_texts, 5 * remembered_images)

    @property
    def signature(self) -> Signature:
        """Model, prompt, weight and precision."""
        return self._signature("RefCLIPScore")

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """RefCLIPScore of each caption."""
        references = candidates.reference_tuples()
        if not references:
            return np.zeros(0)
        scores, captions = self._scores(candidates)
        texts = [self._prompted(reference) for group in references for reference in group]
        embeddings = np.stack(self._references(texts))
        sizes = [len(group) for group in references]
        first = np.cumsum([0, *sizes[:-1]])
        similarity = np.sum(embeddings * np.repeat(captions, sizes, axis=0), axis=1)
        return ref_clip_score(scores, np.maximum.reduceat(similarity, first))
