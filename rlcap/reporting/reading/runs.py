"""Run folders, read without trust: what is missing or damaged is named in the run's notes and never guessed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jaxtyping import Float

from rlcap.reporting.reading.files import ReportError, as_count, as_mapping, as_number, read_lines, read_mapping

# Columns of metrics.jsonl that say when a row was written, not what was measured.
COUNTERS = ("step", "epoch", "images", "captions")


@dataclass(frozen=True)
class Series:
    """One logged quantity against the training step, steps ascending and distinct."""

    steps: Float[np.ndarray, " points"]
    values: Float[np.ndarray, " points"]


@dataclass(frozen=True)
class Score:
    """A split's score and how it was scored; the signature is empty where the file names none."""

    value: float
    signature: str


@dataclass(frozen=True)
class Prediction:
    """The caption of one image, its references and its own scores."""

    image_id: str
    caption: str
    references: tuple[str, ...]
    scores: Mapping[str, float]


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


@dataclass(frozen=True)
class Run:
    """A run folder as read.

    Attributes:
        name: unique among the runs of a report.
        config: config.yaml as nested mappings.
        environment: environment.json.
        curves: the quantities of metrics.jsonl by key, the counters included.
        timings: seconds by key of timings.jsonl, one per row.
        evaluation: the evaluation of the split asked for.
        notes: one line for each thing that is missing or damaged.
    """

    name: str
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    curves: Mapping[str, Series]
    timings: Mapping[str, Float[np.ndarray, " _rows"]]
    evaluation: Evaluation
    notes: tuple[str, ...]

    @property
    def steps(self) -> int | None:
        """The last step that was logged; None where none was."""
        return max((int(series.steps[-1]) for series in self.curves.values()), default=None)

    @property
    def training_seconds(self) -> float | None:
        """What all steps took: the mean of those that were timed, times the steps; None where it cannot be told."""
        seconds = self.timings.get("time/step")
        return None if seconds is None or self.steps is None else float(seconds.mean()) * self.steps

    def setting(self, *path: str) -> str:
        """A setting of the configuration as text, empty where there is none."""
        value: object = self.config
        for key in path:
            value = as_mapping(value).get(key)
        return "" if value is None or isinstance(value, Mapping) else str(value)


def read_runs(folders: Sequence[Path], split: str) -> tuple[Run, ...]:
    """The runs of the folders, in that order.

    Raises:
        ReportError: if a folder does not exist, is named twice or holds nothing a report could show.
    """
    if not folders:
        raise ReportError("a report needs at least one run folder")
    for folder in folders:
        if not folder.is_dir():
            raise ReportError(f"{folder} is no run folder: there is no such directory")
    repeated = [path for path, times in Counter(folder.resolve() for folder in folders).items() if times > 1]
    if repeated:
        raise ReportError(f"{repeated[0]} is given more than once: name each run folder once")
    return tuple(_read_run(folder, name, split) for folder, name in zip(folders, run_names(folders), strict=True))


