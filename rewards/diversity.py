"""How much several captions of one image differ, and how many words they use.

Captions are tokenised, words separated by spaces; an image's are a sequence of their own. Compare numbers of equally
many captions per image: among more of them, words and n-grams come again sooner. Wang and Chan 2019, "Describing like
humans: on diversity in image captioning", compares the measures.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from rewards.bleu import BleuStatistics, sentence_bleu
from rewards.cider import ReferenceVectors, reference_vectors
from rewards.document_frequencies import DocumentFrequencies
from rewards.ngrams import IMAGES_AT_ONCE, ORDERS, count_ngrams, owned


def mutual_bleu(samples: Sequence[Sequence[str]]) -> Float64[np.ndarray, "images orders"]:
    """mBLEU-1 to -4: the mean BLEU of an image's captions, each against the others as its references.

    1 for equal captions, nearly 0 for captions without a word in common. Zhu et al. 2018 (Self-BLEU); Wang and Chan
    2019. An image needs 2 captions or more.
    """
    sizes = np.array([len(own) for own in samples])
    image = np.repeat(np.arange(len(samples)), sizes)
    counts = count_ngrams([caption for own in samples for caption in own])
    key = owned(image[counts.text], counts.ngram, len(samples))
    by_key = np.lexsort((counts.count, key))  # of each n-gram of an image the captions with most of it come last
    last = np.flatnonzero(np.diff(key[by_key], append=~key[by_key[-1:]]))
    alone = np.diff(last, prepend=-1) == 1
    # Clipped by the others' largest count: only the caption that has most of an n-gram may lose some.
    clipped = counts.count.copy()
    clipped[by_key[last]] = np.where(alone, 0, counts.count[by_key[last - 1]])
    correct = np.zeros((len(image), ORDERS), np.int64)
    np.add.at(correct, (counts.text, counts.order), clipped)

    guessed = np.maximum(counts.words[:, None] - np.arange(ORDERS), 0)
    lengths = [own.tolist() for own in np.split(counts.words, np.cumsum(sizes)[:-1])]
    closest = np.array([_closest(own[row], own[:row] + own[row + 1 :]) for own in lengths for row in range(len(own))])
    scores = sentence_bleu(BleuStatistics(correct, guessed, counts.words, closest))
    means: Float64[np.ndarray, "images orders"] = np.add.reduceat(scores, np.cumsum(sizes) - sizes) / sizes[:, None]
    return means


def _closest(words: int, others: Sequence[int]) -> int:
    """The length nearest to a caption's, the shorter of two equally near."""
    return min((abs(length - words), length) for length in others)[1]


def cider_kernel(vectors: ReferenceVectors) -> Float64[np.ndarray, "samples samples"]:
    """CIDEr of each of an image's captions with each other, as a share of 1: the mean cosine of tf-idf over orders."""
    distinct, place = np.unique(vectors.ngram, return_inverse=True)
    unit = np.zeros((len(vectors.words), len(distinct)))
    unit[vectors.reference, place] = vectors.scaled  # of length 1 in each order that has an n-gram
    kernel: Float64[np.ndarray, "samples samples"] = unit @ unit.T / ORDERS
    return kernel


def spectral_diversity(kernel: Float64[np.ndarray, "samples samples"]) -> float:
    """-log_m(r) with r = s_1 / (s_1 + ... + s_m), where s_i is the square root of an m x m kernel's i-th eigenvalue.

    The s_i are the singular values of the matrix whose columns are the captions' vectors. One of them is all there is
    when captions are equal: 0. They are equal when captions have nothing in common: 1. Wang and Chan 2019, section
    4.3; the square roots are those of its latent semantic analysis and of the code that is used.
    """
    singular = np.sqrt(np.clip(np.linalg.eigvalsh(kernel), 0.0, None))  # ascending
    if len(singular) < 2 or singular[-1] == 0:
        return 0.0
    return 0.0 - math.log(singular[-1] / singular.sum()) / math.log(len(singular))


def self_cider(
    samples: Sequence[Sequence[str]], document_frequencies: DocumentFrequencies
) -> Float64[np.ndarray, " images"]:
    """Self-CIDEr of each image's captions: from 0 for equal ones to 1. Wang and Chan 2019, section 4.3."""
    vectors = reference_vectors(samples, document_frequencies)
    return np.array([spectral_diversity(cider_kernel(own)) for own in vectors], np.float64)


def distinct_ngrams(samples: Sequence[Sequence[str]], order: int) -> Float64[np.ndarray, " images"]:
    """Div-n: the distinct n-grams of an image's captions over the words in them. Shetty et al. 2017, section 5.2."""
    shares = []
    for own in samples:
        words = [caption.split() for caption in own]
        ngrams = {ngram for each in words for ngram in zip(*(each[start:] for start in range(order)), strict=False)}
        shares.append(len(ngrams) / max(1, sum(map(len, words))))
    return np.array(shares, np.float64)


def diversity_statistics(samples: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """mbleu_1 to mbleu_4, self_cider, div_1 and div_2, each the mean over images; the words that all samples use.

    Args:
        samples: several tokenised captions of each image.
        references: the tokenised references of each image, from which document frequencies are taken.
    """
    if not samples:
        return {}
    frequencies = DocumentFrequencies.from_references(references, eos=False, name="corpus", tokenized=True)
    mutual, spectral = [], []
    for start in range(0, len(samples), IMAGES_AT_ONCE):
        mutual.append(mutual_bleu(samples[start : start + IMAGES_AT_ONCE]))
        spectral.append(self_cider(samples[start : start + IMAGES_AT_ONCE], frequencies))
    bleu = np.concatenate(mutual).mean(axis=0)  # over images
    return {
        **{f"mbleu_{order}": float(bleu[order - 1]) for order in range(1, ORDERS + 1)},
        "self_cider": float(np.concatenate(spectral).mean()),
        **{f"div_{order}": float(distinct_ngrams(samples, order).mean()) for order in (1, 2)},
        "samples_vocabulary": float(len({word for own in samples for caption in own for word in caption.split()})),
    }
