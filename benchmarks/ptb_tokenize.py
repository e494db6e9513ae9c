"""Speed of the PTB tokeniser against the Java original, in one run: a batch of captions, and one with references.

    python -m benchmarks.ptb_tokenize [captions.json.gz]

The file holds {image: [captions]}, gzipped or not; without one the captions are COCO's under RLCAP_TEST_DATA, or made
up of words that are harder than most. Java must be on the path.
"""

import gzip
import json
import os
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from rewards.tokenize import CAPTIONS, PIECES, ptb_tokenize

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
    coco = Path(os.environ.get("RLCAP_TEST_DATA", "")) / "coco" / "captions_val2014.json.gz"
    path = sys.argv[1] if len(sys.argv) > 1 else str(coco) if coco.is_file() else None
    captions = load(path)
    rows = []
    for size in (320, 320 + 1600):
        batch = captions[:size]
        records = {str(index): [{"caption": caption}] for index, caption in enumerate(batch)}
        java = median(seconds(partial(PTBTokenizer().tokenize, records)) for _ in range(REPEATS))
        cold, warm = [], []
        for _ in range(REPEATS):
            PIECES.clear()
            CAPTIONS.clear()
            cold.append(seconds(partial(ptb_tokenize, batch)))
            CAPTIONS.clear()  # words are known, captions are new
            warm.append(seconds(partial(ptb_tokenize, batch)))
        ours = "".join(
            f"{f'{elapsed * 1e3:.2f} ms ({java / elapsed:,.0f}x)':>20}" for elapsed in map(median, (cold, warm))
        )
        rows.append(f"{f'{size:,} captions':24}{java * 1e3:>7.0f} ms{ours}")
    PIECES.clear()
    CAPTIONS.clear()
    rates = [len(captions) / seconds(partial(ptb_tokenize, captions)) for _ in ("empty", "warm")]
    # At the end, since the Java tokeniser writes lines of its own.
    print(f"\n{len(captions):,} captions, {path or 'made up'}; median of {REPEATS} rounds (ratio to Java)\n")
    print(f"{'':24}{'Java':>10}{'empty memory':>20}{'warm memory':>20}")
    print("\n".join(rows))
    print(f"{'all, captions/s':24}{'':10}" + "".join(f"{rate:>20,.0f}" for rate in rates))


if __name__ == "__main__":
    main()
