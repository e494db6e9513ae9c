"""Decode a split, score it with every metric, and write predictions.jsonl and scores.json."""

import json
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import PIL.Image
import torch

from rewards.base import Candidates, OpenedWhenRead, Reward
from rewards.diversity import diversity_statistics
from rewards.metrics import measure, standard_metrics
from rewards.ngrams import tokenize_groups
from rewards.statistics import caption_statistics
from rewards.tokenize import ptb_tokenize
from rlcap.data.base import CaptionDataset, UnreadableImageError
from rlcap.data.metadata import plain_metadata
from rlcap.functional.masking import ended
from rlcap.policies.base import Decoding, Policy
from rlcap.types import Batch, Encoded, Sampling, UserError

THUMBNAIL_PIXELS = 256
Gather = Callable[[list[Any]], list[Any]]


@dataclass(frozen=True)
class KnownImage:
    """An image of a split as metrics may need it.

    Attributes:
        open: gives the image in RGB.
        metadata: what the data set knows of it.
    """

    open: Callable[[], PIL.Image.Image]
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class EvaluationOptions:
    """How a policy or a reward model is measured.

    Attributes:
        decoding: greedy or beam search, of policies.
        metrics: what is computed beside CIDEr-D, BLEU and ROUGE-L, by name; any reward will do. Of a reward model: what
            is compared with it on the captions that people judged.
        best: the number by which the best checkpoint is kept; None: CIDEr-D of policies, of reward models what
            :class:`rlcap.evaluation.judging.Judging` says.
        validation: the split measured while training.
        test: the split measured at the end, with the best checkpoint; None leaves it out.
        images_per_batch: images decoded together.
        thumbnails: how many images are kept small beside the predictions, for reports.
        diversity_samples: how many captions of every image are drawn besides, at temperature 1, to tell how much they
            differ. An image's are decoded together, so a batch decodes as many times more rows.
    """

    decoding: Decoding = field(default_factory=Decoding)
    metrics: dict[str, Reward] = field(default_factory=dict)
    best: str | None = None
    validation: str = "val"
    test: str | None = "test"
    images_per_batch: int = 64
    thumbnails: int = 96
    diversity_samples: int = 0

    def __post_init__(self) -> None:
        if self.diversity_samples < 0 or self.diversity_samples == 1:
            raise UserError(
                f"diversity_samples must be 0 (off) or at least 2, which are compared, got {self.diversity_samples}"
            )

    @cached_property
    def all_metrics(self) -> dict[str, Reward]:
        """The standard metrics and those asked for besides; the same objects each time, which remember references."""
        return standard_metrics() | self.metrics


