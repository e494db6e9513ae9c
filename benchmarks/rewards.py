"""Speed of the n-gram rewards against pycocoevalcap, in one process: 64 images x 5 sampled captions x 5 references.

    python -m benchmarks.rewards

``RLCAP_TEST_DATA`` names a folder with ``coco/captions_val2014.json.gz``; without it the sentences are made up.
"""

import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu as OfficialBleu
from pycocoevalcap.cider.cider import Cider as OfficialCider
from pycocoevalcap.rouge.rouge import Rouge as OfficialRouge

from rewards.base import Candidates
from rewards.bleu import Bleu, bleu_statistics, reference_maxima, sentence_bleu
from rewards.cider import CiderD, cider_d, reference_vectors
from rewards.document_frequencies import DocumentFrequencies
from rewards.rouge import RougeL, reference_bits, rouge_l
from rewards.tokenize import ptb_tokenize

IMAGES, SAMPLES, REFERENCES = 64, 5, 5
FREQUENCY_IMAGES = 20_000  # document frequencies of a training set's size
ROUNDS = 15


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
        return "made-up sentences", made_up(rng, IMAGES * 4)
    with gzip.open(path, "rt") as file:
        return "COCO val2014", [captions[:REFERENCES] for captions in json.load(file).values()][:FREQUENCY_IMAGES]


def sampled(rng: np.random.Generator, captions: Sequence[str]) -> str:
    """A caption as a policy might sample it: the start of one human caption and the end of another."""
    first, second = (captions[index].split() for index in rng.choice(len(captions), 2))
    return " ".join(first[: len(first) // 2] + second[len(second) // 2 :])


def seconds(*functions: Callable[[], Any]) -> list[float]:
    """Shortest time of each function, all of them called in turn so that other work on the machine falls on all."""
    times = [float("inf")] * len(functions)
    for _ in range(ROUNDS):
        for index, function in enumerate(functions):
            start = time.perf_counter()
            function()
            times[index] = min(times[index], time.perf_counter() - start)
    return times


def main() -> None:
    rng = np.random.default_rng(0)
    source, images = captions_of_images(rng)
    raw_references = [captions for captions in images[:IMAGES] for _ in range(SAMPLES)]
    raw = [sampled(rng, captions) for captions in raw_references]
    captions = ptb_tokenize(raw)
    image_references = [ptb_tokenize(captions) for captions in images[:IMAGES]]
    gts = {row: image_references[row // SAMPLES] for row in range(len(captions))}
    res = {row: [caption] for row, caption in enumerate(captions)}

    frequencies = DocumentFrequencies.from_references(images, eos=False, name="benchmark")
    vectors = [own for own in reference_vectors(image_references, frequencies) for _ in range(SAMPLES)]
    maxima = [own for own in reference_maxima(image_references) for _ in range(SAMPLES)]
    bits = [reference_bits(own) for own in image_references for _ in range(SAMPLES)]

    def cider_cold() -> None:
        fresh = [own for own in reference_vectors(image_references, frequencies) for _ in range(SAMPLES)]
        cider_d(captions, fresh, frequencies)

    def bleu_cold() -> None:
        fresh = [own for own in reference_maxima(image_references) for _ in range(SAMPLES)]
        sentence_bleu(bleu_statistics(captions, fresh))

    def rouge_all(references: Sequence[Any]) -> None:
        for caption, own in zip(captions, references, strict=True):
            rouge_l(caption, own)

    def rouge_cold() -> None:
        rouge_all([own for own in map(reference_bits, image_references) for _ in range(SAMPLES)])

    candidates = Candidates(raw, raw_references)
    with tempfile.TemporaryDirectory() as folder:
        frequencies.save(Path(folder) / "benchmark.npz")
        cider = CiderD(str(Path(folder) / "benchmark.npz"), eos=False)
        cider.prepare(images)
    rows = [
        (
            "CIDEr-D",
            lambda: OfficialCider().compute_score(gts, res),
            lambda: cider_d(captions, vectors, frequencies),
            cider_cold,
            cider,
        ),
        (
            "BLEU",
            lambda: OfficialBleu(4).compute_score(gts, res, verbose=0),
            lambda: sentence_bleu(bleu_statistics(captions, maxima)),
            bleu_cold,
            Bleu(),
        ),
        ("ROUGE-L", lambda: OfficialRouge().compute_score(gts, res), lambda: rouge_all(bits), rouge_cold, RougeL()),
    ]
    count = len(captions)
    print(f"{count} captions x {REFERENCES} references, {source}; captions per second (ratio to pycocoevalcap)\n")
    print(f"{'':10}{'pycocoevalcap':>14}{'references kept':>20}{'references new':>20}{'raw text, kept':>20}")
    for name, official, warm, cold, reward in rows:
        base, *rates = [count / elapsed for elapsed in seconds(official, warm, cold, partial(reward, candidates))]
        print(f"{name:10}{base:>14,.0f}" + "".join(f"{f'{rate:,.0f} ({rate / base:.0f}x)':>20}" for rate in rates))
    print(f"\nptb_tokenize alone: {count / seconds(lambda: ptb_tokenize(raw))[0]:,.0f} captions per second")


if __name__ == "__main__":
    main()
