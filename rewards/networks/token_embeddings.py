"""Contextual embeddings of a text's tokens, and what rewards share that compare a caption's tokens with references'."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer

from rewards.base import Candidates, RewardError
from rewards.networks.pretrained import Kept, ModelReward, Precision, load, load_model

CAPTIONS_AT_ONCE = 1024  # bounds the memory of scoring a whole data set: the embeddings of these and their references
PAIRS_AT_ONCE = 512  # about 30 MB of embeddings for captions and references of 20 tokens, 384 wide
TEXTS_AT_ONCE = 4096  # bounds the memory of counting the document frequencies of a whole data set
LONGEST = 512  # tokens of a text; no caption has as many

OverReferences = Literal["mean", "max"]


@dataclass(frozen=True)
class TokenVectors:
    """The tokens of one text: their ids, whether each is text (not a special token), embeddings of length 1."""

    ids: Int64[np.ndarray, " tokens"]
    is_text: Bool[np.ndarray, " tokens"]
    vectors: Float[Tensor, "tokens width"]


@dataclass(frozen=True)
class TokenPairs:
    """Captions against references, padded: the cosine of every two tokens, which are real, and what each weighs.

    Special tokens are real and weigh 0.
    """

    similarity: Float[Tensor, "pairs rows columns"]
    row_mask: Bool[Tensor, "pairs rows"]
    column_mask: Bool[Tensor, "pairs columns"]
    row_weights: Float[Tensor, "pairs rows"]
    column_weights: Float[Tensor, "pairs columns"]


@dataclass(frozen=True)
class Running:
    """How a text encoder is run.

    Attributes:
        batch_size: how many texts run together.
        precision: of the encoder's weights; scores are compared in float32 whatever it is.
        remembered_texts: how many texts' embeddings are kept between calls, in main memory. A text of 12 tokens takes
            22 kB with an encoder 384 wide and 57 kB with one 1024 wide.
    """

    batch_size: int = 64
    precision: Precision = "float32"
    remembered_texts: int = 16384


@dataclass(frozen=True)
class TokenEncoder:
    """Texts in, the embeddings of their tokens out.

    Attributes:
        tokenizer: a transformers tokenizer.
        embed: a model's embedding of each token, given ids and mask.
        longest: texts of more tokens are cut.
    """

    tokenizer: Any
    embed: Callable[[Int64[Tensor, "texts tokens"], Int64[Tensor, "texts tokens"]], Tensor]
    longest: int

    def __call__(self, texts: Sequence[str], batch_size: int, device: torch.device) -> list[TokenVectors]:
        """The tokens of each text. Texts of like length run together; results lie in main memory."""
        if not texts:
            return []
        tokens = self.tokenizer(list(texts), truncation=True, max_length=self.longest, return_special_tokens_mask=True)
        ids = [np.array(text, np.int64) for text in tokens["input_ids"]]
        is_text = [~np.array(text, bool) for text in tokens["special_tokens_mask"]]
        by_length = sorted(range(len(texts)), key=lambda row: -len(ids[row]))
        found: dict[int, TokenVectors] = {}
        for start in range(0, len(texts), batch_size):
            rows = by_length[start : start + batch_size]
            padded = _padded([torch.from_numpy(ids[row]) for row in rows])
            lengths = torch.tensor([len(ids[row]) for row in rows])
            mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
            vectors = self._vectors(padded.to(device), mask.to(device))
            for row, text in zip(rows, vectors, strict=True):
                found[row] = TokenVectors(ids[row], is_text[row], text[: len(ids[row])].clone())
        return [found[row] for row in range(len(texts))]

    def spelled(self, text: TokenVectors) -> tuple[str, ...]:
        """The tokens as text, special ones left out."""
        return tuple(self.tokenizer.decode([token]).strip() for token in text.ids[text.is_text].tolist())

    def _vectors(
        self, ids: Int64[Tensor, "texts tokens"], mask: Int64[Tensor, "texts tokens"]
    ) -> Float[Tensor, "texts tokens width"]:
        vectors: Tensor = normalize(self.embed(ids, mask).float(), dim=-1).cpu()
        return vectors


def text_encoder(checkpoint: str, model: Any, layer: int | None) -> TokenEncoder:
    """The tokens of a text encoder as its ``layer`` gives them (0: the embeddings, None: the last).

    Raises:
        RewardError: if there is no such layer.
    """
    layers = model.config.get_text_config().num_hidden_layers
    if layer is not None and not 0 <= layer <= layers:
        raise RewardError(f"{checkpoint!r} has layers 0 to {layers}, got layer {layer}")

    def embed(ids: Tensor, mask: Tensor) -> Tensor:
        output = model(input_ids=ids, attention_mask=mask, output_hidden_states=layer is not None)
        hidden: Tensor = output.last_hidden_state if layer is None else output.hidden_states[layer]
        return hidden

    tokenizer = load(AutoTokenizer, checkpoint)
    return TokenEncoder(tokenizer, embed, longest_text(tokenizer, model))


def longest_text(tokenizer: Any, model: Any) -> int:
    """How many tokens a model reads."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or LONGEST
    padding = getattr(getattr(model, "embeddings", None), "padding_idx", None)
    if padding is not None:  # RoBERTa and its kin count positions from the one behind padding's
        positions -= padding + 1
    return int(min(tokenizer.model_max_length, positions, LONGEST))


