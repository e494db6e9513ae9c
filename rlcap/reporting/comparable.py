"""Which numbers of runs can be set against one another: those of one signature, on the same images.

A number that a sample of the images has too is kept with its samples: a mean over images, and BLEU, whose counts can be
added up again. Others, such as METEOR's or CHAIR's of a whole corpus, are kept alone.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from rewards.base import Candidates
from rewards.bleu import Bleu, sentence_bleu
from rlcap.reporting.images import SharedImages
from rlcap.reporting.names import direction
from rlcap.reporting.options import ReportOptions
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.statistics.resampling import (
    Runs,
    Statistic,
    image_resamples,
    interquartile_statistic,
    mean_statistic,
    resampled_runs,
)
from rlcap.reporting.tables import number

# BLEU as this package counts it, which it can count again.
_BLEU = re.compile(r"^BLEU-([1-4])\|length:closest\|tok:ptb\b")
# A score whose file says otherwise than the mean of its images is one of the whole corpus.
_SAME = 1e-4

Key = tuple[str, str]
"""A metric and its signature."""


def is_mean(score: float, mean: float) -> bool:
    """Whether the score of a split is the mean of its images' scores, but for rounding."""
    return abs(mean - score) <= _SAME * max(abs(mean), abs(score))


def better_of(metric: str, runs: Iterable[Run]) -> int:
    """1 where more of a metric is better, -1 where less is, 0 where neither; a split before its name is no matter."""
    name = metric.rpartition("/")[2]
    scores = (run.evaluation.scores[name] for run in runs if name in run.evaluation.scores)
    return direction(name, next((score.signature for score in scores), ""))


@dataclass(frozen=True)
class _Number:
    """A run's number, with the scores of the shared images where it is their mean."""

    value: float
    scores: Float[np.ndarray, " images"] | None = None


def comparable_numbers(
    runs: Sequence[Run], images: SharedImages, options: ReportOptions
) -> tuple[dict[Key, dict[str, Runs]], tuple[str, ...]]:
    """The numbers of the compared runs by metric and signature, then by run; and which are odd, one line each."""
    compared = [run for run in runs if run.name in images.compared]
    found: dict[Key, dict[str, _Number]] = {}
    for run in compared:
        for metric in run.evaluation.scores:
            signature, number_of_run = _number(run, metric, images)
            found.setdefault((metric, signature), {})[run.name] = number_of_run
    counted, odd = _counted(found, compared, images)
    found = _apart(found, odd)
    alone = {key: {name: Runs(np.array([own.value]), None, 0) for name, own in of.items()} for key, of in found.items()}
    return alone | _resampled(found, counted, images, options), tuple(odd.values())


def _number(run: Run, metric: str, images: SharedImages) -> tuple[str, _Number]:
    """A run's number under the signature by which it can be compared.

    Images that differ from run to run are part of it, unless the number is a mean over images scored one by one.
    """
    score, own = run.evaluation.scores[metric], run.evaluation.predictions
    signature = score.signature or f"{metric}, signature unknown ({run.name})"
    complete = run.name in images.complete
    known = [prediction.scores[metric] for prediction in own.values() if metric in prediction.scores]
    shared = [own[image_id].scores.get(metric) for image_id in images.image_ids]
    of_images = bool(known) and not _BLEU.match(signature) and is_mean(score.value, float(np.mean(known)))
    if of_images and (complete or "df:corpus" not in signature):
        missing = shared.count(None)
        if not missing:
            scores = np.array(shared, np.float64)
            return signature, _Number(float(scores.mean()), scores)
        return f"{signature}, {missing:,} of {len(shared):,} images without a score ({run.name})", _Number(score.value)
    if complete or _BLEU.match(signature):
        return signature, _Number(score.value)
    return f"{signature}, of the {len(own):,} images of {run.name}", _Number(score.value)


