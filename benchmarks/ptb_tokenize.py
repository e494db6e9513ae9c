"""Seconds per batch of 320 captions, and of 320 with 1,600 references: ours against the Java tokeniser, in one run.

Captions come from a json file of {image: [captions]}, gzipped or not, or are made up when none is named:
``python -m benchmarks.tokenize captions_val2014.json.gz``. Run it as a module: as a script its folder would come first
on the path, and its name hide the standard library's ``tokenize``.
"""

import gzip
import json
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from rewards.tokenize import PIECES, ptb_tokenize

REPEATS = 5
WORDS = "a the man's dog plays with an old-fashioned frisbee on top of green grass, near 2 cars"


def load(path: str | None) -> list[str]:
    if path is None:
        rng = random.Random(0)
        words = WORDS.split()
        return [" ".join(rng.choices(words, k=11)) + "." for _ in range(20_000)]
    text = gzip.decompress(Path(path).read_bytes()) if path.endswith(".gz") else Path(path).read_bytes()
    captions = [caption for group in json.loads(text).values() for caption in group]
    random.Random(0).shuffle(captions)
    return captions


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    captions = load(sys.argv[1] if len(sys.argv) > 1 else None)
    for size in (320, 320 + 1600):
        batch = captions[:size]
        records = {str(index): [{"caption": caption}] for index, caption in enumerate(batch)}
        java = median(seconds(partial(PTBTokenizer().tokenize, records)) for _ in range(REPEATS))
        cold, warm = [], []
        for _ in range(REPEATS):
            PIECES.clear()
            cold.append(seconds(partial(ptb_tokenize, batch)))
            warm.append(seconds(partial(ptb_tokenize, batch)))
        for state, ours in (("empty memory", median(cold)), ("warm memory", median(warm))):
            print(f"{size} captions, {state}: {ours * 1e3:.2f} ms, Java {java * 1e3:.0f} ms, ratio {java / ours:.0f}")
    PIECES.clear()
    for state in ("empty", "warm"):
        rate = len(captions) / seconds(partial(ptb_tokenize, captions))
        print(f"{len(captions)} captions, {state} memory: {rate:.0f} captions/s")


if __name__ == "__main__":
    main()
