"""Photos to pixel values, with the image processor a model was trained with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor

from rlcap.types import UserError


class ImageProcessor:
    """A transformers image processor as a function of images; small enough to be sent to worker processes.

    Args:
        processor: the transformers image processor.
        image_size: side in pixels that images are resized to (squashed, as captioners do); None keeps its own size.
    """

    def __init__(self, processor: Any, image_size: int | None = None) -> None:
        if image_size is not None:
            if hasattr(processor, "crop_pct"):  # ConvNeXt's resizes by the shorter side, then crops a share of it
                processor.size, processor.crop_pct = {"shortest_edge": image_size}, 1.0
            else:
                processor.size = {"height": image_size, "width": image_size}
            if getattr(processor, "do_center_crop", False):
                processor.do_center_crop = False
        self.processor = processor

    @classmethod
    def load(cls, name: str, image_size: int | None = None) -> "ImageProcessor":
        """The processor of a hub name or a directory.

        Raises:
            UserError: if there is none there.
        """
        try:
            return cls(AutoImageProcessor.from_pretrained(name, backend="pil"), image_size)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(f"no image processor in {name}: {reason}") from error

    @property
    def settings(self) -> dict[str, Any]:
        """What the processor does, for fingerprints."""
        settings: dict[str, Any] = self.processor.to_dict()
        return settings

    def __call__(self, images: Sequence[Image.Image]) -> Float[Tensor, "images channels height width"]:
        pixel_values: Tensor = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
        return pixel_values.to(torch.float32)

    def save(self, directory: Path) -> None:
        """Write the processor's settings beside a model."""
        self.processor.save_pretrained(directory)