def _apart(found: Mapping[Key, Mapping[str, _Number]], odd_bleu: Mapping[str, str]) -> dict[Key, dict[str, _Number]]:
    """The same, numbers that are not what their captions give apart from those of the same signature that are.

    Where most are no means, those that are happen to be: the metric is one of the whole corpus.
    """
    apart: dict[Key, dict[str, _Number]] = {}
    for (metric, signature), of_key in found.items():
        means = 2 * sum(own.scores is not None for own in of_key.values()) >= len(of_key)
        for name, number_of_run in of_key.items():
            own = number_of_run if means else replace(number_of_run, scores=None)
            odd = (means and own.scores is None) or (name in odd_bleu and _BLEU.match(signature))
            kept = f"{signature}, not what its captions give ({name})" if odd else signature
            apart.setdefault((metric, kept), {})[name] = own
    return apart


_Counted = Mapping[str, Statistic]
"""BLEU-1 to BLEU-4 of each run."""


def _counted(
    found: Mapping[Key, Mapping[str, _Number]], compared: Sequence[Run], images: SharedImages
) -> tuple[_Counted, dict[str, str]]:
    """BLEU of the runs whose captions give what their files say; and of those whose captions do not, a remark each."""
    of_bleu = {name for (_, signature), of_key in found.items() if _BLEU.match(signature) for name in of_key}
    counted: dict[str, Statistic] = {}
    remarks: dict[str, str] = {}
    once = np.ones((len(images.image_ids), 1))
    for run in compared:
        referred = all(run.evaluation.predictions[image_id].references for image_id in images.image_ids)
        if run.name not in of_bleu or len(images.image_ids) < 2 or not referred:
            continue
        statistic = _bleu(run, images)
        recounted = statistic(once)[:, 0]
        odd = []
        for metric, score in run.evaluation.scores.items():
            order = _BLEU.match(score.signature)
            again = float(recounted[int(order[1]) - 1]) if order else score.value
            if run.name in images.complete and not is_mean(score.value, again):
                odd.append(f"{metric} is {number(score.value)} in scores.json, but {number(again)} of its captions")
        if odd:
            remarks[run.name] = f"{run.name}: {'; '.join(odd)}."
        else:
            counted[run.name] = statistic
    return counted, remarks


def _bleu(run: Run, images: SharedImages) -> Statistic:
    """BLEU-1 to BLEU-4 of a run's captions, from what is counted in each of them once."""
    chosen = [run.evaluation.predictions[image_id] for image_id in images.image_ids]
    candidates = Candidates([p.caption for p in chosen], references=[list(p.references) for p in chosen])
    counts = Bleu(4).statistics(candidates)
    return lambda times: sentence_bleu(counts.summed(times)).T


def _resampled(
    found: Mapping[Key, Mapping[str, _Number]], counted: _Counted, images: SharedImages, options: ReportOptions
) -> dict[Key, dict[str, Runs]]:
    """The numbers that a sample of the images has too. All are of the same samples."""
    means = {
        (key, name): own.scores
        for key, of_key in found.items()
        for name, own in of_key.items()
        if own.scores is not None
    }
    statistics: list[Statistic] = []
    if means:
        of_kind = mean_statistic if options.aggregate == "mean" else interquartile_statistic
        statistics.append(of_kind(np.stack(list(means.values()))))
    statistics += counted.values()
    if not statistics:
        return {}
    runs = resampled_runs(statistics, image_resamples(len(images.image_ids), options.resamples, options.seed))
    resampled: dict[Key, dict[str, Runs]] = {}
    if means:
        for (key, name), of_run in zip(means, runs.pop(0).split([1] * len(means)), strict=True):
            resampled.setdefault(key, {})[name] = of_run
    orders = {name: of_run.split([1] * 4) for name, of_run in zip(counted, runs, strict=True)}
    for (metric, signature), of_key in found.items():
        order = _BLEU.match(signature)
        if order and orders.keys() >= of_key.keys():
            resampled[metric, signature] = {name: orders[name][int(order[1]) - 1] for name in of_key}
    return resampled