def inverse_document_frequencies(texts: Iterable[Sequence[int]], vocabulary: int) -> Float64[np.ndarray, " vocabulary"]:
    """What each token weighs: ``log((texts + 1) / (texts with the token + 1))``. Zhang et al. 2020, smoothed."""
    occurrences, count = np.zeros(vocabulary, np.int64), 0
    for ids in texts:
        occurrences[list(set(ids))] += 1
        count += 1
    weights: Float64[np.ndarray, " vocabulary"] = np.log((count + 1) / (occurrences + 1))
    return weights


def over_references(
    scores: Float64[np.ndarray, " pairs"], sizes: Sequence[int], how: OverReferences
) -> Float64[np.ndarray, " captions"]:
    """The mean or the largest of each caption's scores, given one per reference; ``sizes`` says how many it has."""
    if not len(sizes):
        return np.zeros(0)
    first = np.cumsum([0, *sizes[:-1]])
    if how == "max":
        best: Float64[np.ndarray, " captions"] = np.maximum.reduceat(scores, first)
        return best
    mean: Float64[np.ndarray, " captions"] = np.add.reduceat(scores, first) / np.asarray(sizes)
    return mean


def _padded(rows: Sequence[Tensor]) -> Tensor:
    """The rows stacked, 0 behind the shorter ones; at least one column, for there are texts without tokens."""
    stacked = pad_sequence(list(rows), batch_first=True)
    return stacked if stacked.shape[1] else stacked.new_zeros(len(rows), 1, *stacked.shape[2:])


