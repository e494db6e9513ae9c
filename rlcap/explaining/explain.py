"""Explain the captions of some images of a split, and write what drove each word into the run folder."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import PIL.Image
import torch
from jaxtyping import Float
from torch import Tensor

from rewards.base import Reward
from rlcap.data.base import CaptionDataset, Record
from rlcap.errors import UserError
from rlcap.explaining.attention import token_attention
from rlcap.explaining.box import shown_box
from rlcap.explaining.graphs import fullest_graph, graph_of
from rlcap.explaining.transport import transport_plans
from rlcap.explaining.words import words_of
from rlcap.policies.base import Decoding, Policy
from rlcap.types import Batch

VERSION = 1
PIXELS = 384
DIGITS = 5
METHODS = {
    "relevance": "attention and its gradient propagated through all layers (Chefer, Gur and Wolf 2021)",
    "gradient_attention": "attention times its gradient in the last layer that looks at the image",
}
FILE, HEADER = "explanations.jsonl", "explanations.json"


@dataclass(frozen=True)
class Explanation:
    """How captions are explained.

    Attributes:
        decoding: how they are decoded.
        rewards: transport rewards by name, whose plans are wanted.
    """

    decoding: Decoding = field(default_factory=Decoding)
    rewards: Mapping[str, Reward] = field(default_factory=dict)


def explain_image(
    policy: Policy, image: PIL.Image.Image, record: Record, options: Explanation, box: Sequence[float]
) -> dict[str, Any]:
    """What drove each word of the policy's caption of an image, as plain JSON.

    Args:
        policy: in evaluation mode.
        image: in RGB.
        record: of the image.
        options: how.
        box: the part of the image that the policy sees.
    """
    pixel_values = policy.process_images([image]).to(policy.device)
    batch = Batch((record.image_id,), (record.references,), pixel_values=pixel_values)
    with torch.no_grad():
        caption = policy.decode(policy.encode(batch), batch.image_ids, options.decoding)
    words = words_of(policy, caption)
    text = policy.detokenize(caption)[0]
    row: dict[str, Any] = {"image_id": record.image_id, "caption": text, "words": list(words.texts)}
    if words.positions:
        seen = token_attention(policy, pixel_values, caption, words.positions)
        relevance, gradient = words.mean(seen.relevance), words.mean(seen.gradient_attention)
        row |= {
            "grid": list(seen.grid),
            "box": list(box),
            "relevance": _scaled(relevance),
            "gradient_attention": _scaled(gradient),
            "strength": _rounded(relevance.sum(dim=1)),  # over cells
            "probability": _rounded(words.product(seen.probabilities)),
        }
    else:  # an empty caption
        grid = policy.encode_grid(pixel_values)[1]
        row |= {"grid": list(grid), "box": list(box), **{name: [] for name in (*METHODS, "strength", "probability")}}
    return row | {
        "scene_graph": graph_of(text),
        "reference_graph": fullest_graph(record.references),
        "transport": transport_plans(options.rewards, text, record.references, image),
    }


def explain_records(
    policy: Policy,
    dataset: CaptionDataset,
    records: Sequence[Record],
    options: Explanation,
    folder: Path,
    facts: Mapping[str, Any],
    progress: Callable[[int], object] = lambda images: None,
) -> None:
    """Write the explanations of some images into a new folder, which is there when all are done, and not before.

    Args:
        policy: the captioner; its dropout is switched off meanwhile.
        dataset: opens the images.
        records: of the images.
        options: how captions are explained.
        folder: is replaced if it exists.
        facts: written beside them: where the policy and the images are from.
        progress: told of each image that is done.
    """
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    first = not folder.parent.exists()
    (aside / "images").mkdir(parents=True)
    box_of = lru_cache(maxsize=64)(lambda size: shown_box(policy.process_images, size))
    training = policy.training
    policy.eval()
    try:
        with (aside / FILE).open("w", encoding="utf-8") as file:
            for record in records:
                image = dataset.open_image(record)
                row = explain_image(policy, image, record, options, box_of(image.size))
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                image.thumbnail((PIXELS, PIXELS))
                image.save(aside / "images" / f"{quote(record.image_id, safe='')}.jpg", quality=85)
                progress(1)
        header = {"version": VERSION, **facts, "methods": METHODS, "decoding": str(options.decoding)}
        (aside / HEADER).write_text(json.dumps(header, indent=2) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    finally:
        policy.train(training)
        shutil.rmtree(aside, ignore_errors=True)  # nothing, once renamed
        if first and not folder.exists():
            folder.parent.rmdir()


def refuse_overwriting(folder: Path, overwrite: bool) -> None:
    """Make sure that explanations replace nothing but explanations, and these only if that is wanted.

    Raises:
        UserError: if they would.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / HEADER).is_file():
        raise UserError(f"{folder} exists and holds no explanations: choose another --output")
    if not overwrite:
        raise UserError(f"{folder} holds explanations already: add --overwrite, or choose another --output")


def _scaled(maps: Float[Tensor, "words cells"]) -> list[list[float]]:
    """The maps with the largest number of each being 1; all 0 where there is none."""
    largest = maps.amax(dim=1, keepdim=True)
    return [_rounded(row) for row in torch.where(largest > 0, maps / torch.where(largest > 0, largest, 1.0), 0.0)]


def _rounded(numbers: Float[Tensor, " numbers"]) -> list[float]:
    return [round(float(number), DIGITS) for number in numbers.tolist()]
