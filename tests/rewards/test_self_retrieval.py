"""Self-retrieval on hand-worked similarities, and against CLIPScore's own embeddings."""

from pathlib import Path

import numpy as np
import pytest
from tiny_models import build_clip, noise

from rewards.base import Candidates, RewardError
from rewards.clip import ClipScore
from rewards.self_retrieval import SelfRetrieval, SelfRetrievalMargin, SelfRetrievalRecall, own_logprob, own_margin

CAPTIONS = ["a cat sits here", "the red dog", "blue dog runs", "the cat"]
IDS = ["1", "2", "3", "1"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_clip(tmp_path_factory.mktemp("clip")))


def candidates() -> Candidates:
    images = noise(3)
    return Candidates(CAPTIONS, image_ids=IDS, images=[images[int(name) - 1] for name in IDS])


def cosines(clip: str) -> np.ndarray:
    """Of every caption with images 1, 2 and 3."""
    reward = ClipScore(clip, prompt="")
    images, _ = reward.embed_images(Candidates([""] * 3, images=noise(3)))
    return reward.embed_captions(CAPTIONS).astype(np.float64) @ images.T


def test_log_probability_and_margin_on_hand_worked_similarities() -> None:
    similarity = np.array([[0.0, np.log(2.0) / 2, 0.0], [0.5, 0.1, 0.5]])
    own = np.array([1, 0])
    # at temperature 1/2 the first row is 1 : 2 : 1 after exp; the own image has 2 of 4
    np.testing.assert_allclose(own_logprob(similarity, own, 0.5)[0], np.log(0.5))
    second = np.exp(1.0) / (2 * np.exp(1.0) + np.exp(0.2))
    np.testing.assert_allclose(own_logprob(similarity, own, 0.5)[1], np.log(second))
    np.testing.assert_allclose(own_margin(similarity, own), [np.log(2.0) / 2, 0.0])


def test_log_probabilities_stay_finite_at_a_low_temperature() -> None:
    scores = own_logprob(np.array([[1.0, -1.0]]), np.array([1]), 1e-4)
    np.testing.assert_allclose(scores, [-2e4])


def test_captions_of_one_image_share_it_and_are_no_distractors_of_each_other(clip: str) -> None:
    similarity, own = cosines(clip), [0, 1, 2, 0]
    expected = [
        similarity[row, place] / 0.1 - np.log(np.exp(similarity[row] / 0.1).sum()) for row, place in enumerate(own)
    ]
    np.testing.assert_allclose(SelfRetrieval(clip, temperature=0.1)(candidates()), expected, rtol=1e-4, atol=1e-5)
    best_other = [np.delete(similarity[row], place).max() for row, place in enumerate(own)]
    margins = similarity[range(4), own] - best_other
    np.testing.assert_allclose(SelfRetrievalMargin(clip)(candidates()), margins, atol=1e-5)
    found = SelfRetrievalRecall(clip)(candidates())
    np.testing.assert_array_equal(found, [float(margin > 0) for margin in margins])
    assert 0 < found.sum() < 4  # the batch has both kinds


def test_a_score_depends_on_the_other_images_and_says_so(clip: str) -> None:
    reward = SelfRetrieval(clip)
    assert not reward.independent
    some = candidates().select([0, 1])
    assert abs(reward(some)[0] - reward(candidates())[0]) > 1e-3
    assert "|images:2|" in str(reward.signature_of(some))
    assert "|images:3|" in str(reward.signature_of(candidates()))


def test_an_image_alone_cannot_be_retrieved(clip: str) -> None:
    with pytest.raises(RewardError, match="these 2 captions are of 1 image: give captions of 2 images or more"):
        SelfRetrieval(clip)(candidates().select([0, 3]))


def test_wrong_inputs_are_told_in_one_line(clip: str, tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"Candidates\.image_ids is None: give them"):
        SelfRetrieval(clip)(Candidates(["a cat", "a dog"], images=noise(2)))
    with pytest.raises(RewardError, match=r"Candidates\.images is None"):
        SelfRetrieval(clip)(Candidates(["a cat", "a dog"], image_ids=["1", "2"]))
    with pytest.raises(RewardError, match=r"the temperature of self-retrieval is 0\.0: give a number above 0"):
        SelfRetrieval(clip, temperature=0.0)
    with pytest.raises(RewardError, match="cannot load"):
        SelfRetrievalMargin(str(tmp_path / "nowhere"))
    assert SelfRetrieval(clip)(Candidates([])).shape == (0,)
