"""A policy of two words whose captions can all be written down, and images for it."""

import pytest
from enumeration import three_images, two_word_policy

from rlcap.policies.tiny import TinyViT
from rlcap.types import Batch


@pytest.fixture
def policy() -> TinyViT:
    return two_word_policy()


@pytest.fixture
def batch() -> Batch:
    return three_images()
