"""The share of a training step that rewards take, and what METEOR adds to a step, overlapped or not.

    python -m benchmarks.step RUN

trains from a run folder's policy on its data, a few steps with each set of rewards, one after the other, and goes
through the sets again and again, so that other work on the machine falls on all.
"""

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml

from rlcap.cli import main as rlcap
from rlcap.settings import read_settings

CHEAP = {
    "cider_d": "rewards.cider.CiderD",
    "bleu": "rewards.bleu.Bleu",
    "rouge": "rewards.rouge.RougeL",
    "scene_graph": "rewards.scene_graph.SceneGraphF",
}
METEOR = {"meteor": "rewards.meteor.Meteor"}
SETS: dict[str, tuple[dict[str, str], bool]] = {
    "CIDEr-D": ({"cider_d": CHEAP["cider_d"]}, False),
    "CIDEr-D + BLEU + ROUGE-L + scene graph": (CHEAP, False),
    "the same, overlapped": (CHEAP, True),
    "the same + METEOR": (CHEAP | METEOR, False),
    "the same + METEOR, overlapped": (CHEAP | METEOR, True),
}
WARM = 10  # steps that are not counted: they load what is loaded once


def settings(run: Path, rewards: dict[str, str], overlap: bool, steps: int, meteors: int) -> dict[str, Any]:
    own = read_settings(run / "config.yaml")
    terms: dict[str, Any] = {name: {"reward": {"class_path": path}} for name, path in rewards.items()}
    if "meteor" in terms:
        terms["meteor"]["reward"]["init_args"] = {"processes": meteors}
    return {
        "data": own["data"],
        "policy": {"class_path": "rlcap.policies.load_policy", "init_args": {"directory": str(run)}},
        "algorithm": {"class_path": "rlcap.algorithms.self_critical.SelfCritical"},
        "rewards": terms,
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-5}},
        "training": {
            "steps": steps + WARM,
            "images_per_batch": 32,
            "overlap_rewards": overlap,
            "kl_every": 0,
            "features": own["training"].get("features"),
        },
        "evaluation": {"test": None, "validation": "val", "thumbnails": 0, "images_per_batch": 256},
    }


def timings(run: Path, rewards: dict[str, str], overlap: bool, steps: int, meteors: int) -> list[dict[str, float]]:
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "config.yaml").write_text(yaml.safe_dump(settings(run, rewards, overlap, steps, meteors)))
        rlcap(["train", "--config", str(folder / "config.yaml"), "--output", str(folder / "run")])
        lines = (folder / "run" / "timings.jsonl").read_text().splitlines()
    finally:
        shutil.rmtree(folder)
    return [row for row in map(json.loads, lines) if "time/step" in row][WARM:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="a run folder with a trained policy")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--meteors", type=int, default=1, help="METEOR's processes")
    options = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in SETS}
    for _ in range(options.rounds):
        for name, (rewards, overlap) in SETS.items():
            rows[name] += timings(options.run.resolve(), rewards, overlap, options.steps, options.meteors)
    base = statistics.median(row["time/step"] for row in rows["CIDEr-D"])
    print(f"\nmedian of {options.rounds * options.steps} steps of 32 images, 5 samples and a greedy caption each\n")
    print(f"{'':42}{'step':>10}{'to CIDEr-D alone':>18}{'rewards':>10}{'share':>8}")
    for name, steps in rows.items():
        step, reward = (statistics.median(row[f"time/{key}"] for row in steps) for key in ("step", "reward"))
        print(f"{name:42}{step * 1000:>7.0f} ms{step / base:>17.2f}x{reward * 1000:>7.1f} ms{reward / step:>8.1%}")


if __name__ == "__main__":
    main()
