"""CIDEr-D: how many n-grams a caption shares with the references, the rarer the better. Vedantam et al. 2015, eq. 3-5.

As a reward its document frequencies come from the training references, and the end of a caption counts as a word, or
a policy learns to stop at "with a" (Rennie et al. 2017, appendix E; SacreEOS, arXiv 2305.12254). As a metric it is the
published form, what pycocoevalcap calls Cider::

    reward = CiderD()
    reward.prepare(training_references)  # one sequence per image
    metric = CiderD(document_frequencies="corpus", eos=False)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from rewards.base import Candidates, Reward, RewardError, Signature
from rewards.document_frequencies import (
    COCO_NAMES,
    DocumentFrequencies,
    coco_document_frequencies,
    training_document_frequencies,
)
from rewards.ngrams import (
    ORDERS,
    KnownScores,
    Memory,
    NgramCounts,
    count_ngrams,
    distinct,
    owned,
    pairs,
    shared,
    tokenize_groups,
)
from rewards.tokenize import ptb_tokenize

SIGMA = 6.0  # of the Gaussian penalty on a difference in length, in words
SCALE = 10.0
CAPTIONS_AT_ONCE = 4096  # bounds the memory of scoring a whole data set


@dataclass(frozen=True)
class ReferenceVectors:
    """tf-idf of one image's references: n-gram ``ngram[e]`` weighs ``value[e]`` in ``reference[e]``, sorted by n-gram.

    ``scaled`` is the value over the norm of its reference's n-grams of that order.
    """

    ngram: UInt64[np.ndarray, " entries"]
    reference: Int64[np.ndarray, " entries"]
    value: Float64[np.ndarray, " entries"]
    scaled: Float64[np.ndarray, " entries"]
    words: Int64[np.ndarray, " references"]


def cider_d(
    captions: Sequence[str],
    references: Sequence[ReferenceVectors],
    document_frequencies: DocumentFrequencies,
    ended: Sequence[bool] | None = None,
) -> Float64[np.ndarray, " captions"]:
    """Ten times the mean over orders and references of clipped cosine times length penalty; one per tokenised caption.

    Captions of one image may share the same ``ReferenceVectors`` object. ``ended`` says which captions have their end
    counted as a word; it is used when the document frequencies count it.
    """
    if not captions:
        return np.zeros(0)
    if document_frequencies.eos and ended is None:
        ended = [True] * len(captions)
    counts = count_ngrams(captions, ended if document_frequencies.eos else None)
    value, norm = _weigh(counts, document_frequencies)

    images, image = distinct(references)
    sizes = np.array([len(vectors.words) for vectors in images])
    offsets = np.cumsum(sizes) - sizes
    reference = np.concatenate([vectors.reference + offset for vectors, offset in zip(images, offsets, strict=True)])
    reference_value = np.concatenate([vectors.value for vectors in images])
    reference_scaled = np.concatenate([vectors.scaled for vectors in images])
    reference_words = np.concatenate([vectors.words for vectors in images])

    own, theirs = shared(counts, image, [vectors.ngram for vectors in images])
    text = counts.text[own]
    clipped = np.minimum(value[own], reference_value[theirs]) * reference_scaled[theirs]
    # A length is the number of bigrams, so that no words and one word are equally long.
    length, reference_length = np.maximum(counts.words - 1, 0), np.maximum(reference_words - 1, 0)
    difference = length[text] - reference_length[reference[theirs]]
    similarity = clipped / norm[text, counts.order[own]] * np.exp(-(difference**2) / (2 * SIGMA**2))
    total: Float64[np.ndarray, " captions"] = np.bincount(text, similarity, minlength=len(captions))
    scores: Float64[np.ndarray, " captions"] = SCALE / ORDERS * total / sizes[image]
    return scores


def reference_vectors(
    references: Sequence[Sequence[str]], document_frequencies: DocumentFrequencies
) -> list[ReferenceVectors]:
    """Vectors of tokenised references, one sequence per image."""
    texts = list(chain.from_iterable(references))
    sizes = np.array([len(captions) for captions in references], np.int64)
    counts = count_ngrams(texts, [True] * len(texts) if document_frequencies.eos else None)
    value, norm = _weigh(counts, document_frequencies)
    scaled = value / norm[counts.text, counts.order]

    image = np.repeat(np.arange(len(references)), sizes)
    local = counts.text - (np.cumsum(sizes) - sizes)[image][counts.text]
    order = np.argsort(owned(image[counts.text], counts.ngram, len(references)), kind="stable")
    bounds = np.searchsorted(image[counts.text], np.arange(1, len(references)))
    columns = [np.split(column[order], bounds) for column in (counts.ngram, local, value, scaled)]
    lengths = np.split(counts.words, np.cumsum(sizes)[:-1])
    return [ReferenceVectors(*image_columns) for image_columns in zip(*columns, lengths, strict=True)]


def _weigh(
    counts: NgramCounts, document_frequencies: DocumentFrequencies
) -> tuple[Float64[np.ndarray, " entries"], Float64[np.ndarray, "texts orders"]]:
    """tf-idf of each entry, and its norm by text and order (1 where it is 0: then all values are)."""
    value = counts.count * document_frequencies.inverse(counts.ngram)
    texts = len(counts.words)
    squares = np.bincount(counts.text * ORDERS + counts.order, value**2, minlength=texts * ORDERS)
    norm = np.sqrt(squares).reshape(texts, ORDERS)
    return value, np.where(norm == 0, 1.0, norm)


class CiderD(Reward):
    """CIDEr-D, ten times the cosine as pycocoevalcap has it.

    Args:
        document_frequencies: ``train`` takes the references given to ``prepare``; ``corpus`` those of the captions
            scored, each image once (without image ids every caption is an image of its own); ``coco-train2014`` and
            ``coco-val2014`` are built in; anything else is the path of a file ``DocumentFrequencies.save`` wrote.
        eos: whether the end of a caption counts as a word, in captions the policy closed itself, in references and in
            document frequencies alike.
        cache: folder of document frequencies kept between runs; None is ``RLCAP_CACHE``, else ``~/.cache/rlcap``.
        remembered_images: how many images' reference vectors are kept between calls, about 8 kB each.
    """

    needs_references = True

    def __init__(
        self,
        document_frequencies: str = "train",
        eos: bool = True,
        cache: Path | None = None,
        remembered_images: int = 32768,
    ) -> None:
        self.source = document_frequencies
        self.independent = document_frequencies != "corpus"
        self.eos = eos
        self.cache = cache
        self.remembered_images = remembered_images
        self.document_frequencies: DocumentFrequencies | None = None

    @property
    def signature(self) -> Signature:
        """Name, document frequencies (by content where they are the training set's), tokenisation, ending."""
        name = self.document_frequencies.name if self.document_frequencies else self.source
        return Signature("CIDEr-D", {"df": name, "tok": "ptb", "eos": "yes" if self.eos else "no"})

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Count the document frequencies of the training references, or read them from the cache or file."""
        if self.source == "train":
            self._use(training_document_frequencies(references, self.eos, self.cache))
        elif self.source != "corpus":
            self._fixed()

    def check_prepared(self) -> None:
        """Raise if the training references are to be counted and were not given."""
        if self.source == "train" and self.document_frequencies is None:
            raise RewardError(
                "CiderD(document_frequencies='train') has no document frequencies yet: call prepare(references) with "
                "the training references (rlcap score: --training_references), or set document_frequencies to "
                "'corpus', 'coco-train2014' or a path"
            )

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """CIDEr-D of each caption."""
        if self.source == "corpus":
            return self._score(candidates)
        self._fixed()
        return self._known(pairs(candidates), lambda rows: self._score(candidates.select(rows)))

    def _score(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        references = candidates.reference_tuples()
        captions = ptb_tokenize(candidates.captions)
        ended = candidates.ended
        if self.source == "corpus":
            frequencies = self._of_corpus(candidates, references)
            memory = _memory(frequencies, len(captions))
        else:
            frequencies = self._fixed()
            memory = self._memory
        scores = [np.zeros(0)]
        for start in range(0, len(captions), CAPTIONS_AT_ONCE):
            part = slice(start, start + CAPTIONS_AT_ONCE)
            vectors = memory(references[part])
            scores.append(cider_d(captions[part], vectors, frequencies, None if ended is None else ended[part]))
        return np.concatenate(scores)

    def _fixed(self) -> DocumentFrequencies:
        """The document frequencies that do not depend on what is scored."""
        self.check_prepared()
        if self.document_frequencies is None:
            if self.source in COCO_NAMES:
                self._use(coco_document_frequencies(self.source, self.eos, self.cache))
            else:
                self._use(DocumentFrequencies.load(Path(self.source)))
        assert self.document_frequencies is not None
        return self.document_frequencies

    def _use(self, document_frequencies: DocumentFrequencies) -> None:
        if document_frequencies.eos != self.eos:
            raise RewardError(
                f"document frequencies {document_frequencies.name} have eos={document_frequencies.eos} and the reward "
                f"eos={self.eos}: captions and frequencies must count the end alike"
            )
        self.document_frequencies = document_frequencies
        self._memory = _memory(document_frequencies, self.remembered_images)
        self._known = KnownScores()

    def _of_corpus(self, candidates: Candidates, references: Sequence[tuple[str, ...]]) -> DocumentFrequencies:
        ids = candidates.image_ids or [str(index) for index in range(len(references))]
        images: dict[str, tuple[str, ...]] = {}
        for image_id, captions in zip(ids, references, strict=True):
            if images.setdefault(image_id, captions) != captions:
                raise RewardError(f"image {image_id!r} has two different sets of references: give one per image id")
        return DocumentFrequencies.from_references(list(images.values()), self.eos, "corpus")


def _memory(document_frequencies: DocumentFrequencies, size: int) -> Memory[tuple[str, ...], ReferenceVectors]:
    """Vectors of raw references, one tuple per image, built once and kept."""
    return Memory(partial(_tokenized_vectors, document_frequencies), size)


def _tokenized_vectors(
    document_frequencies: DocumentFrequencies, references: Sequence[tuple[str, ...]]
) -> list[ReferenceVectors]:
    return reference_vectors(tokenize_groups(references), document_frequencies)
