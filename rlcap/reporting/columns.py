"""The numbers by which methods are compared, each with how sure it is: what the main table and its files show.

A column holds one metric under one signature, so that it can be read downwards. A number scored otherwise has a column
of its own.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from rewards.base import Candidates
from rewards.bleu import Bleu, sentence_bleu
from rlcap.reporting.images import SharedImages
from rlcap.reporting.methods import Method
from rlcap.reporting.names import direction
from rlcap.reporting.options import ReportOptions
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.statistics.correction import holm
from rlcap.reporting.statistics.estimates import Difference, Estimate, difference, estimate
from rlcap.reporting.statistics.resampling import (
    Runs,
    Statistic,
    image_resamples,
    interquartile_statistic,
    mean_statistic,
    resampled_runs,
)

BLEU = re.compile(r"^BLEU-([1-4])$")
# A score whose file says otherwise than the mean of its images is one of the whole corpus.
_SAME = 1e-3


@dataclass(frozen=True, eq=False)
class Column:
    """One quantity of every method.

    Attributes:
        name: the metric or statistic.
        signature: how it was scored; empty for statistics.
        better: 1 where more is better, -1 where less is, 0 where neither.
        images: how many images its intervals were resampled from; 0 where they rest on seeds alone.
        runs: the runs of each method; None where none has the number.
        baseline: the place of the method that the others are compared with.
        options: how sure to be.
    """

    name: str
    signature: str
    better: int
    images: int
    runs: tuple[Runs | None, ...]
    baseline: int
    options: ReportOptions

    @cached_property
    def estimates(self) -> tuple[Estimate | None, ...]:
        """Each method's number and its interval."""
        return tuple(None if runs is None else estimate(runs, self.options.confidence) for runs in self.runs)

    @cached_property
    def differences(self) -> tuple[Difference | None, ...]:
        """Each method's difference from the baseline; None for the baseline itself."""
        return tuple(
            None if place == self.baseline else self.between(place, self.baseline) for place in range(len(self.runs))
        )

    def between(self, place: int, other: int) -> Difference | None:
        """The difference of a method from another; None where one has no such number."""
        runs, others = self.runs[place], self.runs[other]
        return None if runs is None or others is None else difference(runs, others, self.options.confidence)

    @cached_property
    def p_values(self) -> tuple[float | None, ...]:
        """Of each difference from the baseline, uncorrected."""
        return tuple(None if found is None else found.p for found in self.differences)

    @cached_property
    def best(self) -> int | None:
        """The method that is better than every other, corrected for their number; None where none is."""
        values = {place: found.value for place, found in enumerate(self.estimates) if found is not None}
        if not self.better or len(values) < 2:
            return None
        place = max(values, key=lambda place: self.better * values[place])
        others = [self.between(place, other) for other in values if other != place]
        corrected = holm([None if found is None else found.p for found in others])
        return place if all(p is not None and p < self.options.alpha for p in corrected) else None


@dataclass(frozen=True)
class Columns:
    """All columns, and which of their differences from the baseline hold.

    Attributes:
        scores: the metrics, the main one first.
        statistics: what the captions are like.
        corrected: the p-value of each method's difference, by the column's place among all and the method's.
    """

    scores: tuple[Column, ...]
    statistics: tuple[Column, ...]
    corrected: Mapping[tuple[int, int], float | None]

    @property
    def all(self) -> tuple[Column, ...]:
        """Scores, then statistics."""
        return (*self.scores, *self.statistics)

    def p(self, column: Column, method: int) -> float | None:
        """The corrected p-value of a method's difference from the baseline."""
        return self.corrected[self.all.index(column), method]

    def holds(self, column: Column, method: int) -> bool:
        """Whether a method's difference from the baseline holds."""
        p = self.p(column, method)
        return p is not None and p < column.options.alpha

    def main(self, metric: str) -> Column | None:
        """The main metric's column: of several signatures the baseline's."""
        found = [column for column in self.scores if column.name == metric]
        return next(
            (column for column in found if column.runs[column.baseline] is not None), found[0] if found else None
        )


def make_columns(methods: Sequence[Method], images: SharedImages, baseline: int, options: ReportOptions) -> Columns:
    """All columns of the methods."""
    columns = [
        *_score_columns(methods, images, baseline, options),
        *_statistic_columns(methods, images, baseline, options),
    ]
    scores = [column for column in columns if column.signature]
    scores.sort(key=lambda column: column.name != options.metric)
    statistics = [column for column in columns if not column.signature]
    ordered = [*scores, *statistics]
    families: list[list[int]] = [[place] for place in range(len(ordered))]
    if options.correction == "table":
        families = [list(range(len(ordered)))]
    corrected: dict[tuple[int, int], float | None] = {}
    for family in families:
        keys = [(place, method) for place in family for method in range(len(methods))]
        values = [ordered[place].p_values[method] for place, method in keys]
        corrected |= dict(zip(keys, values if options.correction == "none" else holm(values), strict=True))
    return Columns(tuple(scores), tuple(statistics), corrected)


def is_mean(score: float, mean: float) -> bool:
    """Whether the score of a split is the mean of its images' scores, but for rounding."""
    return abs(mean - score) <= _SAME * max(1.0, abs(score))


@dataclass(frozen=True)
class _Scored:
    """A run's number: its scores of some images, or the number alone where it is no mean of them."""

    value: float
    image_ids: tuple[str, ...] = ()
    scores: Float[np.ndarray, " images"] | None = None


_Key = tuple[str, str]
"""A metric and its signature."""


