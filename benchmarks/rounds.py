"""Captions to measure rewards on: human ones, and such as a policy might sample, in rounds that share no image."""

import gzip
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rewards.base import Candidates

IMAGES, SAMPLES, REFERENCES = 64, 5, 5
ROUNDS = 21
FREQUENCY_IMAGES = 20_000  # document frequencies of a training set's size


@dataclass(frozen=True)
class Round:
    """Captions of images that no other round has, twice: the second holds other captions of the same images."""

    first: Candidates
    second: Candidates

    def part(self, images: int) -> "Round":
        """The captions of the first images."""
        rows = range(images * SAMPLES)
        return Round(self.first.select(rows), self.second.select(rows))


def made_up(rng: np.random.Generator, images: int) -> list[list[str]]:
    """Sentences of about eleven words with a natural distribution of frequencies."""
    return [
        [" ".join(f"w{word}" for word in rng.zipf(1.3, 11) % 10_000).capitalize() + "." for _ in range(REFERENCES)]
        for _ in range(images)
    ]


def captions_of_images(rng: np.random.Generator) -> tuple[str, list[list[str]]]:
    """Where the captions come from, and five of each image."""
    path = Path(os.environ.get("RLCAP_TEST_DATA", "")) / "coco" / "captions_val2014.json.gz"
    if not path.is_file():
        return "made-up sentences", made_up(rng, IMAGES * ROUNDS)
    with gzip.open(path, "rt") as file:
        return "COCO val2014", [captions[:REFERENCES] for captions in json.load(file).values()][:FREQUENCY_IMAGES]


def sampled(rng: np.random.Generator, captions: Sequence[str]) -> list[str]:
    """Captions as a policy might sample them: the start of one human caption and the end of another, all different."""
    pairs = [(first, second) for first in captions for second in captions if first is not second]
    chosen = [[text.split() for text in pairs[place]] for place in rng.permutation(len(pairs))[: 2 * SAMPLES]]
    return [" ".join(start[: len(start) // 2] + end[len(end) // 2 :]) for start, end in chosen]


def rounds_of(rng: np.random.Generator, images: Sequence[Sequence[str]]) -> list[Round]:
    """Rounds of ``IMAGES`` images each; pictures are noise of COCO's size, the same few again and again."""
    pictures = [Image.fromarray(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)) for _ in range(SAMPLES)]
    rounds = []
    for start in range(0, IMAGES * ROUNDS, IMAGES):
        ids = [str(number) for number in range(start, start + IMAGES) for _ in range(SAMPLES)]
        references = [images[int(number)] for number in ids]
        texts = [sampled(rng, own) for own in images[start : start + IMAGES]]
        shown = [pictures[row % len(pictures)] for row in range(IMAGES) for _ in range(SAMPLES)]
        both = ([text for own in texts for text in own[part::2]] for part in (0, 1))
        rounds.append(Round(*(Candidates(captions, references, ids, images=shown) for captions in both)))
    return rounds
