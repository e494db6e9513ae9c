"""Which part of an image the pixel values show, against what the image processors' documented settings say."""

import pytest
from transformers import CLIPImageProcessor, ConvNextImageProcessor, MobileNetV2ImageProcessor, ViTImageProcessor

from rlcap.explaining.box import shown_box
from rlcap.policies.images import ImageProcessor

TOLERANCE = 0.006  # of a side: resized sides are whole pixels
WHOLE = (0.0, 0.0, 1.0, 1.0)
CASES = {
    "squeezed": (ViTImageProcessor(size={"height": 32, "width": 32}), None, (90, 60), WHOLE),
    "as it is": (ViTImageProcessor(size={"height": 64, "width": 64}), None, (64, 64), WHOLE),
    "enlarged": (ViTImageProcessor(size={"height": 224, "width": 224}), None, (64, 48), WHOLE),
    # CLIP: the shorter side to 48, then the middle 32 x 32: of 96 x 48, and of 48 x 96
    "wide": (
        CLIPImageProcessor(size={"shortest_edge": 48}, crop_size={"height": 32, "width": 32}),
        None,
        (200, 100),
        (1 / 3, 1 / 6, 2 / 3, 5 / 6),
    ),
    "tall": (
        CLIPImageProcessor(size={"shortest_edge": 48}, crop_size={"height": 32, "width": 32}),
        None,
        (100, 200),
        (1 / 6, 1 / 3, 5 / 6, 2 / 3),
    ),
    # ConvNeXt: the shorter side to 32 / 0.875 = 36.57, then the middle 32 x 32
    "cropped share": (
        ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875),
        None,
        (300, 300),
        (0.0556, 0.0556, 0.9444, 0.9444),
    ),
    "image_size": (MobileNetV2ImageProcessor(), 64, (80, 40), WHOLE),
    # the shorter side to 24, then padded to 32 x 32: 4 of 24 pixels beyond each end
    "padded": (
        CLIPImageProcessor(size={"shortest_edge": 24}, crop_size={"height": 32, "width": 32}),
        None,
        (60, 60),
        (-1 / 6, -1 / 6, 7 / 6, 7 / 6),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_box_is_what_the_processor_leaves(case: str) -> None:
    processor, image_size, size, expected = CASES[case]
    assert shown_box(ImageProcessor(processor, image_size), size) == pytest.approx(expected, abs=TOLERANCE)
    if expected == WHOLE:
        assert shown_box(ImageProcessor(processor, image_size), size) == WHOLE
