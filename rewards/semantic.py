"""Sentence similarity: the cosine of a caption's and its references' sentence embeddings. Reimers and Gurevych 2019."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.functional import normalize

from rewards.base import Candidates, Signature
from rewards.networks.pretrained import Kept, ModelReward, Precision, load
from rewards.networks.token_embeddings import CAPTIONS_AT_ONCE, OverReferences, over_references


def cosines(
    captions: Float[Tensor, "captions width"],
    references: Float[Tensor, "references width"],
    caption: Sequence[int],
    reference: Sequence[int],
) -> Float64[np.ndarray, " pairs"]:
    """The cosine of ``captions[caption[p]]`` and ``references[reference[p]]`` for each pair p."""
    left, right = normalize(captions.float(), dim=1), normalize(references.float(), dim=1)
    products: Float64[np.ndarray, " pairs"] = (
        (left[list(caption)] * right[list(reference)]).sum(dim=1).double().cpu().numpy()
    )
    return products


class SentenceTransformerCheckpoint:
    """Loads a SentenceTransformer as ``rewards.networks.pretrained.load`` loads transformers' models.

    The encoder's weights are read from safetensors alone. A further layer's (Dense, LSTM) are too where it has them;
    else torch reads its tensors and nothing but tensors. Code that lies beside the weights is not run.
    """

    @staticmethod
    def from_pretrained(checkpoint: str, precision: Precision) -> SentenceTransformer:
        """The model in main memory, in this precision, without dropout and without gradients."""
        model = SentenceTransformer(
            checkpoint,
            device="cpu",
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True, "dtype": getattr(torch, precision)},
        )
        return model.eval().requires_grad_(False)


def module_settings(model: SentenceTransformer) -> dict[str, Any]:
    """What makes its embeddings besides weights: the modules, pooling above all, and the prompt."""
    modules: list[tuple[str, Any]] = [
        (type(module).__name__, getattr(module, "get_config_dict", dict)()) for module in model
    ]
    prompt = model.prompts.get(model.default_prompt_name or "")
    return {"modules": modules, "prompt": prompt, "longest": model.max_seq_length}


class SentenceSimilarity(ModelReward):
    """The cosine of sentence embeddings of caption and reference.

    Args:
        checkpoint: hub name or local directory of a sentence-transformers model.
        over_references: whether the mean over references counts or the most similar reference.
        batch_size: how many texts run together.
        precision: of the model's weights; embeddings are compared in float32 whatever it is.
        remembered_texts: how many texts' embeddings are kept between calls, in main memory, 1.5 kB each at 384 wide.
    """

    needs_references = True

    def __init__(
        self,
        checkpoint: str = "sentence-transformers/all-MiniLM-L6-v2",
        over_references: OverReferences = "mean",
        batch_size: int = 64,
        precision: Precision = "float32",
        remembered_texts: int = 131072,
    ) -> None:
        self._sentences: SentenceTransformer = load(SentenceTransformerCheckpoint, checkpoint, precision=precision)
        super().__init__(checkpoint, self._sentences, batch_size, module_settings(self._sentences))
        self.over_references: OverReferences = over_references
        self._kept: Kept[str, Tensor] = Kept(remembered_texts)

    @property
    def signature(self) -> Signature:
        """Model, precision, and how references count."""
        return Signature(
            "SentenceSimilarity", {"model": self.called, "precision": self.precision, "over": self.over_references}
        )

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """The similarity of each caption to its references."""
        references = candidates.reference_tuples()
        scores = [np.zeros(0)]
        for start in range(0, len(candidates), CAPTIONS_AT_ONCE):
            part = slice(start, start + CAPTIONS_AT_ONCE)
            scores.append(self._score(candidates.captions[part], references[part]))
        return np.concatenate(scores)

    def _score(
        self, captions: Sequence[str], references: Sequence[tuple[str, ...]]
    ) -> Float64[np.ndarray, " captions"]:
        texts = list(dict.fromkeys(chain(captions, chain.from_iterable(references))))
        place = {text: row for row, text in enumerate(texts)}
        embeddings = torch.stack(self._kept(texts, lambda places: self.embed([texts[row] for row in places])))
        sizes = [len(group) for group in references]
        caption = [place[text] for text, size in zip(captions, sizes, strict=True) for _ in range(size)]
        reference = [place[text] for text in chain.from_iterable(references)]
        return over_references(cosines(embeddings, embeddings, caption, reference), sizes, self.over_references)

    def embed(self, texts: Sequence[str]) -> list[Tensor]:
        """The embedding of each text, all texts in one call of the model, in main memory."""
        with self.judging():
            embeddings = self._sentences.encode(
                list(texts), batch_size=self.batch_size, show_progress_bar=False, convert_to_tensor=True
            )
            return [embedding.clone() for embedding in embeddings.float().cpu()]
