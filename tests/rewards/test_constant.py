"""The control that rewards every caption alike."""

import numpy as np
import pytest

from rewards.base import Candidates
from rewards.constant import Constant


@pytest.mark.parametrize("value", [1.0, -2.5])
def test_every_caption_gets_the_value(value):
    reward = Constant(value)
    np.testing.assert_array_equal(reward(Candidates(["a dog", "", "two cats"])), [value] * 3)
    assert reward.corpus(Candidates(["a dog"])) == value
    assert not reward.needs_references
    assert not reward.needs_images


def test_signature_tells_the_value():
    assert str(Constant(0.5).signature).startswith("Constant|value:0.5|")
