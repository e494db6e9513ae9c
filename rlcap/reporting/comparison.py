"""Later runs against the first on the main metric, and what can be said of the difference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlcap.reporting.reading.runs import Run
from rlcap.reporting.statistics.bootstrap import PairedDifference, paired_bootstraps
from rlcap.reporting.tables import Cell, Table, number


@dataclass(frozen=True)
class Comparison:
    """A later run against the first on the main metric, or the reason why they are not compared."""

    before: str
    after: str
    metric: str
    result: PairedDifference | None
    reason: str = ""
    remarks: tuple[str, ...] = ()


def compare(runs: Sequence[Run], metric: str, seed: int) -> tuple[Comparison, ...]:
    """Each later run against the first, on the images that both scored; one drawing of images serves all it can."""
    before = runs[0]
    pairs = [_pair(before, run, metric) for run in runs[1:]]
    results: dict[int, PairedDifference] = {}
    for images in dict.fromkeys(pair.images for pair in pairs if pair.images):
        places = [place for place, pair in enumerate(pairs) if pair.images == images]
        old, *new = (
            np.array([run.evaluation.predictions[image_id].scores[metric] for image_id in images])
            for run in (before, *(runs[place + 1] for place in places))
        )
        found = paired_bootstraps(old, np.stack(new), np.random.default_rng(seed))
        results |= dict(zip(places, found, strict=True))
    return tuple(
        Comparison(before.name, run.name, metric, results.get(place), pair.reason, pair.remarks)
        for place, (run, pair) in enumerate(zip(runs[1:], pairs, strict=True))
    )


@dataclass(frozen=True)
class _Pair:
    """The images on which two runs are compared; none, and the reason, where they cannot be."""

    images: tuple[str, ...] = ()
    reason: str = ""
    remarks: tuple[str, ...] = ()


def _pair(before: Run, after: Run, metric: str) -> _Pair:
    reason = incomparable(before, after, metric)
    if reason:
        return _Pair(reason=reason)
    old, new = before.evaluation.predictions, after.evaluation.predictions
    shared = sorted(image_id for image_id in old.keys() & new.keys())
    scored = [image_id for image_id in shared if metric in old[image_id].scores and metric in new[image_id].scores]
    if not scored:
        return _Pair(reason=f"no image has a {metric} score in both runs")
    remarks = []
    if len(old) != len(shared) or len(new) != len(shared):
        remarks.append(
            f"The runs captioned different images ({len(old)} and {len(new)}): compared are the {len(shared)} of both."
        )
    if len(scored) != len(shared):
        remarks.append(
            f"{len(shared) - len(scored)} images have no {metric} score in one of the runs and are left out."
        )
    ways = before.evaluation.decoding, after.evaluation.decoding
    if ways[0] != ways[1]:
        remarks.append(f"The captions were decoded differently: {ways[0] or 'unknown'} and {ways[1] or 'unknown'}.")
    if any(old[image_id].references != new[image_id].references for image_id in scored):
        remarks.append("The runs' predictions hold different references for the same images.")
    return _Pair(tuple(scored), remarks=tuple(remarks))


def incomparable(before: Run, after: Run, metric: str) -> str:
    """Why two runs' scores cannot be set against one another; empty if they can."""
    signatures = []
    for run in (before, after):
        if not run.evaluation.predictions:
            return f"{run.name} holds no predictions of this split"
        score = run.evaluation.scores.get(metric)
        if score is None or not score.signature:
            return f"scores.json of {run.name} does not say how {metric} was scored"
        signatures.append(score.signature)
    if signatures[0] != signatures[1]:
        return f"{metric} was scored differently ({signatures[0]} and {signatures[1]})"
    return ""


def verdict(comparison: Comparison) -> str:
    """One sentence: whether the later run is better."""
    result = comparison.result
    if result is None:
        return f"{comparison.after} is not compared with {comparison.before}: {comparison.reason}."
    verb = "did not change" if result.equal == result.images else "did not clearly change"
    if result.clear:
        verb = "rose" if result.difference > 0 else "fell"
    return f"From {comparison.before} to {comparison.after}, {comparison.metric} {verb}."


def change(result: PairedDifference) -> str:
    """The score before and after, and the difference."""
    relative = "" if result.relative is None else f", {number(100 * result.relative, 1, sign=True)} %"
    return f"{number(result.before)} → {number(result.after)} ({number(result.difference, sign=True)}{relative})"


def evidence(result: PairedDifference, seed: int) -> str:
    """How sure a difference is, and of what, as a sentence or two."""
    difference, low, high = (number(value, sign=True) for value in (result.difference, result.low, result.high))
    return (
        f"Difference {difference}, {result.confidence:.0%} interval {low} to {high}, by paired bootstrap over "
        f"{result.images:,} images ({result.resamples:,} resamples, seed {seed}). "
        f"Better on {result.better:,} images, equal on {result.equal:,}, worse on {result.worse:,}."
    )


def same_images(one: Run, other: Run) -> bool:
    """Whether both runs captioned the same images."""
    return one.evaluation.predictions.keys() == other.evaluation.predictions.keys()


def change_table(comparisons: Sequence[Comparison], seed: int) -> Table | None:
    """The comparisons as rows, for where they are too many to be told one by one; None where there are none."""
    if not comparisons:
        return None
    rows, notes = [], []
    for comparison in comparisons:
        result = comparison.result
        if result is None:
            rows.append((Cell(comparison.after), *[Cell()] * 6))
            notes.append(verdict(comparison))
            continue
        relative = "" if result.relative is None else f"{number(100 * result.relative, 1, sign=True)} %"
        interval = f"{number(result.low, sign=True)} to {number(result.high, sign=True)}"
        counts = (Cell(number(images, 0)) for images in (result.better, result.equal, result.worse))
        rows.append(
            (
                Cell(comparison.after),
                Cell(number(result.after)),
                Cell(number(result.difference, sign=True), relative),
                Cell(interval, "" if result.clear else "not clear"),
                *counts,
            )
        )
        notes += [f"{comparison.after}: {remark}" for remark in comparison.remarks]
    first = comparisons[0]
    result = next((comparison.result for comparison in comparisons if comparison.result is not None), None)
    if result is not None:
        notes.insert(
            0,
            f"{result.confidence:.0%} intervals of the difference by paired bootstrap over images "
            f"({result.resamples:,} resamples, seed {seed}); better, equal and worse are numbers of images.",
        )
    title = f"Change of {first.metric} from {first.before}"
    return Table(
        title, ("Run", first.metric, "Change", "Interval", "Better", "Equal", "Worse"), tuple(rows), tuple(notes)
    )