class TokenReward(ModelReward):
    """A reward that compares the tokens of a caption with those of each reference.

    Args:
        checkpoint: hub name or local directory of a text encoder.
        layer: whose embeddings are compared (0: the input embeddings); None is the last.
        idf: whether tokens weigh by how rare they are in the training references, given to ``prepare``; else alike.
        pooling: how a caption's scores against its references become one.
        running: batch size, precision and memory.
    """

    needs_references = True

    def __init__(
        self, checkpoint: str, layer: int | None, idf: bool, pooling: OverReferences, running: Running
    ) -> None:
        model = load_model(AutoModel, checkpoint, running.precision)
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        super().__init__(checkpoint, model, running.batch_size)
        self.encoder = text_encoder(checkpoint, model, layer)
        self.layer = layer
        self.idf = idf
        self.pooling = pooling
        self.weights: Float64[np.ndarray, " vocabulary"] | None = None
        self._kept: Kept[str, TokenVectors] = Kept(running.remembered_texts)

    @abstractmethod
    def compare(self, pairs: TokenPairs) -> Float[Tensor, " pairs"]:
        """Score of each caption against one reference."""

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Count the document frequencies of the training references' tokens, each reference a document."""
        if self.idf:
            tokenizer, texts = self.encoder.tokenizer, list(chain.from_iterable(references))
            parts = (texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE))
            ids = (tokenizer(part, truncation=True, max_length=self.encoder.longest)["input_ids"] for part in parts)
            self.weights = inverse_document_frequencies(chain.from_iterable(ids), len(tokenizer))

    def check_prepared(self) -> None:
        """Raise if tokens are weighed by the training references and those were not given."""
        if self.idf and self.weights is None:
            raise RewardError(
                f"{type(self).__name__}(idf=True) has no document frequencies yet: call prepare(references) with the "
                "training references (rlcap score: --training_references), or set idf to False"
            )

    @property
    def settings(self) -> dict[str, str]:
        """What the signatures of all such rewards say."""
        idf = "no"
        if self.idf:
            weights = self.weights
            idf = "train" if weights is None else f"train-{hashlib.blake2b(weights.tobytes()).hexdigest()[:12]}"
        layer = "last" if self.layer is None else str(self.layer)
        return {"model": self.called, "precision": self.precision, "layer": layer, "idf": idf, "over": self.pooling}

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """Score of each caption over its references."""
        references = candidates.reference_tuples()
        scores = [np.zeros(0)]
        with self.judging():
            for start in range(0, len(candidates), CAPTIONS_AT_ONCE):
                part = slice(start, start + CAPTIONS_AT_ONCE)
                scores.append(self._score(candidates.captions[part], references[part]))
        return np.concatenate(scores)

    def _score(
        self, captions: Sequence[str], references: Sequence[tuple[str, ...]]
    ) -> Float64[np.ndarray, " captions"]:
        pairs = [(caption, text) for caption, texts in zip(captions, references, strict=True) for text in texts]
        vectors = self.encode(list(dict.fromkeys(chain(captions, chain.from_iterable(references)))))
        distinct = list(dict.fromkeys(pairs))
        scores: dict[tuple[str, str], float] = {}
        for start in range(0, len(distinct), PAIRS_AT_ONCE):
            some = distinct[start : start + PAIRS_AT_ONCE]
            compared = self.compare(
                self.pair([vectors[row] for row, _ in some], [vectors[column] for _, column in some])
            )
            scores.update(zip(some, compared.double().tolist(), strict=True))
        return over_references(
            np.array([scores[pair] for pair in pairs]), [len(texts) for texts in references], self.pooling
        )

    def encode(self, texts: Sequence[str]) -> dict[str, TokenVectors]:
        """The tokens of each distinct text, remembered from earlier calls or made now, all together."""

        def make(places: list[int]) -> list[TokenVectors]:
            return self.encoder([texts[place] for place in places], self.batch_size, self.device)

        return dict(zip(texts, self._kept(texts, make), strict=True))

    def pair(self, rows: Sequence[TokenVectors], columns: Sequence[TokenVectors]) -> TokenPairs:
        """Each text of ``rows`` against the one of ``columns`` in its place."""
        row_vectors, row_mask, row_weights = self._pad(rows)
        column_vectors, column_mask, column_weights = self._pad(columns)
        similarity = row_vectors @ column_vectors.transpose(1, 2)
        return TokenPairs(similarity, row_mask, column_mask, row_weights, column_weights)

    def _pad(
        self, texts: Sequence[TokenVectors]
    ) -> tuple[Float[Tensor, "texts tokens width"], Bool[Tensor, "texts tokens"], Float[Tensor, "texts tokens"]]:
        vectors = _padded([text.vectors for text in texts]).to(self.device)
        weights = _padded([torch.from_numpy(self._weigh(text)) for text in texts])
        lengths = torch.tensor([len(text.ids) for text in texts])
        mask = torch.arange(vectors.shape[1]) < lengths[:, None]
        return vectors, mask.to(self.device), weights.to(self.device)

    def _weigh(self, text: TokenVectors) -> Float32[np.ndarray, " tokens"]:
        """Weight of each token: 0 for special tokens, else 1 or its inverse document frequency."""
        if not self.idf:
            return text.is_text.astype(np.float32)
        self.check_prepared()
        assert self.weights is not None
        weights: Float32[np.ndarray, " tokens"] = (self.weights[text.ids] * text.is_text).astype(np.float32)
        return weights
