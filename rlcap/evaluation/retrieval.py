"""Image-text retrieval: how high an image's captions stand among all captions, and a caption's image among all images.

A rank of 1 is the best. A tie counts against the right answer, as does a similarity that is not a number: a model that
finds everything equally similar is worst, not best.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from rlcap.errors import UserError

RECALLED = (1, 5, 10)


@dataclass(frozen=True)
class Ranks:
    """Where the right answers stand, from 1.

    Attributes:
        image_to_text: of each image, its best caption among all captions.
        text_to_image: of each caption, its image among all images.
    """

    image_to_text: Int[ndarray, " images"]
    text_to_image: Int[ndarray, " captions"]

    def metrics(self) -> dict[str, float]:
        """Recalls as shares of 1, median and mean rank of both directions, named as ``image_to_text/recall@1``.

        The median of an even number of ranks is the mean of the middle two (VSE++ rounds it down).
        """
        found: dict[str, float] = {}
        for direction, ranks in (("image_to_text", self.image_to_text), ("text_to_image", self.text_to_image)):
            for top in RECALLED:
                found[f"{direction}/recall@{top}"] = float((ranks <= top).mean())
            found[f"{direction}/median_rank"] = float(np.median(ranks))
            found[f"{direction}/mean_rank"] = float(ranks.mean())
        return found


def matrix_ranks(similarities: Float[ndarray, "images captions"], image_rows: Int[ndarray, " captions"]) -> Ranks:
    """The ranks when all similarities are at hand; ``image_rows`` is the row of the image each caption describes.

    Image to text it is the rank of the best of the image's captions: one more than the captions of other images that
    are at least as similar to it. Karpathy and Li 2015, section 4.1; Faghri et al. 2018.

    Raises:
        UserError: if an image has no caption, or a caption no image.
    """
    images = len(similarities)
    _check(images, image_rows)
    return Ranks(
        _ranks(similarities, np.arange(images), image_rows),
        _ranks(similarities.T, image_rows, np.arange(images)),
    )


def embedding_ranks(
    images: Float[ndarray, "images width"],
    captions: Float[ndarray, "captions width"],
    image_rows: Int[ndarray, " captions"],
    block: int = 512,
) -> Ranks:
    """The ranks by the cosine of embeddings; only ``block`` rows of the similarities are held at a time.

    Equal embeddings tie only as far as the matrix product rounds them alike.

    Raises:
        UserError: if an image has no caption, or a caption no image.
    """
    _check(len(images), image_rows)
    images, captions = _unit(images), _unit(captions)
    own = np.arange(len(images))
    return Ranks(
        _in_blocks(lambda rows: _ranks(images[rows] @ captions.T, own[rows], image_rows), len(images), block),
        _in_blocks(lambda rows: _ranks(captions[rows] @ images.T, image_rows[rows], own), len(captions), block),
    )


@dataclass(frozen=True)
class Fold:
    """Some of the images and all captions of those.

    Attributes:
        images: the rows of the images.
        captions: the rows of their captions.
        image_rows: where among the fold's images each of these captions has its own.
    """

    images: Int[ndarray, " images"]
    captions: Int[ndarray, " captions"]
    image_rows: Int[ndarray, " captions"]


def folds(image_rows: Int[ndarray, " captions"], images_per_fold: int) -> list[Fold]:
    """The images in order, so many at a time, each with its captions: COCO's 1K is 1,000 at a time of the 5K.

    Images look among the captions of their fold alone, and so do captions; metrics are averaged over folds. Faghri et
    al. 2018, section 4.

    Raises:
        UserError: if the last fold would be smaller.
    """
    images = int(image_rows.max()) + 1
    if images_per_fold < 1 or images % images_per_fold:
        raise UserError(f"folds of {images_per_fold} images do not divide {images} images: choose a divisor")
    parts = []
    for first in range(0, images, images_per_fold):
        captions = np.flatnonzero((image_rows >= first) & (image_rows < first + images_per_fold))
        parts.append(Fold(np.arange(first, first + images_per_fold), captions, image_rows[captions] - first))
    return parts


def retrieval_metrics(
    images: Float[ndarray, "images width"],
    captions: Float[ndarray, "captions width"],
    image_rows: Int[ndarray, " captions"],
    images_per_fold: int | None = None,
    block: int = 512,
) -> dict[str, float]:
    """The metrics of embeddings, averaged over folds of so many images each; without, of all images at once.

    Raises:
        UserError: if an image has no caption, a caption no image, or the folds do not divide the images.
    """
    _check(len(images), image_rows)
    parts = [
        embedding_ranks(images[fold.images], captions[fold.captions], fold.image_rows, block).metrics()
        for fold in folds(image_rows, images_per_fold or len(images))
    ]
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}


def _ranks(
    similarities: Float[ndarray, "rows columns"], row_ids: Int[ndarray, " rows"], column_ids: Int[ndarray, " columns"]
) -> Int[ndarray, " rows"]:
    own: Bool[ndarray, "rows columns"] = row_ids[:, None] == column_ids
    best = np.where(own, similarities, -np.inf).max(axis=1, keepdims=True)
    ahead = ~(similarities < best) & ~own  # not "at least": that is False of what is not a number
    return np.asarray(1 + ahead.sum(axis=1))


def _in_blocks(ranks: Callable[[slice], Int[ndarray, " rows"]], rows: int, block: int) -> Int[ndarray, " rows"]:
    return np.concatenate([ranks(slice(first, first + block)) for first in range(0, rows, block)])


def _unit(embeddings: Float[ndarray, "rows width"]) -> Float[ndarray, "rows width"]:
    embeddings = embeddings.astype(np.promote_types(embeddings.dtype, np.float32), copy=False)  # half would overflow
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(length, np.finfo(embeddings.dtype).tiny))


def _check(images: int, image_rows: Int[ndarray, " captions"]) -> None:
    outside = image_rows[(image_rows < 0) | (image_rows >= images)]
    if len(outside):
        raise UserError(f"a caption describes image row {outside[0]}, but there are {images} images: leave it out")
    without = np.setdiff1d(np.arange(images), image_rows)
    if len(without):
        raise UserError(f"image row {without[0]} has no caption to be found by: leave the image out")
