"""``rlcap train`` on many processes: ``accelerate launch scripts/train.py --config CONFIG --output RUN``."""

import sys

from rlcap.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
