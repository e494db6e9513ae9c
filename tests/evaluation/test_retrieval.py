"""Ranks by hand, by sorting, in blocks and in folds."""

import numpy as np
import pytest

from rlcap.errors import UserError
from rlcap.evaluation.retrieval import Ranks, embedding_ranks, folds, matrix_ranks, retrieval_metrics

ROWS = np.array([0, 0, 1, 2, 2])  # captions 0 and 1 are of image 0, caption 2 of image 1, 3 and 4 of image 2
SIMILARITIES = np.array(
    [
        [0.1, 0.7, 0.9, 0.2, 0.8],  # its best is 0.7, below 0.9 and 0.8
        [0.3, 0.2, 0.6, 0.5, 0.4],  # 0.6 is the best of all
        [0.2, 0.9, 0.3, 0.1, 0.8],  # 0.8, below 0.9
    ]
)


def test_ranks_by_hand() -> None:
    ranks = matrix_ranks(SIMILARITIES, ROWS)
    assert ranks.image_to_text.tolist() == [3, 1, 2]
    assert ranks.text_to_image.tolist() == [3, 2, 2, 3, 2]  # the last one is tied with image 0


def test_metrics_by_hand() -> None:
    ranks = Ranks(np.array([1, 5, 6, 2, 11, 1]), np.array([1, 10, 11]))
    assert ranks.metrics() == pytest.approx(
        {
            "image_to_text/recall@1": 2 / 6,
            "image_to_text/recall@5": 4 / 6,
            "image_to_text/recall@10": 5 / 6,
            "image_to_text/median_rank": 3.5,
            "image_to_text/mean_rank": 26 / 6,
            "text_to_image/recall@1": 1 / 3,
            "text_to_image/recall@5": 1 / 3,
            "text_to_image/recall@10": 2 / 3,
            "text_to_image/median_rank": 10.0,
            "text_to_image/mean_rank": 22 / 3,
        }
    )


@pytest.fixture
def random() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """30 images with 1 to 7 captions each, in no order."""
    rng = np.random.default_rng(0)
    rows = rng.permutation(np.repeat(np.arange(30), rng.integers(1, 8, size=30)))
    return rng.normal(size=(30, 8)), rng.normal(size=(len(rows), 8)), rows


def cosine(images: np.ndarray, captions: np.ndarray) -> np.ndarray:
    return (images @ captions.T) / np.linalg.norm(images, axis=1)[:, None] / np.linalg.norm(captions, axis=1)


def test_ranks_by_sorting(random: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Without ties: the first own caption in the sorted list, counting only other images' captions before it."""
    images, captions, rows = random
    similarities = cosine(images, captions)
    ranks = matrix_ranks(similarities, rows)
    for image, rank in enumerate(ranks.image_to_text):
        assert rank == 1 + int((rows[np.argsort(-similarities[image])] == image).argmax())
    for caption, rank in enumerate(ranks.text_to_image):
        assert rank == 1 + np.argsort(-similarities[:, caption]).tolist().index(rows[caption])


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_are_the_matrix(random: tuple[np.ndarray, np.ndarray, np.ndarray], block: int) -> None:
    images, captions, rows = random
    expected, found = matrix_ranks(cosine(images, captions), rows), embedding_ranks(images, captions, rows, block)
    np.testing.assert_array_equal(found.image_to_text, expected.image_to_text)
    np.testing.assert_array_equal(found.text_to_image, expected.text_to_image)


def test_order_does_not_matter(random: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    images, captions, rows = random
    rng = np.random.default_rng(1)
    image_order, caption_order = rng.permutation(len(images)), rng.permutation(len(captions))
    shuffled = embedding_ranks(
        images[image_order], captions[caption_order], np.argsort(image_order)[rows[caption_order]]
    )
    expected = embedding_ranks(images, captions, rows)
    np.testing.assert_array_equal(shuffled.image_to_text, expected.image_to_text[image_order])
    np.testing.assert_array_equal(shuffled.text_to_image, expected.text_to_image[caption_order])


@pytest.mark.parametrize("value", [0.0, np.nan], ids=["all_equal", "not_a_number"])
def test_ties_and_what_is_not_a_number_are_worst(value: float) -> None:
    """Each image is behind all captions of others, each caption's image behind all others."""
    ranks = matrix_ranks(np.full((3, 5), value), ROWS)
    assert ranks.image_to_text.tolist() == [4, 5, 4]
    assert ranks.text_to_image.tolist() == [3] * 5
    zeros = embedding_ranks(np.full((3, 2), value), np.full((5, 2), value), ROWS)
    assert zeros.image_to_text.tolist() == [4, 5, 4]


def test_captions_of_the_same_image_are_not_in_its_way() -> None:
    """All five captions of an image above all others: rank 1, whichever of them is the best."""
    similarities = np.array([[0.9, 0.8, 0.1], [0.1, 0.2, 0.9]])
    assert matrix_ranks(similarities, np.array([0, 0, 1])).image_to_text.tolist() == [1, 1]


def test_folds_look_among_their_own_alone(random: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    images, captions, rows = random
    thirds = []
    for first in (0, 10, 20):
        inside = (rows >= first) & (rows < first + 10)
        similarities = cosine(images[first : first + 10], captions[inside])
        thirds.append(matrix_ranks(similarities, rows[inside] - first).metrics())
    found = retrieval_metrics(images, captions, rows, images_per_fold=10)
    assert found == pytest.approx({name: np.mean([third[name] for third in thirds]) for name in thirds[0]})
    assert retrieval_metrics(images, captions, rows) == matrix_ranks(cosine(images, captions), rows).metrics()
    assert found["text_to_image/mean_rank"] < retrieval_metrics(images, captions, rows)["text_to_image/mean_rank"]
    with pytest.raises(UserError, match="folds of 7 images do not divide 30"):
        folds(rows, 7)


def test_what_cannot_be_found_is_named() -> None:
    with pytest.raises(UserError, match="image row 1 has no caption"):
        matrix_ranks(SIMILARITIES, np.array([0, 0, 2, 2, 2]))
    with pytest.raises(UserError, match="image row 3, but there are 3"):
        matrix_ranks(SIMILARITIES, np.array([0, 0, 1, 2, 3]))
