"""What a run's policy or reward model made of a split: evaluation/<split>."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rlcap.markdown import clean
from rlcap.reporting.reading.files import LONGEST_KEY, Source, as_count, as_mapping, as_score, is_folder
from rlcap.reporting.reading.mappings import read_mapping
from rlcap.reporting.reading.predictions import Prediction, Predictions


@dataclass(frozen=True)
class Score:
    """A split's score and how it was scored; the signature is empty where the file names none."""

    value: float
    signature: str


@dataclass(frozen=True)
class Evaluation:
    """What a run's policy made of one split; every part may be empty."""

    folder: Path
    images: int | None
    step: int | None
    decoding: str
    scores: Mapping[str, Score]
    statistics: Mapping[str, float]
    predictions: Mapping[str, Prediction]

    def thumbnail(self, image_id: str) -> Path:
        """Where the image's thumbnail lies if there is one."""
        return self.folder / "images" / f"{quote(image_id, safe='', errors='replace')}.jpg"


def read_evaluation(folder: Path, split: str, reader: Predictions, notes: list[str]) -> Evaluation:
    """The evaluation of a split in a run folder; what is missing or damaged is added to the notes."""
    label = f"evaluation/{split}"
    if not is_folder(folder / label):
        notes.append(f"{label} is missing")
        return Evaluation(folder / label, None, None, "", {}, {}, {})
    source = Source(folder, f"{label}/scores.json")
    summary = read_mapping(source, notes)
    scores = {}
    for metric, entry in as_mapping(summary.get("scores")).items():
        value, signature = as_score(as_mapping(entry).get("value")), as_mapping(entry).get("signature")
        if not 0 < len(metric) <= LONGEST_KEY:
            notes.append(f"{source.name}: a metric's name is empty or longer than {LONGEST_KEY} characters")
        elif value is None:
            notes.append(f"{source.name}: {clean(metric)} has no finite value")
        else:
            scores[metric] = Score(value, signature if isinstance(signature, str) else "")
            if not scores[metric].signature:
                notes.append(f"{source.name}: {clean(metric)} has no signature that says how it was scored")
    statistics = {
        key: number
        for key, value in as_mapping(summary.get("statistics")).items()
        if 0 < len(key) <= LONGEST_KEY and (number := as_score(value)) is not None
    }
    predictions = reader.read(Source(folder, f"{label}/predictions.jsonl"), notes)
    images = as_count(summary.get("images"))
    if images is not None and predictions and images != len(predictions):
        notes.append(f"{label}: scores.json speaks of {images} images, predictions.jsonl holds {len(predictions)}")
    return Evaluation(
        folder / label,
        images,
        as_count(summary.get("step")),
        str(summary.get("decoding") or ""),
        scores,
        statistics,
        predictions,
    )
