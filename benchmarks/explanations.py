"""Whether the regions that drove a word lie on the thing it names, on scenes whose objects' places are known.

    rlcap explain runs/mine --count 500
    python -m benchmarks.explanations runs/mine

A word counts that names a shape or, before it, its colour, where the scene has one such object. It hits if the middle
of its peak cell lies in the box around that object; chance is the share of cells whose middle does.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from rlcap.data.shapes import COLORS, SHAPES, Shapes
from rlcap.settings import read_settings

METHODS = ("relevance", "gradient_attention")
NOUNS = {word: shape for shape, words in SHAPES.items() for word in words}


def named_objects(words: Sequence[str], objects: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, str, Any]]:
    """The place of each word that names an object or its colour, which of the two it is, and the object."""
    for place, (color, noun) in enumerate(pairwise(words)):
        if noun in NOUNS and color in COLORS:
            meant = [item for item in objects if (item["shape"], item["color"]) == (NOUNS[noun], color)]
            if len(meant) == 1:
                yield place, "colours", meant[0]
                yield place + 1, "shapes", meant[0]


def main() -> None:
    """Print, for each kind of word and each method, the share of hits and the share of the map inside the box."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--split", default="test")
    arguments = parser.parse_args()
    settings = read_settings(arguments.run / "config.yaml")["data"]
    records = Shapes(**settings.get("init_args", {})).records(arguments.split)
    scenes = {record.image_id: record.metadata["scene"] for record in records}
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    strengths: dict[str, list[float]] = defaultdict(list)
    with (arguments.run / "explanations" / arguments.split / "explanations.jsonl").open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            rows, columns = row["grid"]
            left, top, right, bottom = row["box"]
            x = left + (right - left) * (np.arange(columns) + 0.5) / columns
            y = top + (bottom - top) * (np.arange(rows) + 0.5) / rows
            for word, strength in zip(row["words"], row["strength"], strict=True):
                strengths[word].append(strength)
            for place, kind, item in named_objects(row["words"], scenes[row["image_id"]]["objects"]):
                across, down = item["center"]
                inside = (abs(y - down) <= item["radius"])[:, None] & (abs(x - across) <= item["radius"])[None]
                inside = inside.flatten()
                found[kind, "chance"].append((inside.mean(), inside.mean()))
                for method in METHODS:
                    own = np.array(row[method][place])
                    found[kind, method].append((inside[own.argmax()], own[inside].sum() / max(own.sum(), 1e-12)))
    for (kind, method), shares in found.items():
        hits, mass = np.mean(shares, axis=0)
        print(f"{kind:<8} {method:<18} {len(shares):5d} words  peak in the box {hits:.3f}  mass in the box {mass:.3f}")
    print({word: round(float(np.mean(own)), 2) for word, own in sorted(strengths.items()) if len(own) > 20})


if __name__ == "__main__":
    main()
