"""How much of people's preferences is learned from how many comparisons: a Markdown table, and a figure if asked for.

    python -m benchmarks.comparisons runs/comparisons/* [--figure curve.svg]

A run per number of comparisons and seed, of reward models on simulated judgements. Runs of one number are averaged; the
spread is from the lowest to the highest.
"""

import json
import sys
from argparse import ArgumentParser
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from rlcap.reporting.drawing.canvas import render
from rlcap.reporting.drawing.svg import Figure, marks_of

OWN, OTHERS = "preference/accuracy", "CIDEr-D/accuracy"


def read(run: Path) -> tuple[int, dict[str, float]]:
    """A run's number of comparisons and the scores of its test split."""
    scores = run / "evaluation" / "test" / "scores.json"
    if not scores.is_file():
        sys.exit(f"{run} has no evaluation of its test split: finish it with rlcap train --resume {run}")
    config = yaml.safe_load((run / "config.yaml").read_text())
    values = json.loads(scores.read_text())["scores"]
    return config["data"]["init_args"]["comparisons"], {name: one["value"] for name, one in values.items()}


def curve(found: dict[int, list[float]], other: float, runs: int) -> Figure:
    """Accuracy against the number of comparisons, with the range over seeds, and CIDEr-D's as a line."""
    reference, own = marks_of(["CIDEr-D, which reads five references", "reward model"])
    numbers = sorted(found)

    def draw(axes: Any) -> None:
        axes.set_xscale("log")
        axes.fill_between(
            numbers, [min(found[n]) for n in numbers], [max(found[n]) for n in numbers], color=own.colour, alpha=0.15
        )
        axes.plot(numbers, [mean(found[n]) for n in numbers], color=own.colour, marker="o", linewidth=1.8)
        axes.axhline(other, color=reference.colour, linewidth=1.2)
        axes.set_xticks(numbers, [f"{n:,}" for n in numbers])
        axes.minorticks_off()

    ends = f"from {mean(found[numbers[0]]):.3f} at {numbers[0]} to {mean(found[numbers[-1]]):.3f} at {numbers[-1]}"
    title = "Held-out pairs ordered as the known utility does"
    described = f"{title}, by number of comparisons: {ends}; CIDEr-D {other:.3f}; {runs} runs"
    return Figure("comparisons", title, "", render(draw, 480, 260), 480, 260, (own, reference), described)


def main() -> None:
    """Print the table and write the figure."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--figure", type=Path, default=None)
    arguments = parser.parse_args()
    found: dict[int, list[float]] = defaultdict(list)
    others: list[float] = []
    for comparisons, scores in map(read, arguments.runs):
        found[comparisons].append(scores[OWN])
        others.append(scores[OTHERS])
    print("| comparisons | runs | accuracy | lowest to highest |\n|---|---|---|---|")
    for number in sorted(found):
        own = found[number]
        print(f"| {number:,} | {len(own)} | {mean(own):.3f} | {min(own):.3f} to {max(own):.3f} |")
    if arguments.figure:
        arguments.figure.write_text(curve(found, mean(others), len(arguments.runs)).standalone())


if __name__ == "__main__":
    main()