def run_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """The folders' names, with as many parents before them as it takes to tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    depths = [1] * len(parts)
    while True:
        names = ["/".join(part[-depth:]) for part, depth in zip(parts, depths, strict=True)]
        times = Counter(names)
        deeper = [
            depth + (times[name] > 1 and depth < len(part))
            for part, depth, name in zip(parts, depths, names, strict=True)
        ]
        if deeper == depths:
            return tuple(names)
        depths = deeper


def _read_run(folder: Path, name: str, split: str) -> Run:
    notes: list[str] = []
    config = read_mapping(folder / "config.yaml", notes, "config.yaml")
    environment = read_mapping(folder / "environment.json", notes, "environment.json")
    curves = _curves(read_lines(folder / "metrics.jsonl", notes, "metrics.jsonl"), notes)
    timings = _timings(read_lines(folder / "timings.jsonl", notes, "timings.jsonl"), notes)
    evaluation = _evaluation(folder / "evaluation" / split, split, notes)
    if not (curves or timings or evaluation.scores or evaluation.predictions):
        raise ReportError(
            f"{folder} holds nothing to report: no rows in metrics.jsonl or timings.jsonl, and no evaluation/{split}"
        )
    return Run(name, config, environment, curves, timings, evaluation, tuple(notes))


def _curves(rows: Sequence[Mapping[str, Any]], notes: list[str]) -> dict[str, Series]:
    points: dict[str, dict[float, float]] = {}
    without_step, repeated = 0, set()
    not_finite: Counter[str] = Counter()
    for row in rows:
        step = as_number(row.get("step"))
        if step is None:
            without_step += 1
            continue
        for key, value in row.items():
            number = as_number(value)
            if number is None:
                not_finite[key] += 1
                continue
            of_key = points.setdefault(key, {})
            if step in of_key and key not in COUNTERS:  # training and evaluation rows share their counters
                repeated.add(step)
            of_key[step] = number
    if without_step:
        notes.append(f"metrics.jsonl: {without_step} rows name no step and were left out")
    if repeated:
        notes.append(
            f"metrics.jsonl: {len(repeated)} steps were logged more than once (a resumed run?); the later is shown"
        )
    notes.extend(f"metrics.jsonl: {times} values of {key} are not finite numbers" for key, times in not_finite.items())
    curves = {}
    for key, of_key in points.items():
        steps = np.array(sorted(of_key), dtype=np.float64)
        curves[key] = Series(steps, np.array([of_key[step] for step in steps], dtype=np.float64))
    return curves


def _timings(rows: Sequence[Mapping[str, Any]], notes: list[str]) -> dict[str, Float[np.ndarray, " _rows"]]:
    seconds: dict[str, list[float]] = {}
    unusable = 0
    for row in rows:
        for key, value in row.items():
            if key.startswith("time/"):
                number = as_number(value)
                if number is None or number < 0:
                    unusable += 1
                else:
                    seconds.setdefault(key, []).append(number)
    if unusable:
        notes.append(f"timings.jsonl: {unusable} values are no times and were left out")
    return {key: np.array(values, dtype=np.float64) for key, values in seconds.items()}


def _evaluation(folder: Path, split: str, notes: list[str]) -> Evaluation:
    label = f"evaluation/{split}"
    if not folder.is_dir():
        notes.append(f"{label} is missing")
        return Evaluation(folder, None, None, "", {}, {}, {})
    summary = read_mapping(folder / "scores.json", notes, f"{label}/scores.json")
    scores = {}
    for metric, entry in as_mapping(summary.get("scores")).items():
        value = as_number(as_mapping(entry).get("value"))
        if value is None:
            notes.append(f"{label}/scores.json: {metric} has no finite value")
        else:
            scores[metric] = Score(value, str(as_mapping(entry).get("signature") or ""))
    statistics = {
        key: number
        for key, value in as_mapping(summary.get("statistics")).items()
        if (number := as_number(value)) is not None
    }
    predictions = _predictions(folder / "predictions.jsonl", f"{label}/predictions.jsonl", notes)
    images = as_count(summary.get("images"))
    if images is not None and predictions and images != len(predictions):
        notes.append(f"{label}: scores.json speaks of {images} images, predictions.jsonl holds {len(predictions)}")
    return Evaluation(
        folder,
        images,
        as_count(summary.get("step")),
        str(summary.get("decoding") or ""),
        scores,
        statistics,
        predictions,
    )


def _predictions(path: Path, label: str, notes: list[str]) -> dict[str, Prediction]:
    predictions: dict[str, Prediction] = {}
    unusable = repeated = 0
    for row in read_lines(path, notes, label):
        image_id, caption, references = row.get("image_id"), row.get("caption"), row.get("references")
        if not isinstance(image_id, str | int) or not isinstance(caption, str):
            unusable += 1
        elif str(image_id) in predictions:
            repeated += "score" not in row  # a reward model scores several captions of an image
        else:
            predictions[str(image_id)] = Prediction(
                str(image_id),
                caption,
                tuple(str(reference) for reference in references) if isinstance(references, list) else (),
                {
                    metric: number
                    for metric, value in as_mapping(row.get("scores")).items()
                    if (number := as_number(value)) is not None
                },
            )
    if unusable:
        notes.append(f"{label}: {unusable} rows name no image or no caption and were left out")
    if repeated:
        notes.append(f"{label}: {repeated} rows repeat an image; its first caption is kept")
    return predictions
