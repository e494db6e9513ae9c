"""Images with every run's caption of them: which to show, which words differ, and the picture itself."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
from PIL import Image

from rlcap.reporting.reading.runs import Run

_WIDEST = 320
_MOST_PIXELS = 40_000_000
# Words compared; what follows is shown unmarked.
_COMPARED = 300


@dataclass(frozen=True)
class Line:
    """A run's caption of an image: its words, each with whether it differs, and its score."""

    run: int
    words: tuple[tuple[str, bool], ...]
    score: float | None


@dataclass(frozen=True)
class Example:
    """An image of the gallery; the picture is a data: URI, empty where there is no readable thumbnail."""

    image_id: str
    picture: str
    lines: tuple[Line, ...]
    references: tuple[str, ...]
    gain: float | None


@dataclass(frozen=True)
class Shelf:
    """Examples chosen by one rule, which the explanation states."""

    title: str
    explanation: str
    examples: tuple[Example, ...]


def choose_shelves(
    runs: Sequence[Run], metric: str, comparable: bool, rng: np.random.Generator, size: int = 6
) -> tuple[Shelf, ...]:
    """The images with the largest gains, with the largest losses, and a sample of all that every run captioned.

    Where thumbnails were kept, only images that have one are chosen from. Gains are the last run's score less the first
    run's and are left out where those are not comparable. Runs that hold no captions are passed over.
    """
    captioning = [(index, run) for index, run in enumerate(runs) if run.evaluation.predictions]
    if not captioning:
        return ()
    first, last = captioning[0][1].evaluation.predictions, captioning[-1][1].evaluation.predictions
    shared = [image_id for image_id in first if all(image_id in run.evaluation.predictions for _, run in captioning)]
    pictured = [i for i in shared if any(run.evaluation.thumbnail(i).is_file() for _, run in captioning)]
    pool = pictured or shared
    what = f"{len(pool)} images with a thumbnail (of {len(shared)})" if pictured else f"{len(pool)} images"
    gains = {}
    if comparable and len(captioning) > 1:
        for image_id in pool:
            before, after = first[image_id].scores.get(metric), last[image_id].scores.get(metric)
            if before is not None and after is not None:
                gains[image_id] = after - before
    ranked = sorted(gains, key=lambda image_id: (-gains[image_id], image_id))
    names = f"{captioning[-1][1].name} over {captioning[0][1].name}"
    rules = [
        (
            "Largest gains",
            f"Of {what}, those whose {metric} rose most, {names}.",
            [image_id for image_id in ranked if gains[image_id] > 0][:size],
        ),
        (
            "Largest losses",
            f"Of {what}, those whose {metric} fell most, {names}.",
            [image_id for image_id in reversed(ranked) if gains[image_id] < 0][:size],
        ),
    ]
    extremes = {image_id for _, _, chosen in rules for image_id in chosen}
    rest = [image_id for image_id in pool if image_id not in extremes]
    sample = [rest[place] for place in sorted(rng.choice(len(rest), min(2 * size, len(rest)), replace=False))]
    rules.append(("A sample", f"Drawn at random, with a fixed seed, from the rest of {what}.", sample))
    return tuple(
        Shelf(
            title,
            explanation,
            tuple(_example(image_id, captioning, metric, gains.get(image_id)) for image_id in chosen),
        )
        for title, explanation, chosen in rules
        if chosen
    )


def _example(image_id: str, captioning: Sequence[tuple[int, Run]], metric: str, gain: float | None) -> Example:
    predictions = [run.evaluation.predictions[image_id] for _, run in captioning]
    first, last = predictions[0].caption, predictions[-1].caption
    lines = []
    for place, (index, _) in enumerate(captioning):
        prediction = predictions[place]
        lines.append(
            Line(index, marked_words(prediction.caption, first if place else last), prediction.scores.get(metric))
        )
    candidates = (picture_uri(run.evaluation.thumbnail(image_id)) for _, run in captioning)
    references = next((prediction.references for prediction in predictions if prediction.references), ())
    return Example(image_id, next((uri for uri in candidates if uri), ""), tuple(lines), references, gain)


def marked_words(caption: str, other: str) -> tuple[tuple[str, bool], ...]:
    """The caption's words, each with whether it has no counterpart in the other caption."""
    words, others = caption.split(), other.split()
    differs = [True] * min(len(words), _COMPARED) + [False] * max(0, len(words) - _COMPARED)
    matcher = SequenceMatcher(None, words[:_COMPARED], others[:_COMPARED], autojunk=False)
    for block in matcher.get_matching_blocks():
        differs[block.a : block.a + block.size] = [False] * block.size
    return tuple(zip(words, differs, strict=True))


def picture_uri(path: Path) -> str:
    """The image of a file, decoded and written anew as a small JPEG in a data: URI; empty if it cannot be read."""
    try:
        with Image.open(path, formats=("JPEG", "PNG", "WEBP")) as image:
            if image.width * image.height > _MOST_PIXELS:
                return ""
            small = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return ""
    small.thumbnail((_WIDEST, _WIDEST))
    small.info.clear()  # comments and profiles stay behind
    content = io.BytesIO()
    small.save(content, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")
