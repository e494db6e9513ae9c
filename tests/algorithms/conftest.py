"""A policy of two words whose captions can all be written down."""

import pytest
import torch

from rlcap.policies.backbone_decoder import DecoderSettings
from rlcap.policies.tiny import TinyViT
from rlcap.types import Batch


@pytest.fixture
def policy() -> TinyViT:
    torch.manual_seed(0)
    tiny = TinyViT(32, 16, encoder_width=8, encoder_layers=1, heads=2, decoder=DecoderSettings(16, 1, 2, 0.0, 1, 8))
    tiny.prepare([["red", "blue"]])
    with torch.no_grad():  # far from uniform, so that greedy and samples differ in likelihood
        for parameter in tiny.parameters():
            parameter.mul_(3)
    return tiny.eval()


@pytest.fixture
def batch() -> Batch:
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    references = (("red blue", "red"), ("blue", "blue blue"), ("red red blue", "blue"))
    return Batch(("x", "y", "z"), references, pixel_values=pixels)
