"""What a report says of its runs, before it is a page or a Markdown file: tables and remarks."""

from collections.abc import Sequence

import numpy as np

from rlcap.reporting.comparison import same_images
from rlcap.reporting.reading.runs import Run, Score
from rlcap.reporting.tables import MISSING, Cell, Table, duration, number

STATISTICS = {
    "length": "Words",
    "bad_ending_rate": "Bad endings",
    "distinct_1": "Distinct-1",
    "distinct_2": "Distinct-2",
    "vocabulary": "Vocabulary",
    "distinct_captions": "Distinct captions",
}


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
        seconds = run.training_seconds
        environment = {
            key: str(value) for key, value in run.environment.items() if isinstance(value, str | int | float)
        }
        rows.append(
            (
                Cell(run.name),
                Cell(_class_name(run, "algorithm")),
                Cell(_class_name(run, "policy")),
                Cell(run.setting("training", "seed") or run.setting("seed") or environment.get("seed", MISSING)),
                Cell(number(run.steps, 0)),
                Cell(number(last.get("images"), 0)),
                Cell(number(last.get("captions"), 0)),
                Cell(MISSING if seconds is None else duration(seconds)),
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
    keys = [key for key in STATISTICS if key in present] + sorted(present - STATISTICS.keys())
    rows = [
        (Cell(run.name), *(Cell(_statistic(key, run.evaluation.statistics.get(key))) for key in keys)) for run in runs
    ]
    return Table("Captions", ("Run", *(STATISTICS.get(key, key) for key in keys)), tuple(rows))


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
