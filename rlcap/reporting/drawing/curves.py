"""What is drawn of logged quantities: smoothed, over the seeds of a method, thinned, and against which axis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rlcap.reporting.names import STATISTICS
from rlcap.reporting.reading.runs import COUNTERS, Run, Series

# More points than this a line of a figure's width cannot show.
MOST_POINTS = 160
# A training curve of more points than this gets a moving average over this fraction of them; held-out scores do not.
SMOOTHED_FROM, SMOOTHED_OVER = 60, 1 / 20
HELD_OUT = "Held-out scores"
_GROUPS = (
    (HELD_OUT, ("val/", "test/", "validation/")),
    ("Rewards", ("reward/", "preference/", "matching/", "contrastive/")),
    ("Captions while training", ("caption/",)),
    ("Policy", ("policy/", "critic/")),
    ("Optimisation", ("loss/", "advantage/", "gradient/", "learning_rate")),
)
_OTHER = "Other quantities"
GROUPS = (*(title for title, _ in _GROUPS), _OTHER)
# What is larger, as of a run that diverged, is drawn as this: sums and squares of it are finite.
LARGEST = 1e100
_MAIN = ("policy/kl", "policy/entropy", "gradient/variance")


@dataclass(frozen=True)
class Band:
    """A quantity over the seeds of a method, at the steps that all of them logged."""

    steps: Float[np.ndarray, " points"]
    mean: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"]
    high: Float[np.ndarray, " points"]


@dataclass(frozen=True)
class Axis:
    """What a quantity is drawn against.

    Attributes:
        title: its name.
        slug: part of the names of the figures' files; empty for the first axis.
        unit: of its numbers.
        at: where the steps of a run lie on it; None where the run does not tell.
    """

    title: str
    slug: str
    unit: str
    at: Callable[[Run, Float[np.ndarray, " points"]], Float[np.ndarray, " points"] | None]

    def of_seeds(self, runs: Sequence[Run], steps: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"] | None:
        """Where the steps lie, the mean over the runs that tell; None where none does or none gets off the start."""
        places = [found for run in runs if (found := self.at(run, steps)) is not None]
        if not places:
            return None
        mean = np.clip(np.stack(places), 0.0, LARGEST).mean(axis=0)  # over seeds
        return mean if mean[-1] > 0 or steps[-1] == 0 else None


def _minutes(run: Run, steps: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"] | None:
    seconds = run.seconds_at(steps)
    return None if seconds is None else seconds / 60


STEPS = Axis("training steps", "", "step", lambda _, steps: steps)
AXES = (
    STEPS,
    Axis("decoded captions", "captions", "captions decoded", lambda run, steps: run.count_at("captions", steps)),
    Axis("wall time", "minutes", "minutes of training steps", _minutes),
)


def figure_group(key: str) -> str:
    """The heading a logged quantity stands under."""
    return next((title for title, prefixes in _GROUPS if key.startswith(prefixes)), _OTHER)


def name_in_group(key: str) -> str:
    """A logged quantity's key without the group that it was logged under: CIDEr-D of ``val/CIDEr-D``."""
    return key.partition("/")[2]


def is_score(key: str) -> bool:
    """Whether a logged quantity says how good held-out captions are; a length or a vocabulary does not."""
    return figure_group(key) == HELD_OUT and name_in_group(key) not in STATISTICS


def curve_keys(runs: Sequence[Run]) -> list[str]:
    """The quantities that any run logged, by heading, those of a heading in alphabetical order."""
    keys = {key for run in runs for key in run.curves} - set(COUNTERS)
    return sorted(keys, key=lambda key: (GROUPS.index(figure_group(key)), key))


def main_keys(keys: Sequence[str], metric: str) -> list[str]:
    """Those of the quantities by which methods are compared: the held-out metric first."""
    held_out = [key for key in keys if figure_group(key) == HELD_OUT and name_in_group(key) == metric]
    return held_out + [key for key in _MAIN if key in keys]


def bounded(series: Series) -> Series:
    """The series, its values no larger than can be reckoned with."""
    if np.abs(series.values).max(initial=0.0) <= LARGEST:
        return series
    return Series(series.steps, np.clip(series.values, -LARGEST, LARGEST))


def moving_average(values: Float[np.ndarray, " points"], window: int) -> Float[np.ndarray, " points"]:
    """The mean of each point and its neighbours within half a window on either side, fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    first, end = np.maximum(place - window // 2, 0), np.minimum(place + window // 2 + 1, len(values))
    means = (sums[end] - sums[first]) / (end - first)
    return np.asarray(np.clip(means, values.min(), values.max()))  # rounding must not make a constant wander


def smoothing_window(points: int) -> int:
    """How many points the moving average of a curve of so many points spans; 1 is none."""
    return int(points * SMOOTHED_OVER) | 1 if points > SMOOTHED_FROM else 1


def smoothed(key: str, series: Series) -> Series:
    """The series as it is compared: a long training curve is averaged, the series itself is returned otherwise."""
    series = bounded(series)
    window = 1 if figure_group(key) == HELD_OUT else smoothing_window(len(series.steps))
    return Series(series.steps, moving_average(series.values, window)) if window > 1 else series


def thin(series: Series, most: int = MOST_POINTS) -> Series:
    """The series itself, or the lowest and the highest point of each of ``most // 2`` stretches of it."""
    series = bounded(series)
    if len(series.steps) <= most:
        return series
    edges = np.linspace(0, len(series.steps), most // 2 + 1).astype(int)
    stretches = np.split(series.values, edges[1:-1])
    lowest = edges[:-1] + [stretch.argmin() for stretch in stretches]
    highest = edges[:-1] + [stretch.argmax() for stretch in stretches]
    chosen = np.unique(np.concatenate([lowest, highest]))
    return Series(series.steps[chosen], series.values[chosen])


def band_of(seeds: Sequence[Series], most: int = MOST_POINTS) -> Band | None:
    """Mean, lowest and highest at the steps that all seeds have, evenly thinned; None where they share no step."""
    steps = seeds[0].steps
    for series in seeds[1:]:
        if not np.array_equal(steps, series.steps):
            steps = np.intersect1d(steps, series.steps, assume_unique=True)
    if not len(steps):
        return None
    if len(steps) > most:
        steps = steps[np.linspace(0, len(steps) - 1, most).astype(int)]
    values = np.stack([bounded(series).values[np.searchsorted(series.steps, steps)] for series in seeds])
    return Band(steps, values.mean(axis=0), values.min(axis=0), values.max(axis=0))  # over seeds
