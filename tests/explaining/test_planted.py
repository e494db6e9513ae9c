"""Where the truth is known: one half of each image decides the word, the other half is there to mislead."""

from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

from rlcap.explaining.attention import token_attention
from rlcap.policies.backbone_decoder import DecoderSettings
from rlcap.policies.tiny import TinyViT
from rlcap.types import Batch

COLORS = {"red": (220, 40, 40), "green": (40, 160, 40), "blue": (40, 40, 220)}
HALVES = list(product(COLORS, COLORS))
SIDE, STEPS = 32, 100


def image_of(left: str, right: str) -> Image.Image:
    pixels = np.empty((SIDE, SIDE, 3), dtype=np.uint8)
    pixels[:, : SIDE // 2], pixels[:, SIDE // 2 :] = COLORS[left], COLORS[right]
    return Image.fromarray(pixels)


@pytest.mark.parametrize("deciding", ["left", "right"])
def test_relevance_lies_in_the_half_that_decides(deciding: str) -> None:
    torch.manual_seed(0)
    words = [f"a {left if deciding == 'left' else right} half" for left, right in HALVES]
    small = DecoderSettings(width=32, layers=1, heads=2, dropout=0.0, min_count=1, region_positions=0.5)
    policy = TinyViT(image_size=SIDE, patch=8, encoder_width=32, encoder_layers=1, heads=2, decoder=small)
    policy.prepare([words])
    pixels = policy.process_images([image_of(*pair) for pair in HALVES])
    captions = policy.tokenize(words, 5)
    batch = Batch(tuple(map(str, HALVES)), ((),) * len(HALVES), pixel_values=pixels)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        (-policy.logprobs(policy.encode(batch), captions).sum() / len(HALVES)).backward()
        optimizer.step()
    policy.eval()

    masses = {"relevance": torch.zeros(4, 4), "gradient_attention": torch.zeros(4, 4)}
    for row in range(len(HALVES)):
        found = token_attention(policy, pixels[[row]], captions.select(torch.tensor([row])), range(3))
        assert found.grid == (4, 4)
        assert found.probabilities[1] > 0.9  # the colour is learned
        for method, mass in masses.items():
            mass += getattr(found, method)[1].reshape(4, 4)
    half = slice(0, 2) if deciding == "left" else slice(2, 4)
    shares = {method: float(mass[:, half].sum() / mass.sum()) for method, mass in masses.items()}
    assert shares["relevance"] > 0.7, shares  # chance is 0.5
    assert shares["gradient_attention"] > 0.7, shares