def _score_columns(
    methods: Sequence[Method], images: SharedImages, baseline: int, options: ReportOptions
) -> list[Column]:
    members = [run for method in methods for run in method.runs]
    found: dict[_Key, dict[str, _Scored]] = {}
    for run in members:
        for metric in run.evaluation.scores:
            signature, scored = _scored(run, metric, images)
            found.setdefault((metric, signature), {})[run.name] = scored
    of_runs = {
        key: {name: Runs(np.array([s.value]), None, 0) for name, s in scored.items()} for key, scored in found.items()
    }
    of_runs |= _resampled(found, members, images, options)
    columns = []
    for (metric, signature), runs in of_runs.items():
        together = _by_method(methods, runs)
        sampled = min(run.images for run in runs.values())
        columns.append(Column(metric, signature, direction(metric, signature), sampled, together, baseline, options))
    return columns


def _scored(run: Run, metric: str, images: SharedImages) -> tuple[str, _Scored]:
    """A run's number under the signature by which it can be compared.

    Images that differ from run to run are part of it, unless the number is a mean over images scored one by one.
    """
    evaluation, score = run.evaluation, run.evaluation.scores[metric]
    signature = score.signature or f"{metric}, signature unknown ({run.name})"
    own = evaluation.predictions
    if not own:
        return f"{signature}, captions unknown", _Scored(score.value)
    if run.name not in images.compared:
        return f"{signature}, other images ({run.name})", _Scored(score.value)
    complete = run.name in images.complete
    of_own = [prediction.scores.get(metric) for prediction in own.values()]
    known = [value for value in of_own if value is not None]
    of_images = len(known) == len(own) and is_mean(score.value, float(np.mean(known)))
    if of_images and (complete or "df:corpus" not in signature):
        scores = np.array([own[image_id].scores[metric] for image_id in images.image_ids], np.float64)
        return signature, _Scored(float(scores.mean()), images.image_ids, scores)
    if complete or BLEU.match(metric):
        return signature, _Scored(score.value)
    return f"{signature}, of the {len(own):,} images of {run.name}", _Scored(score.value)


def _resampled(
    found: Mapping[_Key, Mapping[str, _Scored]], members: Sequence[Run], images: SharedImages, options: ReportOptions
) -> dict[_Key, dict[str, Runs]]:
    """The numbers that a sample of the images has too: means over images, and BLEU. All are of the same samples."""
    means = {
        (key, name): scored.scores
        for key, of_key in found.items()
        if all(scored.scores is not None for scored in of_key.values())
        for name, scored in of_key.items()
        if scored.scores is not None
    }
    bleu = {
        key: [run for run in members if run.name in of_key]
        for key, of_key in found.items()
        if BLEU.match(key[0]) and images.compared.issuperset(of_key)
    }
    statistics: list[Statistic] = []
    if means:
        scores = np.stack(list(means.values()))
        of_kind = mean_statistic if options.aggregate == "mean" else interquartile_statistic
        statistics.append(of_kind(scores))
    counted = list({run.name: run for runs in bleu.values() for run in runs}.values())
    statistics += [_bleu(run, images) for run in counted]
    if not statistics:
        return {}
    runs = resampled_runs(statistics, image_resamples(len(images.image_ids), options.resamples, options.seed))
    resampled: dict[_Key, dict[str, Runs]] = {}
    if means:
        each = runs.pop(0).split([1] * len(means))
        for (key, name), of_run in zip(means, each, strict=True):
            resampled.setdefault(key, {})[name] = of_run
    orders = {run.name: of_run.split([1] * 4) for run, of_run in zip(counted, runs, strict=True)}
    for key, of_key in bleu.items():
        resampled[key] = {run.name: orders[run.name][int(key[0][-1]) - 1] for run in of_key}
    return resampled


def _bleu(run: Run, images: SharedImages) -> Statistic:
    """BLEU-1 to BLEU-4 of a run's captions, from what is counted in each of them once."""
    chosen = [run.evaluation.predictions[image_id] for image_id in images.image_ids]
    candidates = Candidates([p.caption for p in chosen], references=[list(p.references) for p in chosen])
    counted = Bleu(4).statistics(candidates)
    return lambda times: sentence_bleu(counted.summed(times)).T


def _statistic_columns(
    methods: Sequence[Method], images: SharedImages, baseline: int, options: ReportOptions
) -> list[Column]:
    """What the captions are like: over seeds alone, since a resample of images holds fewer different words."""
    members = [run for method in methods for run in method.runs if run.name in images.complete]
    keys = dict.fromkeys(key for run in members for key in run.evaluation.statistics)
    columns = []
    for key in keys:
        runs = {
            run.name: Runs(np.array([run.evaluation.statistics[key]]), None, 0)
            for run in members
            if key in run.evaluation.statistics
        }
        columns.append(Column(key, "", direction(key), 0, _by_method(methods, runs), baseline, options))
    return columns


def _by_method(methods: Sequence[Method], runs: Mapping[str, Runs]) -> tuple[Runs | None, ...]:
    """The runs of each method put together."""
    found = [[runs[run.name] for run in method.runs if run.name in runs] for method in methods]
    return tuple(_together(of_method) if of_method else None for of_method in found)


def _together(parts: Sequence[Runs]) -> Runs:
    resampled = [part.resampled for part in parts if part.resampled is not None]
    values = np.concatenate([part.values for part in parts])
    if len(resampled) < len(parts):
        return Runs(values, None, 0)
    return Runs(values, np.concatenate(resampled), parts[0].images)
