"""How much a metric of each run differs from the first run's, with 95% intervals by bootstrap over images.

    python -m benchmarks.differences utility runs/compare/teacher_forcing runs/compare/ppo-*

Any metric that ``evaluation.metrics`` named will do; runs are compared on the test split, by each image's own score.
"""

import json
import sys
from pathlib import Path

import numpy as np

from rlcap.reporting.statistics.estimates import difference
from rlcap.reporting.statistics.resampling import image_resamples, mean_runs


def scores_of(run: Path, metric: str) -> dict[str, float]:
    """Each image's score by a metric, of a run's test split or of the folder of an evaluation."""
    folder = run if (run / "predictions.jsonl").is_file() else run / "evaluation" / "test"
    if not (folder / "predictions.jsonl").is_file():
        sys.exit(f"{run} has no predictions of its test split: rlcap evaluate {run}")
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    if metric not in rows[0]["scores"]:
        sys.exit(f"{run} was not measured by {metric!r}; it has {', '.join(rows[0]['scores'])}")
    return {row["image_id"]: row["scores"][metric] for row in rows}


def main() -> None:
    """Print the table."""
    if len(sys.argv) < 4:
        sys.exit("usage: python -m benchmarks.differences METRIC START RUN...")
    metric, (first, *others) = sys.argv[1], map(Path, sys.argv[2:])
    start = scores_of(first, metric)
    print(f"| {metric} | mean | change from {first.name} | 95% |\n|---|---|---|---|")
    for run in others:
        own = scores_of(run, metric)
        if own.keys() != start.keys():
            sys.exit(f"{run} and {first} were tested on different images")
        scores = np.array([[each[image] for image in sorted(start)] for each in (start, own)])
        before, after = mean_runs(scores, image_resamples(len(start), 10_000, seed=0)).split([1, 1])
        found = difference(after, before)
        print(f"| {run.name} | {after.values[0]:.4f} | {found.value:+.4f} | {found.low:+.4f} to {found.high:+.4f} |")


if __name__ == "__main__":
    main()
