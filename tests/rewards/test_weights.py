"""Weights learned from judgements: a reference implementation, known weights, and chance where there is nothing."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from rewards.base import RewardError
from rewards.scoring.bootstrap import Bootstrap
from rewards.scoring.weights import WeightFit, fit_weights, pairwise_logistic

FEW = Bootstrap(resamples=20)


def judged(rng: np.random.Generator, weights: list[float], images: int, captions: int) -> tuple[np.ndarray, ...]:
    """Scores of different spread, and ratings whose order within an image follows Bradley and Terry's model."""
    image = np.repeat(np.arange(images), captions)
    scores = rng.normal(size=(len(image), len(weights)))
    ratings = scores @ weights + rng.gumbel(size=len(image))  # differences of Gumbel noise are logistic
    return scores * [1, 10, 0.01][: len(weights)] + 5, image, ratings[:, None]


def test_pairwise_weights_are_those_of_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 4))
    preferred = rng.random(400) < 1 / (1 + np.exp(-features @ [1, 2, 0, -1]))
    differences = np.where(preferred[:, None], features, -features)
    for l2 in (0.1, 30.0):
        reference = LogisticRegression(fit_intercept=False, C=1 / l2, tol=1e-10, max_iter=1000).fit(features, preferred)
        found = pairwise_logistic(differences, l2, non_negative=False)
        assert found.tolist() == pytest.approx(reference.coef_[0].tolist(), rel=1e-5)


def test_non_negative_weights_meet_the_conditions_of_a_minimum() -> None:
    rng = np.random.default_rng(1)
    differences = rng.normal(size=(300, 5)) + np.array([0.5, -0.5, 0.2, 0.0, -0.1])
    weights = pairwise_logistic(differences, l2=1.0)
    gradient = weights - differences.T @ (1 / (1 + np.exp(differences @ weights)))
    assert (weights >= 0).all()
    assert 1 <= (weights == 0).sum() < 5
    assert gradient[weights > 0].tolist() == pytest.approx([0] * int((weights > 0).sum()), abs=1e-6)
    assert (gradient[weights == 0] >= 0).all()


def test_separable_preferences_have_finite_weights() -> None:
    assert pairwise_logistic(np.full((50, 2), 3.0), l2=1e-3).tolist() == pytest.approx([1.5, 1.5], rel=0.5)


def test_known_weights_are_recovered() -> None:
    scores, image, ratings = judged(np.random.default_rng(2), [1.0, 2.0, 0.0], images=1500, captions=4)
    found = fit_weights(scores, image, ratings.tolist(), WeightFit(), FEW)
    assert found.pairs == 1500 * 6
    # 9,000 pairs determine a weight to about 0.03.
    assert found.standardised[1] / found.standardised[0] == pytest.approx(2, abs=0.15)
    assert found.standardised[2] == pytest.approx(0, abs=0.05)
    assert found.weights.tolist() == pytest.approx((found.standardised / scores.std(axis=0)).tolist())
    assert (scores @ found.weights).std() == pytest.approx(1)
    assert found.held_out.accuracy is not None
    likely = 1 / (1 + np.exp(-np.abs(np.random.default_rng(0).normal(0, np.sqrt(2 * 5), 100_000))))
    assert found.held_out.accuracy.value == pytest.approx(likely.mean(), abs=0.02)  # what the true weights reach


def test_noise_is_judged_at_chance_by_images_not_learned_from() -> None:
    scores, image, _ = judged(np.random.default_rng(3), [0.0, 0.0], images=250, captions=3)
    ratings = np.random.default_rng(4).normal(size=(750, 1)).tolist()
    found = fit_weights(scores, image, ratings, WeightFit(non_negative=False), FEW)
    assert found.held_out.accuracy is not None
    assert found.held_out.accuracy.value == pytest.approx(0.5, abs=0.06)  # 750 pairs that share captions
    assert found.held_out.tau_b.value == pytest.approx(0, abs=0.08)


def test_a_reward_that_people_dislike_gets_no_weight_unless_asked() -> None:
    scores, image, ratings = judged(np.random.default_rng(5), [1.0, -1.0], images=200, captions=3)
    assert fit_weights(scores, image, ratings.tolist(), WeightFit(), FEW).weights[1] == 0
    free = fit_weights(scores, image, ratings.tolist(), WeightFit(non_negative=False), FEW)
    assert free.standardised[1] == pytest.approx(-free.standardised[0], rel=0.25)


def test_what_cannot_be_learned_is_told() -> None:
    scores, image, ratings = judged(np.random.default_rng(6), [1.0, 1.0], images=20, captions=2)
    with pytest.raises(RewardError, match="reward number 2 gives 0 to all captions: leave it out"):
        fit_weights(np.stack([scores[:, 0], np.zeros(40)], axis=1), image, ratings.tolist())
    with pytest.raises(RewardError, match="no image has two captions with different ratings"):
        fit_weights(scores, np.arange(40), ratings.tolist())
    with pytest.raises(RewardError, match="3 images have captions with different ratings: 5 folds need 5"):
        fit_weights(scores[:6], image[:6], ratings[:6].tolist())
    with pytest.raises(RewardError, match="no reward agrees with the ratings"):
        fit_weights(-ratings, image, ratings.tolist())
    with pytest.raises(RewardError, match=r"l2 must be above 0, got 0\.0"):
        WeightFit(l2=0.0)
    with pytest.raises(RewardError, match="folds must be at least 2, got 1"):
        WeightFit(folds=1)
