"""Agreement of rewards with human judgements of Flickr8k captions, beside the numbers published for them.

    python -m benchmarks.judgements [NAME ...]

``RLCAP_TEST_DATA`` names a folder with ``human/flickr8k_expert.csv``, ``human/flickr8k_cf.csv.gz`` and
``flickr8k/dataset_flickr8k.json.gz``. Without names, those that start here are measured: METEOR needs Java.

Protocol of Hessel et al. 2021 (CLIPScore), tables 1 and 2. On Flickr8k-Expert each of three ratings is a row of its
own (16,992 of 5,664 captions), captions that are references of their image are left out, and tau-c is told. On
Flickr8k-CF the rating is the share of yes votes, and tau-b is told. The file has 47,288 of the official 47,830 rows;
713 of them are references of their image, which are kept: without them CIDEr-D has 22.2 and ROUGE-L 17.3, and with
each such caption scored against the other four references 25.4 and 20.4, where 26.4 and 22.0 are printed here.
"pairs" is the share of pairs of captions of one image that are ordered as by the experts' mean rating.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rewards.base import RewardError
from rewards.metrics import STANDARD, reward_named
from rewards.scoring import score
from rewards.scoring.agreement import Estimate
from rewards.scoring.bootstrap import Bootstrap
from rewards.scoring.comparison import compare
from rewards.scoring.files import read_candidates
from rewards.scoring.judgements import Judgements, read_judgements

NAMES = [*STANDARD, "METEOR", "scene-graph"]
PUBLISHED = {
    "CIDEr-D": 43.9,
    "METEOR": 41.8,
    "ROUGE-L": 32.3,
    "BLEU-4": 30.8,
    "SPICE": 44.9,
    "CLIPScore": 51.2,
    "RefCLIPScore": 53.0,
}


def shown(estimate: Estimate | None) -> str:
    """A hundred times the number, with its interval."""
    if estimate is None or estimate.interval is None:
        return "-"
    low, high = estimate.interval
    return f"{100 * estimate.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def row(name: str, sets: Sequence[tuple[Judgements, Path]], bootstrap: Bootstrap) -> list[str]:
    """The cells of one reward."""
    start = time.perf_counter()
    reward = reward_named(name)
    try:
        expert, crowd = (
            compare(score(read_candidates(own.captions, dataset), rewards={name: reward}, bootstrap=bootstrap), own)
            for own, dataset in sets
        )
    finally:
        reward.close()
    own = expert.rewards[name]
    return [
        name,
        shown(own.tau_c),
        f"{PUBLISHED.get(name, '-')}",
        shown(own.tau_b),
        shown(own.accuracy),
        shown(crowd.rewards[name].tau_b),
        f"{time.perf_counter() - start:.0f}",
    ]


def main(names: Sequence[str]) -> None:
    data = Path(os.environ.get("RLCAP_TEST_DATA", ""))
    dataset = data / "flickr8k" / "dataset_flickr8k.json.gz"
    expert = read_judgements(data / "human" / "flickr8k_expert.csv", where=["caption_is_own_reference=0"])
    crowd = read_judgements(data / "human" / "flickr8k_cf.csv.gz", ["fraction_yes"])
    rows = [["x 100", "expert tau-c", "published", "tau-b", "pairs", "crowd tau-b", "seconds"]]
    for name in names:
        try:
            rows.append(row(name, [(expert, dataset), (crowd, dataset)], Bootstrap(resamples=200)))
        except (RewardError, ImportError, AttributeError) as error:  # not here, or not yet
            sys.stderr.write(f"{name} left out: {error}\n")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        print("  ".join(map(str.ljust, cells, widths)).rstrip())


if __name__ == "__main__":
    main(sys.argv[1:] or NAMES)
