"""How well a reward model agrees with people, and how well it tells true captions from false ones.

Where the images of a split have judged captions (``metadata["judged"]``) the model scores all of them, and so does
every metric, on the same captions: ``preference/accuracy`` stands beside ``CIDEr-D/accuracy``. On any split it scores
the references, the reference of another image, and references made wrong.

| number | meaning |
|---|---|
| preference/accuracy | share of the judged pairs that the scores order as people did, by weight |
| preference/tau_b, preference/tau_c | Kendall's correlation of scores and ratings, each rating a row of its own |
| <metric>/accuracy, <metric>/tau_b, <metric>/tau_c | the same of a metric's scores |
| matching/accuracy | share of images whose first reference scores above another's; of models that see images |
| corruption/accuracy | share of corruptions of the first references that score below these |
| corruption/<kind> | the same of each kind of corruption |
| preference/brier, preference/calibration_error | of sigmoid(score difference) as the probability of a preference |
| preference/pairs, preference/ratings | how many pairs and ratings there are |
| reference/mean, reference/std | of the scores of all references |

The numbers of agreement, matching and all corruptions are scores, the larger the better; the others are statistics.
Equal scores are half right. The pairs are choices, every two captions of a ranking, and captions of an image whose mean
ratings differ; ties are left out.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray

from rewards.base import Reward, Signature
from rewards.metrics import Summary
from rlcap.data.base import CaptionDataset, Record
from rlcap.data.judged import Judged, comparisons_of
from rlcap.data.judgements import JUDGED
from rlcap.evaluation.agreement import Said, half_right, probability
from rlcap.evaluation.calibration import calibration
from rlcap.evaluation.evaluate import Evaluation, EvaluationOptions, Gather, images_of, score
from rlcap.evaluation.false_captions import KINDS, FalseCaptions
from rlcap.evaluation.measurement import Measurement
from rlcap.models import Model
from rlcap.reward_models.base import REFERENCE_MEAN, RewardModel
from rlcap.types import Batch, UserError

LONGEST = 64  # tokens of a caption
CAPTIONS_AT_ONCE = 256

PEOPLE = "preference"  # the model's agreement with them; that of metrics bears their names
MATCHING = "matching/accuracy"
CORRUPTION = "corruption/accuracy"


class Judging(Measurement):
    """A reward model is measured by what people said of captions, and by captions that are known to be false.

    Which reference of another image, and which corruption, an image is measured with follows from its id alone.
    """

    what = "judging"

    def __init__(self, model: Model, options: EvaluationOptions, dataset: CaptionDataset) -> None:
        super().__init__(model, options, dataset)
        self._called = type(model).__name__
        self._sees = isinstance(model, RewardModel) and model.needs_images
        self._compares = isinstance(model, RewardModel) and model.needs_references
        self._false: dict[str, FalseCaptions] = {}
        self._by_metrics: dict[tuple[str, ...], dict[str, tuple[str, Float64[ndarray, " captions"]]]] = {}

    @property
    def usual_best(self) -> str:
        """Agreement with people where they judged validation images; else telling true captions from false ones."""
        return self._own_names()[0]

    @property
    def names(self) -> Sequence[str]:
        """Agreement, of the model and of the metrics, where people judged validation images; matching; corruption."""
        return self._own_names()

    def _own_names(self) -> list[str]:
        records = self.dataset.records(self.options.validation)
        judged = [record for record in records if JUDGED in record.metadata]
        said = Said.of([record.metadata[JUDGED] for record in judged])
        agreement = [
            f"{name}/{number}" for name in (PEOPLE, *self._metrics_of(judged)) for number in said.numbers
        ]  # that of the model first, and of pairs before that of ratings
        return [*agreement, *([MATCHING] if self._sees else []), *([] if self._compares else [CORRUPTION])]

    # --- scoring, in every process

    def predict(
        self, model: Model, batches: Iterable[Batch], split: str, gather: Gather, progress: Callable[[int], object]
    ) -> list[dict[str, Any]]:
        """The scores of each image's captions: references, judged ones, another image's, corrupted ones."""
        assert isinstance(model, RewardModel)
        training = model.training
        model.eval()
        made: list[dict[str, Any]] = []
        for batch in batches:
            asked = [self._asked(batch, row, split) for row in range(len(batch))]
            scores = scores_of(model, batch, [[text for texts in own.values() for text in texts] for own in asked])
            for image_id, own, flat in zip(batch.image_ids, asked, scores, strict=True):
                each = iter(flat)
                made.append({"image_id": image_id, **{name: [next(each) for _ in own[name]] for name in own}})
            progress(len(batch))
        model.train(training)
        return sorted(gather(made), key=lambda one: str(one["image_id"]))

    def _asked(self, batch: Batch, row: int, split: str) -> dict[str, Sequence[str]]:
        """The captions to be scored for an image."""
        if split not in self._false:
            self._false[split] = FalseCaptions(self.dataset.records(split), self.dataset.synonyms)
        image_id, references = batch.image_ids[row], batch.references[row]
        judged = batch.metadata[row].get(JUDGED) if batch.metadata else None
        false = self._false[split]
        return {
            "references": references,
            "judged": judged.captions if isinstance(judged, Judged) else (),
            "other": false.other(image_id, references) if self._sees else (),
            # a model that compares with references would be misled by the one that each was made of
            **({} if self._compares else false.corrupted(image_id, references)),
        }

    # --- measuring, in the main process

    def score(self, predictions: Sequence[Mapping[str, Any]], split: str) -> Evaluation:
        """What the scores amount to.

        Raises:
            UserError: if one of them is no number.
        """
        for own in predictions:
            if not np.isfinite(
                [value for values in own.values() if isinstance(values, list) for value in values]
            ).all():
                raise UserError(
                    f"a caption of image {own['image_id']} scores no finite number: lower the learning rate"
                )
        known = {record.image_id: record for record in self.dataset.records(split)}
        records = [known[own["image_id"]] for own in predictions]
        scores, statistics = self._of_truth(predictions)
        rows: list[dict[str, Any]] = [
            {"image_id": own["image_id"], "caption": record.references[0], "score": own["references"][0]}
            for own, record in zip(predictions, records, strict=True)
            if record.references
        ]
        if any(own["judged"] for own in predictions):
            said, rows, judged_scores = self._of_people(predictions, records, split)
            scores, statistics = judged_scores | scores, said | statistics
        return Evaluation(rows, scores, statistics, len(predictions))

    def _of_truth(self, predictions: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Summary], dict[str, float]]:
        """Matching and corruption; mean and standard deviation of the references."""
        scores: dict[str, Summary] = {}
        statistics: dict[str, float] = {}

        compared = {MATCHING: ("other",), CORRUPTION: KINDS, **{f"corruption/{kind}": (kind,) for kind in KINDS}}
        for name, kinds in compared.items():
            above = [
                own["references"][0] - false for own in predictions for kind in kinds for false in own.get(kind, ())
            ]
            if above:
                share = float(half_right(np.array(above, np.float64)).mean())
                if name in (MATCHING, CORRUPTION):
                    signature = Signature(name, {"pairs": str(len(above)), "model": self._called})
                    scores[name] = {"value": share, "signature": str(signature)}
                else:
                    statistics[name] = share
        references = [value for own in predictions for value in own["references"]]
        if references:
            statistics |= {REFERENCE_MEAN: float(np.mean(references)), "reference/std": float(np.std(references))}
        return scores, statistics

    def _of_people(
        self, predictions: Sequence[Mapping[str, Any]], records: Sequence[Record], split: str
    ) -> tuple[dict[str, float], list[dict[str, Any]], dict[str, Summary]]:
        """Agreement with people, of the model and of the metrics."""
        records = [record for record in records if JUDGED in record.metadata]
        judged = [record.metadata[JUDGED] for record in records]
        own = np.array([value for each in predictions for value in each["judged"]], np.float64)
        said = Said.of(judged)
        everyone = {PEOPLE: (str(Signature(self._called)), own)} | self._metrics(records, split)
        sizes = {"pairs": str(len(said.rows)), "ratings": str(len(said.ratings))}
        scores: dict[str, Summary] = {}
        for name, (how, values) in everyone.items():
            for number, value in said.agreement(values).items():
                of = "pairs" if number == "accuracy" else "ratings"
                scores[f"{name}/{number}"] = {"value": value, "signature": f"{number}|{of}:{sizes[of]}|{how}"}
        statistics = {f"preference/{name}": float(size) for name, size in sizes.items()}
        if said.rows:
            found = calibration(probability(said.differences(own)), np.ones(len(said.rows)), weights=said.weights)
            statistics["preference/brier"] = found.brier
            statistics["preference/calibration_error"] = found.expected_calibration_error
        by_metrics = {name: values for name, (_, values) in everyone.items() if name != PEOPLE}
        return statistics, _rows(records, own, by_metrics), scores

    def _metrics_of(self, records: Sequence[Record]) -> dict[str, Reward]:
        """The metrics that judged captions are scored by: without references, those alone that were asked for."""
        complete = all(record.references for record in records)
        return self.options.all_metrics if complete else self.options.metrics

    def _metrics(self, records: Sequence[Record], split: str) -> dict[str, tuple[str, Float64[ndarray, " captions"]]]:
        """The signature and the scores of each metric on the judged captions, which are the same each time."""
        key = (split, *(record.image_id for record in records))
        if key not in self._by_metrics:
            metrics = self._metrics_of(records)
            captions: list[dict[str, Any]] = [
                {"image_id": record.image_id, "caption": caption, "ended": True, "references": list(record.references)}
                for record in records
                for caption in record.metadata[JUDGED].captions
            ]
            scored = score(captions, metrics, images_of(self.dataset, split))
            self._by_metrics[key] = {
                name: (
                    str(scored.scores[name]["signature"]),
                    np.array([row["scores"][name] for row in scored.predictions], np.float64),
                )
                for name in metrics
            }
        return self._by_metrics[key]


# --- what the model says


@torch.no_grad()
def scores_of(model: RewardModel, batch: Batch, captions: Sequence[Sequence[str]]) -> list[list[float]]:
    """The score of each caption of each image of a batch; a caption that an image has twice is scored once."""
    pairs = dict.fromkeys((row, caption) for row, own in enumerate(captions) for caption in own)
    encoded = model.encode(batch.to(model.device))
    asked = sorted(pairs, key=lambda pair: len(pair[1]))  # captions of one length have little padding
    values: list[float] = []
    for start in range(0, len(asked), CAPTIONS_AT_ONCE):
        part = asked[start : start + CAPTIONS_AT_ONCE]
        rows = torch.tensor([row for row, _ in part], device=model.device)
        tokens = model.read([caption for _, caption in part], LONGEST).to(model.device)
        values += model.score(encoded.select(rows), tokens).tolist()
    found = dict(zip(asked, values, strict=True))
    return [[found[row, caption] for caption in own] for row, own in enumerate(captions)]


def _rows(
    records: Sequence[Record],
    scores: Float64[ndarray, " captions"],
    metrics: Mapping[str, Float64[ndarray, " captions"]],
) -> list[dict[str, Any]]:
    """One row for each judged caption: its score, what people said of it, and what metrics make of it."""
    rows: list[dict[str, Any]] = []
    for record in records:
        judged: Judged = record.metadata[JUDGED]
        pairs = comparisons_of(judged, 0.0)
        for place, (caption, rating) in enumerate(zip(judged.captions, judged.mean_ratings(), strict=True)):
            number = len(rows)
            rows.append(
                {
                    "image_id": record.image_id,
                    "caption": caption,
                    "score": round(float(scores[number]), 6),
                    "rating": rating,
                    "better_than": sum(pair.winner == place for pair in pairs),
                    "worse_than": sum(pair.loser == place for pair in pairs),
                    "metrics": {name: round(float(values[number]), 6) for name, values in metrics.items()},
                }
            )
    return rows
