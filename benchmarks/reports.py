"""How long a report takes against the number of runs, images and logged steps: a Markdown table.

    python -m benchmarks.reports [--quick]

Run folders are made up: 30 quantities a step, captions of 10 words, 5 references. Each report is made by a process of
its own, and again by another with what the first one left in its cache; the time is that of the whole process. Growth
is the exponent of a power law between the smallest and the largest size.
"""

import json
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from math import log
from pathlib import Path

import numpy as np
import yaml

WORDS = [f"word{place}" for place in range(300)]
PROGRAM = """import sys; from pathlib import Path; from rlcap.reporting import write_report
write_report(list(map(Path, sys.argv[2:])), Path(sys.argv[1]))"""
BASE = {"runs": 3, "images": 500, "steps": 1000}
SIZES = {"runs": (1, 3, 10, 30), "images": (500, 1500, 5000), "steps": (1000, 10_000, 100_000)}


def caption(rng: np.random.Generator) -> str:
    """Ten words."""
    return " ".join(rng.choice(WORDS, 10))


def write_run(folder: Path, method: int, seed: int, images: int, steps: int) -> Path:
    """A run folder of that size."""
    rng = np.random.default_rng([method, seed])
    test = folder / "evaluation" / "test"
    test.mkdir(parents=True)
    config = {"training": {"seed": seed, "steps": steps}, "algorithm": {"class_path": f"x.Method{method}"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(json.dumps({"device": "cpu"}))
    keys = ["reward/sampled", "policy/kl", "policy/entropy", *(f"quantity/{n}" for n in range(27))]
    values = rng.normal(size=(steps, len(keys))).cumsum(axis=0)
    with (folder / "metrics.jsonl").open("w") as file:
        for step, row in enumerate(values.tolist(), start=1):
            of_step = {"step": step, "images": 32 * step, "captions": 160 * step, **dict(zip(keys, row, strict=True))}
            file.write(json.dumps(of_step) + "\n")
            if step % max(1, steps // 10) == 0:
                file.write(json.dumps({"step": step, "val/CIDEr-D": 1 + step / steps}) + "\n")
    with (folder / "timings.jsonl").open("w") as file:
        for step in range(1, steps + 1):
            file.write(json.dumps({"step": step, "time/step": 1.0, "time/rollout": 0.6, "time/update": 0.3}) + "\n")
    shared = np.random.default_rng(0)  # references are those of the images, whatever the run
    metrics = ("CIDEr-D", "ROUGE-L", "METEOR", "SPICE")
    scores = 1 + method / 10 + rng.normal(0, 0.5, (images, len(metrics)))
    with (test / "predictions.jsonl").open("w") as file:
        for image in range(images):
            row = {
                "image_id": f"{image:06d}",
                "caption": caption(rng),
                "references": [caption(shared) for _ in range(5)],
                "scores": dict(zip(metrics, scores[image].tolist(), strict=True)),
            }
            file.write(json.dumps(row) + "\n")
    means = {
        name: {"value": mean, "signature": f"{name}|v:1"} for name, mean in zip(metrics, scores.mean(0), strict=True)
    }
    means |= {f"BLEU-{n}": {"value": 0.5 / n, "signature": f"BLEU-{n}|v:1"} for n in range(1, 5)}
    statistics = {"length": 10.0, "vocabulary": float(len(WORDS))}
    (test / "scores.json").write_text(json.dumps({"images": images, "scores": means, "statistics": statistics}))
    return folder


def seconds(output: Path, runs: list[Path]) -> float:
    """How long a process takes that makes the report."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", PROGRAM, output, *runs], check=True)
    return time.perf_counter() - start


def measure(runs: int, images: int, steps: int) -> tuple[float, float, float]:
    """Seconds of the first report and of the second, and the page's megabytes."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folders = [write_run(place / f"m{n // 3}-{n % 3}", n // 3, n % 3, images, steps) for n in range(runs)]
        first, again = seconds(place / "report", folders), seconds(place / "report", folders)
        return first, again, (place / "report" / "report.html").stat().st_size / 1e6


def main() -> None:
    """Print a table for each quantity that grows, the others staying as they are."""
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only the smallest and the second size of each")
    quick = parser.parse_args().quick
    print("| runs | images | steps | first | again | page |\n|---|---|---|---|---|---|")
    for name, sizes in SIZES.items():
        taken = []
        for size in sizes[:2] if quick else sizes:
            shape = {**BASE, name: size}
            first, again, megabytes = measure(**shape)
            taken.append((size, first))
            numbers = " | ".join(f"{number:,}" for number in shape.values())
            print(f"| {numbers} | {first:.1f} s | {again:.1f} s | {megabytes:.1f} MB |", flush=True)
        (small, least), (large, most) = taken[0], taken[-1]
        print(f"\n{name}: time grows as their number to the power {log(most / least) / log(large / small):.2f}\n")
    print("All at once:\n")
    first, again, megabytes = measure(runs=10, images=1500 if quick else 5000, steps=10_000 if quick else 100_000)
    print(f"{first:.1f} s, again {again:.1f} s, {megabytes:.1f} MB")


if __name__ == "__main__":
    main()
