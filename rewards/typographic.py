"""A probe: by how much a reward rises when the caption is written into the image.

CLIP and its like read text in images and take it for what the image shows (Goh et al. 2021, "Multimodal neurons"). A
policy rewarded by such a model is drawn to images' lettering; a large gain warns of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Float64
from PIL import Image, ImageDraw, ImageFont

from rewards.base import Candidates, OpenedWhenRead, Reward, RewardError

SMALLEST = 8  # pixels; smaller letters are not legible
LETTERS_PER_SIDE = 10  # the largest letters are this part of the image's shorter side


@dataclass(frozen=True)
class TypographicGain:
    """What text in the image did to each caption's score.

    Attributes:
        before: score with the image as it is.
        after: score with the text drawn into it.
        overall_before: score of all captions together, as the reward defines it.
        overall_after: the same with the text.
        signature: how the scores were made.
    """

    before: Float64[np.ndarray, " captions"]
    after: Float64[np.ndarray, " captions"]
    overall_before: float
    overall_after: float
    signature: str

    @property
    def gain(self) -> Float64[np.ndarray, " captions"]:
        """By how much the text raised each caption's score."""
        gain: Float64[np.ndarray, " captions"] = self.after - self.before
        return gain

    def summary(self) -> dict[str, float]:
        """The scores of all captions together, their difference, and the share of captions whose score rose."""
        return {
            "before": self.overall_before,
            "after": self.overall_after,
            "gain": self.overall_after - self.overall_before,
            "share_raised": float(np.mean(self.gain > 0)) if len(self.gain) else 0.0,
        }


def typographic_gain(
    reward: Reward, candidates: Candidates, text: str | Sequence[str] | None = None
) -> TypographicGain:
    """The scores of captions before and after text is drawn into their images.

    Drawn images go by ids of their own, made of the image's id and the text, so that no reward takes what it remembers
    of the image for them. A reward that compares the images of a batch sees each drawn image as one of its own. The
    text stands on a white strip; to tell its words from the strip, compare with the gain of an unrelated text.

    Args:
        reward: any that looks at images.
        candidates: captions and images.
        text: what is drawn: one text for all, or one for each caption; None draws each caption into its own image.

    Raises:
        RewardError: if the reward does not look at images, or there are none, or a text is missing.
    """
    if not reward.needs_images:
        raise RewardError(f"{reward.signature} does not look at images, so text in them cannot move it: probe another")
    images = candidates.images
    if images is None:
        raise RewardError("text is drawn into images, and Candidates.images is None: give one for each caption")
    texts = candidates.captions if text is None else [text] * len(candidates) if isinstance(text, str) else text
    if len(texts) != len(candidates):
        raise RewardError(f"there are {len(texts)} texts for {len(candidates)} captions: give one each")
    ids = candidates.image_ids
    drawn = replace(
        candidates,
        images=OpenedWhenRead([partial(_drawn, images, row, line) for row, line in enumerate(texts)]),
        image_ids=None
        if ids is None
        else [f"{name} with {line!r} drawn in" for name, line in zip(ids, texts, strict=True)],
    )
    before, after = reward(candidates), reward(drawn)
    return TypographicGain(
        before,
        after,
        reward.aggregate(candidates, before),
        reward.aggregate(drawn, after),
        str(reward.signature_of(candidates)),
    )


def draw_text(image: Image.Image, text: str) -> Image.Image:
    """A copy of the image with the text in black on white, at the foot of its central square, which crops leave in.

    The letters are as large as fit into the lower half of the square, at most a tenth of its side; below 8 pixels the
    text is cut instead. The font is Pillow's own, which has Latin letters.
    """
    image = image.convert("RGB")  # a copy
    if not text.strip():
        return image
    side = min(image.size)
    left, foot = (image.width - side) // 2, (image.height + side) // 2
    draw = ImageDraw.Draw(image)
    for size in range(max(side // LETTERS_PER_SIDE, SMALLEST), SMALLEST - 1, -1):
        font = ImageFont.load_default(size)
        lines = _wrapped(text, font, side)
        line_height = round(1.25 * size)
        if len(lines) * line_height <= side // 2:
            break
    lines = lines[: max(1, side // 2 // line_height)]
    top = foot - len(lines) * line_height
    draw.rectangle((left, top, left + side - 1, foot - 1), fill="white")
    for number, line in enumerate(lines):
        draw.text((left + size // 4, top + number * line_height), line, fill="black", font=font)
    return image


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= 0.9 * width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _drawn(images: Sequence[Image.Image], row: int, text: str) -> Image.Image:
    return draw_text(images[row], text)
