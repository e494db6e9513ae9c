"""The mean of each score over the folds of a cross-validation, as a Markdown table.

    python -m benchmarks.folds runs/judgements/fold-*

A run per fold, each tested on its own part: the spread is the standard deviation over folds, and the last column tells
in how many folds the model ("preference") is better than the metric of that row on the same captions.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

OWN = "preference"


def scores_of(run: Path) -> dict[str, dict[str, float]]:
    """Value of each measure of agreement, by whose it is, from a run's test split."""
    path = run / "evaluation" / "test" / "scores.json"
    if not path.is_file():
        sys.exit(f"{run} has no evaluation of its test split: finish it with rlcap train --resume {run}")
    found: dict[str, dict[str, float]] = {}
    for name, score in json.loads(path.read_text())["scores"].items():
        whose, _, measure = name.rpartition("/")
        if measure in ("accuracy", "tau_b", "tau_c") and whose not in ("matching", "corruption"):
            found.setdefault(whose, {})[measure] = score["value"]
    return found


def table(folds: Sequence[Mapping[str, Mapping[str, float]]]) -> list[str]:
    """The lines of the table, the best mean first."""
    measures = list(folds[0][OWN])
    for fold in folds:
        if fold.keys() != folds[0].keys() or list(fold[OWN]) != measures:
            sys.exit("the runs were not measured by the same metrics: evaluate them alike")
    by = measures[-1]

    def values(whose: str, measure: str) -> list[float]:
        return [fold[whose][measure] for fold in folds]

    lines = [f"| | {' | '.join(measures)} | worse in {by} than the model in |", "|---" * (len(measures) + 2) + "|"]
    for whose in sorted(folds[0], key=lambda name: -mean(values(name, by))):
        cells = [
            f"{100 * mean(own):.1f} ± {100 * stdev(own):.1f}" for own in (values(whose, each) for each in measures)
        ]
        wins = sum(one > other for one, other in zip(values(OWN, by), values(whose, by), strict=True))
        last = "" if whose == OWN else f"{wins} of {len(folds)} folds"
        lines.append(f"| {whose} | {' | '.join(cells)} | {last} |")
    return lines


def main() -> None:
    """Print the table of the runs named."""
    if len(sys.argv) < 3:
        sys.exit("usage: python -m benchmarks.folds RUN RUN...: a run for each fold")
    print("\n".join(table([scores_of(Path(run)) for run in sys.argv[1:]])))


if __name__ == "__main__":
    main()
