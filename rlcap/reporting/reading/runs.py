"""Run folders, read without trust: what is missing or damaged is named in the run's notes and never guessed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from rlcap.reporting.reading.cache import Cache, pack_json, unpack_json
from rlcap.reporting.reading.evaluations import Evaluation, Score, read_evaluation
from rlcap.reporting.reading.files import ReportError, Source, as_count, as_mapping, is_folder
from rlcap.reporting.reading.logs import (
    COUNTERS,
    STEP_SECONDS,
    Series,
    pack_series,
    read_curves,
    read_timings,
    unpack_series,
)
from rlcap.reporting.reading.mappings import read_mapping
from rlcap.reporting.reading.predictions import Prediction, Predictions

__all__ = ["COUNTERS", "Evaluation", "Prediction", "Reading", "Run", "Score", "Series", "read_runs", "run_names"]

KINDS = ("policy", "reward_model")
MOST_NOTES = 50


@dataclass(frozen=True)
class Run:
    """A run folder as read.

    Attributes:
        name: unique among the runs of a report.
        config: config.yaml as nested mappings.
        environment: environment.json.
        curves: the quantities of metrics.jsonl by key, the counters included.
        timings: seconds (``time/...``) and bytes (``memory/...``) by key of timings.jsonl.
        evaluation: the evaluation of the split asked for.
        notes: one line for each thing that is missing or damaged.
        folder: where it lies.
        kind: what it trained, ``policy`` or ``reward_model``; empty where nothing says.
    """

    name: str
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    curves: Mapping[str, Series]
    timings: Mapping[str, Series]
    evaluation: Evaluation
    notes: tuple[str, ...]
    folder: Path = Path()
    kind: str = ""

    @cached_property
    def steps(self) -> int | None:
        """The last step that was logged; None where none was."""
        return max((int(series.steps[-1]) for series in self.curves.values()), default=None)

    @property
    def planned_steps(self) -> int | None:
        """The steps that the configuration asks for; None where it does not say."""
        return as_count(as_mapping(self.config.get("training")).get("steps"))

    @property
    def finished(self) -> bool:
        """Whether nothing says that the run is still going on or was stopped.

        A guard may end a run early; it is finished once the split was measured.
        """
        if self.planned_steps is None or self.steps is None or self.steps >= self.planned_steps:
            return True
        guarded = as_mapping(self.config.get("training")).get("guard") is not None
        at_the_end = self.setting("evaluation", "validation") != self.evaluation.folder.name
        return guarded and at_the_end and bool(self.evaluation.scores)

    @property
    def training_seconds(self) -> float | None:
        """What all steps took; None where it cannot be told."""
        if self.steps is None:
            return None
        seconds = self.seconds_at(np.array([self.steps], dtype=np.float64))
        return None if seconds is None else float(seconds[0])

    def seconds_at(self, steps: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"] | None:
        """Training seconds from the start to each step; None where nothing was timed.

        Each logged time stands for the steps since the one logged before; later steps take their mean.
        """
        timed = self.timings.get(STEP_SECONDS)
        if timed is None:
            return None
        return _total_at(timed.steps, np.cumsum(timed.values * np.diff(timed.steps, prepend=0.0)), steps)

    def count_at(self, counter: str, steps: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"] | None:
        """The images or captions seen from the start to each step, None where they were not counted.

        Args:
            counter: ``images`` or ``captions``.
            steps: where; between logged steps it is interpolated, later ones go on at the mean rate.
        """
        counted = self.curves.get(counter)
        return None if counted is None else _total_at(counted.steps, counted.values, steps)

    def setting(self, *path: str) -> str:
        """A setting of the configuration as text, empty where there is none."""
        value: object = self.config
        for key in path:
            value = as_mapping(value).get(key)
        return "" if value is None or isinstance(value, Mapping) else str(value)


@dataclass(frozen=True)
class Reading:
    """What was read of run folders.

    Attributes:
        runs: those that hold anything, in the order they were given.
        left_out: one sentence for each that holds nothing.
    """

    runs: tuple[Run, ...]
    left_out: tuple[str, ...]


def read_runs(folders: Sequence[Path], split: str, cache: Path | None = None) -> Reading:
    """The runs of the folders, in that order.

    Args:
        folders: run folders.
        split: the split whose evaluation is read.
        cache: a folder in which what was parsed is kept; of folders not given any more, nothing is.

    Raises:
        ReportError: if a folder does not exist or is named twice, or if none holds anything a report could show.
    """
    if not folders:
        raise ReportError("a report needs at least one run folder")
    for folder in folders:
        if not is_folder(folder):
            why = "it is a file" if folder.is_file() else "there is no such directory, or it may not be entered"
            raise ReportError(f"{folder} is no run folder: {why}")
    repeated = [path for path, times in Counter(folder.resolve() for folder in folders).items() if times > 1]
    if repeated:
        raise ReportError(f"{repeated[0]} is given more than once: name each run folder once")
    keep = Cache(cache)
    predictions = Predictions(keep)
    read = [
        _read_run(folder, name, split, keep, predictions)
        for folder, name in zip(folders, run_names(folders), strict=True)
    ]
    keep.drop_unused()
    runs = tuple(run for run in read if _usable(run))
    if not runs:
        more = "" if len(folders) == 1 else f", nor do the other {len(folders) - 1}"
        within = any(is_folder(place) and (place / "config.yaml").is_file() for place in folders[0].iterdir())
        hint = f"; for the runs in it: rlcap report {folders[0]}/*/" if within else ""
        raise ReportError(f"{folders[0]} {_nothing(split)}{more}{hint}")
    return Reading(runs, tuple(f"{run.name} {_nothing(split)}; it was left out." for run in read if not _usable(run)))


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


def _read_run(folder: Path, name: str, split: str, cache: Cache, predictions: Predictions) -> Run:
    notes: list[str] = []
    config = cache.remembered(Source(folder, "config.yaml"), "config.json", read_mapping, pack_json, unpack_json, notes)
    environment = read_mapping(Source(folder, "environment.json"), notes)
    curves, timings = (
        cache.remembered(Source(folder, file), "log.npz", read, pack_series, unpack_series, notes)
        for file, read in (("metrics.jsonl", read_curves), ("timings.jsonl", read_timings))
    )
    evaluation = read_evaluation(folder, split, predictions, notes)
    run = Run(name, config, environment, curves, timings, evaluation, (), folder, _kind(config, folder))
    if not run.finished:
        notes.append(f"still running or stopped: step {run.steps} of {run.planned_steps}")
    if len(notes) > MOST_NOTES:
        notes[MOST_NOTES:] = [f"{len(notes) - MOST_NOTES} further remarks are not shown"]
    return replace(run, notes=tuple(notes))


def _kind(config: Mapping[str, Any], folder: Path) -> str:
    """What a run trained, as its configuration says, or the marker files of its checkpoints."""
    named = [kind for kind in KINDS if config.get(kind) is not None]
    if not named and is_folder(folder / "checkpoints"):
        named = [kind for kind in KINDS if any(folder.glob(f"checkpoints/*/*/rlcap_{kind}.json"))]
    return named[0] if len(named) == 1 else ""


def _usable(run: Run) -> bool:
    return bool(run.curves or run.timings or run.evaluation.scores or run.evaluation.predictions)


def _nothing(split: str) -> str:
    return f"holds nothing to report: no rows in metrics.jsonl or timings.jsonl, and no evaluation/{split}"


def _total_at(
    steps: Float[np.ndarray, " logged"], totals: Float[np.ndarray, " logged"], at: Float[np.ndarray, " points"]
) -> Float[np.ndarray, " points"]:
    """A total that is zero at step 0, interpolated between logged steps; after the last it grows at its mean rate."""
    start = int(steps[0] == 0)
    steps, totals = np.append(0.0, steps[start:]), np.append(0.0, totals[start:])
    rate = totals[-1] / steps[-1] if steps[-1] else 0.0
    return np.asarray(np.interp(at, steps, totals) + rate * np.maximum(at - steps[-1], 0.0))
