"""A dual encoder is measured by brute force here, in plain loops, and by the evaluation; both find the same."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rlcap.data.base import Record
from rlcap.data.judged import Comparison, Judged
from rlcap.data.judgements import JUDGED
from rlcap.data.loader import loader
from rlcap.data.shapes import Shapes
from rlcap.errors import UserError
from rlcap.evaluation.evaluate import Evaluation, EvaluationOptions
from rlcap.evaluation.kinds import measurement_of
from rlcap.evaluation.searching import MEAN_RECALL, Searching
from rlcap.reward_models.base import REFERENCE_MEAN
from rlcap.reward_models.visual_semantic import Heads, PatchEncoder, TinyDualEncoder
from rlcap.reward_models.words import WordEncoder

IMAGES = 13
BARE = "val-00004"


class Scenes(Shapes):
    """Scenes, of which one has no reference and another two only."""

    def records(self, split: str) -> list[Record]:
        kept = {BARE: 0, "val-00007": 2}
        return [
            replace(record, references=record.references[: kept.get(record.image_id, 5)])
            for record in super().records(split)
        ]


@pytest.fixture(scope="module")
def dataset() -> Scenes:
    return Scenes(train=20, val=IMAGES, test=1)


@pytest.fixture(scope="module")
def model(dataset: Scenes) -> TinyDualEncoder:
    torch.manual_seed(0)
    made = TinyDualEncoder(
        32,
        PatchEncoder(width=16, layers=1, heads=2),
        WordEncoder(width=16, layers=1, heads=2, dropout=0.5, min_count=1),
        Heads(width=8, hidden=16, dropout=0.5),
    )
    made.prepare([record.references for record in dataset.records("train")])
    return made


def nothing(images: int) -> None:
    """Where nobody wants to know how far it is."""


def predicted(
    model: TinyDualEncoder, dataset: Scenes, rank: int, processes: int, gather: Callable[[list[Any]], list[Any]]
) -> list[dict[str, Any]]:
    batches = loader(dataset, "val", model.process_images, 4, workers=0, rank=rank, world_size=processes)
    measurement = measurement_of(model, EvaluationOptions(), dataset)
    return measurement.predict(model, batches, "val", gather, nothing)


def evaluated(model: TinyDualEncoder, dataset: Scenes) -> Evaluation:
    measurement = measurement_of(model, EvaluationOptions(), dataset)
    return measurement.score(predicted(model, dataset, 0, 1, list), "val")


def test_it_finds_what_plain_loops_find(model: TinyDualEncoder, dataset: Scenes) -> None:
    records = [record for record in dataset.records("val") if record.references]
    captions = [(place, text) for place, record in enumerate(records) for text in record.references]
    model.eval()
    with torch.no_grad():
        pixels = model.process_images([dataset.open_image(record) for record in records])
        images = model.model.get_image_features(pixels).double()
        tokens = [model.tokenize([text], 64) for _, text in captions]
        texts = torch.cat([model.embed_texts(each) for each in tokens]).double()
    model.train()
    cosines = torch.cosine_similarity(images[:, None], texts[None], dim=-1).numpy()
    caption_ranks = [
        1 + sum(cosines[row, column] > cosines[place, column] for row in range(len(records)))
        for column, (place, _) in enumerate(captions)
    ]
    image_ranks = []
    for row in range(len(records)):
        best = max(cosines[row, column] for column, (place, _) in enumerate(captions) if place == row)
        others = [cosines[row, column] for column, (place, _) in enumerate(captions) if place != row]
        image_ranks.append(1 + sum(other >= best for other in others))

    evaluation = evaluated(model, dataset)
    assert model.training
    numbers = evaluation.numbers
    recalls = []
    for direction, ranks in (("image_to_text", image_ranks), ("text_to_image", caption_ranks)):
        for top in (1, 5, 10):
            recalls.append(np.mean([rank <= top for rank in ranks]))
            assert numbers[f"retrieval/{direction}/recall@{top}"] == pytest.approx(recalls[-1])
        assert numbers[f"retrieval/{direction}/median_rank"] == np.median(ranks)
        assert numbers[f"retrieval/{direction}/mean_rank"] == pytest.approx(np.mean(ranks))
    assert numbers[MEAN_RECALL] == pytest.approx(np.mean(recalls))
    assert 0 < numbers[MEAN_RECALL] < 1

    scores = [cosines[place, column] / 0.07 for column, (place, _) in enumerate(captions)]
    assert numbers[REFERENCE_MEAN] == pytest.approx(np.mean(scores), rel=1e-4)
    assert {"matching/accuracy", "corruption/accuracy"} <= evaluation.scores.keys()
    rows = {row["image_id"]: row for row in evaluation.predictions}
    assert len(rows) == len(evaluation.predictions)
    assert "text_to_image_ranks" not in rows.get(BARE, {})
    for place, record in enumerate(records):
        own = [rank for (image, _), rank in zip(captions, caption_ranks, strict=True) if image == place]
        assert rows[record.image_id]["image_to_text_rank"] == image_ranks[place]
        assert rows[record.image_id]["text_to_image_ranks"] == own


def test_processes_share_the_images(model: TinyDualEncoder, dataset: Scenes) -> None:
    shares: list[list[list[Any]]] = [[], []]

    def recorded(rank: int) -> Callable[[list[Any]], list[Any]]:
        def gather(rows: list[Any]) -> list[Any]:
            shares[rank].append(rows)
            return rows

        return gather

    for rank in (0, 1):
        predicted(model, dataset, rank, 2, recorded(rank))
    joined = iter([one + two for one, two in zip(*shares, strict=True)])
    predictions = predicted(model, dataset, 0, 2, lambda rows: next(joined))
    alone = evaluated(model, dataset)
    together = measurement_of(model, EvaluationOptions(), dataset).score(predictions, "val")
    assert together.images == alone.images
    assert [row["image_id"] for row in together.predictions] == [row["image_id"] for row in alone.predictions]
    assert together.numbers == pytest.approx(alone.numbers, rel=1e-5)  # batches of other sizes round otherwise


def test_what_is_said_of_a_number(model: TinyDualEncoder, dataset: Scenes) -> None:
    measurement = measurement_of(model, EvaluationOptions(), dataset)
    assert isinstance(measurement, Searching)
    assert measurement.best == MEAN_RECALL
    scores = evaluated(model, dataset).scores
    assert next(iter(scores)) == MEAN_RECALL
    assert list(scores) == list(measurement.names)
    with pytest.raises(UserError, match="is 'mean_recall', which is none of retrieval/mean_recall, "):
        measurement_of(model, EvaluationOptions(best="mean_recall"), dataset)
    assert scores[MEAN_RECALL]["signature"].startswith(f"retrieval|captions:2-5|images:{IMAGES - 1}|v:")
    whole = Shapes(train=20, val=3, test=1)
    batches = loader(whole, "val", model.process_images, 4, workers=0)
    measurement = measurement_of(model, EvaluationOptions(), whole)
    scores = measurement.score(measurement.predict(model, batches, "val", list, nothing), "val").scores
    assert scores[MEAN_RECALL]["signature"].startswith("retrieval|captions:5|images:3|v:")


def test_the_best_of_what_people_judged_is_what_agrees_with_them(model: TinyDualEncoder, dataset: Scenes) -> None:
    class JudgedScenes(Scenes):
        def records(self, split: str) -> list[Record]:
            judged = Judged(("a red circle", "a star"), comparisons=(Comparison(0, 1),))
            return [replace(record, metadata={**record.metadata, JUDGED: judged}) for record in super().records(split)]

    assert measurement_of(model, EvaluationOptions(), dataset).usual_best == MEAN_RECALL
    judged = JudgedScenes(train=20, val=IMAGES, test=1)
    assert measurement_of(model, EvaluationOptions(), judged).usual_best == "preference/accuracy"
