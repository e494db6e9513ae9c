"""Calibration by hand and against scikit-learn."""

from dataclasses import astuple

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, brier_score_loss

from rlcap.errors import UserError
from rlcap.evaluation.calibration import calibration


def test_by_hand() -> None:
    """Two bins, [0.5, 0.75] and (0.75, 1]. Confidences 0.6, 0.7 and 0.75 (right, wrong, right), and 0.9 (right)."""
    found = calibration(np.array([0.6, 0.3, 0.75, 0.1]), np.array([1.0, 1.0, 1.0, 0.0]), bins=2)
    first, second = found.bins
    assert astuple(first) == pytest.approx((0.5, 0.75, 3, 2.05 / 3, 2 / 3))
    assert astuple(second) == pytest.approx((0.75, 1.0, 1, 0.9, 1.0))
    assert found.accuracy == 0.75
    assert found.brier == pytest.approx((0.16 + 0.49 + 0.0625 + 0.01) / 4)
    assert found.expected_calibration_error == pytest.approx((abs(2 - 2.05) + 0.1) / 4)


@pytest.fixture
def predicted() -> tuple[np.ndarray, np.ndarray]:
    """2,000 overconfident predictions: the odds are the square root of what is said."""
    rng = np.random.default_rng(0)
    margins = rng.normal(size=2000) * 2
    return 1 / (1 + np.exp(-margins)), (rng.random(2000) < 1 / (1 + np.exp(-margins / 2))).astype(float)


def test_scikit_learn_agrees(predicted: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, outcomes = predicted
    found = calibration(probabilities, outcomes, bins=10)
    assert found.accuracy == pytest.approx(accuracy_score(outcomes, probabilities > 0.5), rel=1e-12)
    assert found.brier == pytest.approx(brier_score_loss(outcomes, probabilities), rel=1e-12)
    right = (probabilities > 0.5) == (outcomes == 1)
    accuracy, confidence = calibration_curve(right, np.maximum(probabilities, 1 - probabilities), n_bins=20)
    np.testing.assert_allclose([one.accuracy for one in found.bins], accuracy, rtol=1e-12)
    np.testing.assert_allclose([one.confidence for one in found.bins], confidence, rtol=1e-12)
    assert found.expected_calibration_error > 0.05


def test_order_within_pairs_and_of_pairs_does_not_matter(predicted: tuple[np.ndarray, np.ndarray]) -> None:
    """Written chosen-first, every outcome is 1: the same numbers, to the rounding of 1 - p."""
    probabilities, outcomes = predicted
    found = calibration(probabilities, outcomes)
    chosen_first = np.where(outcomes == 1, probabilities, 1 - probabilities)
    for other in (calibration(chosen_first, np.ones(2000)), calibration(probabilities[::-1], outcomes[::-1])):
        assert other.accuracy == found.accuracy
        assert other.brier == pytest.approx(found.brier, rel=1e-12)
        assert other.expected_calibration_error == pytest.approx(found.expected_calibration_error, rel=1e-9)


def test_limits() -> None:
    """Always right and sure: 0 everywhere. Always wrong and sure: 1. Never sure: Brier 1/4, error 0."""
    outcomes = np.array([1.0, 0.0, 0.0])
    sure, wrong = calibration(outcomes, outcomes), calibration(1 - outcomes, outcomes)
    unsure = calibration(np.full(3, 0.5), outcomes)
    assert (sure.accuracy, sure.brier, sure.expected_calibration_error) == (1, 0, 0)
    assert (wrong.accuracy, wrong.brier, wrong.expected_calibration_error) == (0, 1, 1)
    assert (unsure.accuracy, unsure.brier, unsure.expected_calibration_error) == (0.5, 0.25, 0)
    assert [one.pairs for one in unsure.bins] == [3]


def test_ties_of_judges_are_half_right() -> None:
    found = calibration(np.array([0.9, 0.2]), np.array([0.5, 0.5]), bins=1)
    assert found.accuracy == 0.5
    assert found.brier == pytest.approx((0.16 + 0.09) / 2)
    assert found.expected_calibration_error == pytest.approx(0.85 - 0.5)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [([], "at least one pair"), ([1.5], "probability 1.5"), ([np.nan], "probability nan")],
    ids=["none", "reward", "not_a_number"],
)
def test_what_is_no_probability_is_named(probabilities: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        calibration(np.array(probabilities), np.ones(len(probabilities)))


def test_a_weight_of_two_is_a_pair_said_twice() -> None:
    probabilities, outcomes = np.array([0.9, 0.55, 0.3, 0.92]), np.array([1.0, 0.0, 1.0, 0.0])
    weighted = calibration(probabilities, outcomes, weights=np.array([2.0, 1.0, 1.0, 1.0]))
    twice = calibration(np.array([0.9, *probabilities]), np.array([1.0, *outcomes]))
    for name in ("accuracy", "brier", "expected_calibration_error"):
        assert getattr(weighted, name) == pytest.approx(getattr(twice, name)), name
