"""What a report says, before it is a page or a Markdown file: comparisons, tables and remarks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlcap.reporting.runs import Run, Score
from rlcap.reporting.statistics import PairedDifference, paired_bootstrap

MISSING = "–"
_STATISTICS = {
    "length": "Words",
    "bad_ending_rate": "Bad endings",
    "distinct_1": "Distinct-1",
    "distinct_2": "Distinct-2",
    "vocabulary": "Vocabulary",
    "distinct_captions": "Distinct captions",
}


@dataclass(frozen=True)
class Comparison:
    """A later run against the first on the main metric, or the reason why they are not compared."""

    before: str
    after: str
    metric: str
    result: PairedDifference | None
    reason: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """A value of a table and, smaller, what belongs to it."""

    text: str = MISSING
    detail: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first column naming the row; ``run`` is True where the rows are the runs in order."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    run: bool = True


def number(value: float | int | None, digits: int = 3, sign: bool = False) -> str:
    """The value as text, with a true minus and grouped thousands; a dash for None."""
    if value is None:
        return MISSING
    return f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{seconds / 60:.1f} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def compare(runs: Sequence[Run], metric: str, seed: int) -> tuple[Comparison, ...]:
    """Each later run against the first, on the images that both scored."""
    return tuple(_compare(runs[0], run, metric, np.random.default_rng(seed)) for run in runs[1:])


def _compare(before: Run, after: Run, metric: str, rng: np.random.Generator) -> Comparison:
    reason = incomparable(before, after, metric)
    if reason:
        return Comparison(before.name, after.name, metric, None, reason)
    old, new = before.evaluation.predictions, after.evaluation.predictions
    shared = sorted(image_id for image_id in old.keys() & new.keys())
    scored = [image_id for image_id in shared if metric in old[image_id].scores and metric in new[image_id].scores]
    if not scored:
        return Comparison(before.name, after.name, metric, None, f"no image has a {metric} score in both runs")
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
    scores = [np.array([of_run[image_id].scores[metric] for image_id in scored]) for of_run in (old, new)]
    return Comparison(
        before.name, after.name, metric, paired_bootstrap(scores[0], scores[1], rng), remarks=tuple(remarks)
    )


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


def score_table(runs: Sequence[Run], metric: str) -> Table | None:
    """Runs by metrics; every signature has its own column, so that a column can be read downwards."""
    columns: dict[tuple[str, str], None] = {}
    for run in runs:
        columns |= {(name, _signature(run, score)): None for name, score in run.evaluation.scores.items()}
    if not columns:
        return None
    names = list(dict.fromkeys(name for name, _ in columns))
    names.sort(key=lambda name: name != metric)  # the main metric first, the others as the files order them
    ordered = sorted(columns, key=lambda column: names.index(column[0]))
    rows = []
    for run in runs:
        evaluation = run.evaluation
        images = evaluation.images if evaluation.images is not None else len(evaluation.predictions) or None
        cells = [Cell(run.name)]
        for name, signature in ordered:
            score, reference = evaluation.scores.get(name), runs[0].evaluation.scores.get(name)
            if score is None or _signature(run, score) != signature:
                cells.append(Cell())
                continue
            moved = ""
            if (
                run is not runs[0]
                and reference
                and _signature(runs[0], reference) == signature
                and same_images(runs[0], run)
            ):
                moved = number(score.value - reference.value, sign=True)
            cells.append(Cell(number(score.value), moved))
        cells += [Cell(number(images, 0)), Cell(number(evaluation.step, 0)), Cell(evaluation.decoding or MISSING)]
        rows.append(tuple(cells))
    heads = tuple(f"{name} [{place}]" for place, (name, _) in enumerate(ordered, start=1))
    notes = tuple(f"[{place}] {signature}" for place, (_, signature) in enumerate(ordered, start=1))
    return Table("Scores", ("Run", *heads, "Images", "Step", "Decoding"), tuple(rows), notes)


def _signature(run: Run, score: Score) -> str:
    return score.signature or f"signature unknown ({run.name})"


def run_table(runs: Sequence[Run]) -> Table:
    """What each run was: algorithm, policy, seed, steps, time, device."""
    rows = []
    for run in runs:
        last = {key: int(series.values[-1]) for key, series in run.curves.items() if key in ("images", "captions")}
        steps = max((int(series.steps[-1]) for series in run.curves.values()), default=None)
        step_seconds = run.timings.get("time/step")
        environment = {
            key: str(value) for key, value in run.environment.items() if isinstance(value, str | int | float)
        }
        rows.append(
            (
                Cell(run.name),
                Cell(_class_name(run, "algorithm")),
                Cell(_class_name(run, "policy")),
                Cell(run.setting("training", "seed") or run.setting("seed") or environment.get("seed", MISSING)),
                Cell(number(steps, 0)),
                Cell(number(last.get("images"), 0)),
                Cell(number(last.get("captions"), 0)),
                Cell(
                    MISSING if step_seconds is None or steps is None else duration(float(step_seconds.mean()) * steps)
                ),
                Cell(environment.get("device", MISSING)),
                Cell(environment.get("commit", MISSING)[:12]),
            )
        )
    columns = (
        "Run",
        "Algorithm",
        "Policy",
        "Seed",
        "Steps",
        "Images seen",
        "Captions",
        "Training time",
        "Device",
        "Commit",
    )
    return Table(
        "Runs",
        columns,
        tuple(rows),
        ("Training time is the mean time/step of timings.jsonl times the steps; evaluation comes on top.",),
    )


def _class_name(run: Run, part: str) -> str:
    return run.setting(part, "class_path").rpartition(".")[2] or run.setting(part) or MISSING


def statistics_table(runs: Sequence[Run]) -> Table | None:
    """What the captions of each run are like, apart from how good they are."""
    present = {key for run in runs for key in run.evaluation.statistics}
    if not present:
        return None
    keys = [key for key in _STATISTICS if key in present] + sorted(present - _STATISTICS.keys())
    rows = [
        (Cell(run.name), *(Cell(_statistic(key, run.evaluation.statistics.get(key))) for key in keys)) for run in runs
    ]
    return Table("Captions", ("Run", *(_STATISTICS.get(key, key) for key in keys)), tuple(rows))


def _statistic(key: str, value: float | None) -> str:
    if value is not None and key.endswith("_rate"):
        return f"{100 * value:.1f} %"
    if value is None or value != int(value) or key == "length":
        return number(value, 3 if value is None or value < 2 else 1)
    return number(value, 0)


def remarks(runs: Sequence[Run], metric: str) -> tuple[str, ...]:
    """What to know before the numbers: parts missing or damaged, images that differ, means that do not match."""
    lines = [f"{run.name}: {note}." for run in runs for note in run.notes]
    first = runs[0]
    for run in runs[1:]:
        if first.evaluation.predictions and run.evaluation.predictions and not same_images(first, run):
            lines.append(
                f"{run.name} and {first.name} captioned different images; their table rows are not of the same images."
            )
    for run in runs:
        score = run.evaluation.scores.get(metric)
        of_images = [p.scores[metric] for p in run.evaluation.predictions.values() if metric in p.scores]
        if score and of_images and abs(float(np.mean(of_images)) - score.value) > 1e-3 * max(1.0, abs(score.value)):
            lines.append(
                f"{run.name}: {metric} is {number(score.value)} in scores.json, but the captions' mean is "
                f"{number(float(np.mean(of_images)))}."
            )
    return tuple(lines)
