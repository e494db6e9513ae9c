"""Learning-rate schedules against worked numbers."""

import pytest

from rlcap.training.schedule import Constant, Cosine, Linear


def test_warmup_rises_linearly():
    assert [Constant(4).factor(step, 10) for step in range(1, 7)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_linear_and_cosine_end_where_they_should():
    assert Linear(0, 0.2).factor(10, 10) == pytest.approx(0.2)
    assert Linear(0, 0.2).factor(5, 10) == pytest.approx(0.6)
    assert Cosine(0, 0.1).factor(5, 10) == pytest.approx(0.55)
    assert Cosine(2, 0.1).factor(12, 12) == pytest.approx(0.1)
