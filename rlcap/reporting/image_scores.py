"""The scores of single images, method by method, where they can be compared."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rlcap.reporting.columns import Column
from rlcap.reporting.comparable import is_mean
from rlcap.reporting.material import Material
from rlcap.reporting.names import direction
from rlcap.reporting.reading.runs import Run

_ROUNDING = 1e-9  # of the scores' size


@dataclass(frozen=True)
class ImageScores:
    """A metric of every image that is compared.

    Attributes:
        metric: its name.
        signature: how it was scored.
        better: 1 where more is better, -1 where less is.
        of_method: the scores of each method's seeds, by the method's place.
        of_corpus: whether the metric of a corpus is another number than the mean of its images' own.
        left_out: the names of runs that have no such score of every image.
    """

    metric: str
    signature: str
    better: int
    of_method: Mapping[int, Float[np.ndarray, "_seeds images"]]
    of_corpus: bool
    left_out: tuple[str, ...]

    @property
    def means(self) -> dict[int, Float[np.ndarray, " images"]]:
        """Each method's score of an image, over its seeds."""
        # Deviations from the first seed: seeds that agree then have exactly its score.
        return {place: scores[0] + (scores - scores[0]).mean(axis=0) for place, scores in self.of_method.items()}

    def gains(self, place: int, other: int) -> Float[np.ndarray, " images"] | None:
        """By how much a method is better than another on each image, 0 where rounding alone tells them apart."""
        means = self.means
        if place not in means or other not in means:
            return None
        gains: Float[np.ndarray, " images"] = (self.better or 1) * (means[place] - means[other])
        size = max(float(np.abs(means[place]).max()), float(np.abs(means[other]).max()))
        return np.where(np.abs(gains) > _ROUNDING * size, gains, 0.0)


def image_scores(material: Material, metric: str) -> ImageScores | None:
    """The metric of single images, of the runs whose signature is the first compared one's; None where none has it."""
    images = material.images
    of_method: dict[int, list[Float[np.ndarray, " images"]]] = {}
    left_out: list[str] = []
    signature: str | None = None
    of_corpus = False
    order = sorted(range(len(material.methods)), key=lambda place: place != material.baseline)
    for place in order:
        for run in material.methods[place].runs:
            scores = _of_run(run, metric, material)
            own = run.evaluation.scores.get(metric)
            if scores is None or own is None or signature not in (None, own.signature):
                left_out += [run.name] if run.name in images.compared else []
                continue
            signature = own.signature
            whole = [p.scores[metric] for p in run.evaluation.predictions.values() if metric in p.scores]
            of_corpus |= not is_mean(own.value, float(np.mean(whole)))
            of_method.setdefault(place, []).append(scores)
    if signature is None:
        return None
    return ImageScores(
        metric,
        signature,
        direction(metric, signature),
        {place: np.stack(of_method[place]) for place in sorted(of_method)},
        of_corpus,
        tuple(left_out),
    )


def _of_run(run: Run, metric: str, material: Material) -> Float[np.ndarray, " images"] | None:
    """A run's scores in the order of the images; None where one is missing, or depends on images others do not have."""
    images, own = material.images, run.evaluation
    if run.name not in images.compared or not images.image_ids:
        return None
    score = own.scores.get(metric)
    if score is not None and "df:corpus" in score.signature and run.name not in images.complete:
        return None
    found = [own.predictions[image_id].scores.get(metric) for image_id in images.image_ids]
    return None if None in found else np.array(found, np.float64)


def comparable_metrics(columns: tuple[Column, ...], metric: str, most: int) -> list[str]:
    """The main metric, then others in their order; the lower orders of BLEU, which say the least, come last."""
    names = list(dict.fromkeys(column.name for column in columns))
    names.sort(key=lambda name: (name != metric, name in ("BLEU-1", "BLEU-2", "BLEU-3")))
    return names[:most]