@dataclass(frozen=True)
class Evaluation:
    """What a model made of a split, and how good that was.

    Attributes:
        predictions: of a policy one mapping per image: image_id, caption, ended, references, scores, and where there
            are any, samples (further captions) and metadata (what the data set knows); of a reward model one per
            caption that it scored.
        scores: value and signature of each metric over all images.
        statistics: length, bad endings, diversity, or whatever else tells of it.
        images: how many there were.
    """

    predictions: Sequence[Mapping[str, Any]]
    scores: Mapping[str, Mapping[str, Any]]
    statistics: Mapping[str, float]
    images: int

    @property
    def numbers(self) -> dict[str, float]:
        """All scores and statistics by name."""
        return {name: self.value(name) for name in self.scores} | dict(self.statistics)

    def value(self, metric: str) -> float:
        """A metric's value over all images."""
        return float(self.scores[metric]["value"])

    def write(self, folder: Path, **facts: Any) -> None:
        """Write predictions.jsonl and scores.json, which also holds the facts given (split, step, decoding)."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(prediction, ensure_ascii=False) + "\n" for prediction in self.predictions)
        _write_aside(folder / "predictions.jsonl", lines)
        summary = {**facts, "images": self.images, "scores": self.scores, "statistics": self.statistics}
        _write_aside(folder / "scores.json", json.dumps(summary, indent=2) + "\n")


def predict(
    policy: Policy,
    batches: Iterable[Batch],
    decoding: Decoding,
    gather: Gather = list,
    progress: Callable[[int], object] = lambda images: None,
    samples: int = 0,
) -> list[dict[str, Any]]:
    """The policy's caption of every image of the batches: image_id, caption, ended, references; sorted by image.

    Args:
        policy: the captioner; its dropout is switched off meanwhile.
        batches: a split, each image once.
        decoding: greedy or beam search.
        gather: joins the predictions of several processes.
        progress: told how many images each batch held.
        samples: how many further captions of each image to draw at temperature 1, under ``samples``.
    """
    training = policy.training
    policy.eval()
    predictions: list[dict[str, Any]] = []
    for batch in batches:
        with torch.no_grad():
            encoded = policy.encode(batch.to(policy.device))
            captions = policy.decode(encoded, batch.image_ids, decoding)
            drawn = _draw(policy, encoded, batch, decoding, samples) if samples else []
        closed = ended(captions.token_ids.masked_fill(~captions.mask, policy.pad_id), policy.eos_id).tolist()
        for row, caption in enumerate(policy.detokenize(captions)):
            predictions.append(
                {
                    "image_id": batch.image_ids[row],
                    "caption": caption,
                    "ended": closed[row],
                    **({"samples": drawn[row * samples : (row + 1) * samples]} if samples else {}),
                    "references": list(batch.references[row]),
                }
            )
        progress(len(batch))
    policy.train(training)
    return sorted(gather(predictions), key=lambda prediction: str(prediction["image_id"]))


def _draw(policy: Policy, encoded: Encoded, batch: Batch, decoding: Decoding, samples: int) -> list[str]:
    """So many captions of each image at temperature 1, image-major."""
    captions = policy.generate(
        encoded,
        batch.image_ids,
        samples=samples,
        greedy=False,
        key=(decoding.seed, 1),  # other draws than those of ``Policy.decode``
        sampling=Sampling(),
        max_length=decoding.max_length,
    )
    return policy.detokenize(captions)


def images_of(dataset: CaptionDataset, split: str) -> dict[str, KnownImage]:
    """Every image of a split by its id: what opens it, and what the data set knows of it."""
    return {
        record.image_id: KnownImage(partial(dataset.open_image, record), record.metadata)
        for record in dataset.records(split)
    }


def score(
    predictions: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Reward],
    images: Mapping[str, KnownImage] | None = None,
    training: Collection[str] | None = None,
) -> Evaluation:
    """Score predictions already made.

    Args:
        predictions: each with image_id, caption, ended, references where a metric uses them, and perhaps samples.
        metrics: by name.
        images: by image_id; opened only for metrics that look at them, and only a few at a time.
        training: the tokenised captions that were learned from, to tell which are new.
    """
    known = [images[str(prediction["image_id"])] for prediction in predictions] if images is not None else None
    candidates = Candidates(
        [prediction["caption"] for prediction in predictions],
        references=[prediction["references"] for prediction in predictions],
        image_ids=[prediction["image_id"] for prediction in predictions],
        images=OpenedWhenRead([image.open for image in known]) if known else None,
        ended=[prediction["ended"] for prediction in predictions],
        metadata=[image.metadata for image in known] if known else None,
    )
    each, scores = measure(metrics, candidates)
    told = [plain_metadata(image.metadata) for image in known] if known else [{}] * len(predictions)
    scored = [
        {
            **prediction,
            **({"metadata": told[row]} if told[row] else {}),
            "scores": {name: float(values[row]) for name, values in each.items()},
        }
        for row, prediction in enumerate(predictions)
    ]
    statistics = caption_statistics(ptb_tokenize(candidates.captions), training, candidates.ended)
    if predictions and "samples" in predictions[0]:
        samples = tokenize_groups([prediction["samples"] for prediction in predictions])
        references = tokenize_groups([prediction["references"] for prediction in predictions])
        statistics |= diversity_statistics(samples, references)
    return Evaluation(scored, scores, statistics, len(scored))


def write_thumbnails(dataset: CaptionDataset, split: str, folder: Path, count: int) -> None:
    """Keep some images of a split, evenly spread over it, as small JPEGs named by image id."""
    records = sorted(dataset.records(split), key=lambda record: record.image_id)
    if not records or not count:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for row in sorted({round(row) for row in np.linspace(0, len(records) - 1, count)}):
        try:
            image = dataset.open_image(records[row])
        except UnreadableImageError:
            continue  # the loader has named it already, as on_bad_image says
        image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
        image.save(folder / f"{quote(records[row].image_id, safe='')}.jpg", quality=85)


def _write_aside(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
