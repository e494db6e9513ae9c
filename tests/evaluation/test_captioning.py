"""A captioner is measured by its captions; what is drawn besides, what is known of images, and what is new."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from rewards.diversity import diversity_statistics
from rewards.tokenize import ptb_tokenize
from rlcap.data.base import CaptionDataset, Record, read_image
from rlcap.data.loader import loader
from rlcap.data.shapes import Shapes
from rlcap.errors import UserError
from rlcap.evaluation.evaluate import EvaluationOptions, write_thumbnails
from rlcap.evaluation.measurement import Captioning
from rlcap.policies.backbone_decoder import DecoderSettings
from rlcap.policies.base import Decoding
from rlcap.policies.tiny import TinyViT
from rlcap.types import Batch, Encoded

IMAGES, SAMPLES = 7, 3


@pytest.fixture(scope="module")
def dataset() -> Shapes:
    return Shapes(train=20, val=IMAGES, test=1)


class CountedViT(TinyViT):
    """Counts the images it encodes."""

    encoded = 0

    def encode(self, batch: Batch) -> Encoded:
        self.encoded += len(batch)
        return super().encode(batch)


@pytest.fixture
def policy(dataset: Shapes) -> CountedViT:
    torch.manual_seed(0)
    made = CountedViT(
        encoder_width=16, encoder_layers=1, heads=2, decoder=DecoderSettings(width=16, layers=1, heads=2, min_count=1)
    )
    made.prepare([record.references for record in dataset.records("train")])
    return made


def predicted(
    policy: CountedViT, dataset: Shapes, images_per_batch: int = 4, **options: Any
) -> tuple[Captioning, list[dict[str, Any]]]:
    measurement = Captioning(policy, EvaluationOptions(**options), dataset)
    batches = loader(dataset, "val", policy.process_images, images_per_batch, workers=0)
    return measurement, measurement.predict(policy, batches, "val", list, lambda images: None)


def test_samples_are_drawn_besides_and_tell_how_diverse_captions_are(
    policy: CountedViT, dataset: Shapes, tmp_path: Path
) -> None:
    _, alone = predicted(policy, dataset)
    assert not any("samples" in row for row in alone)
    policy.encoded = 0
    measurement, rows = predicted(policy, dataset, diversity_samples=SAMPLES)
    assert policy.encoded == IMAGES
    assert [{**row, "samples": ...} for row in rows] == [{**row, "samples": ...} for row in alone]
    assert [len(row["samples"]) for row in rows] == [SAMPLES] * IMAGES
    assert rows == predicted(policy, dataset, images_per_batch=3, diversity_samples=SAMPLES)[1]

    evaluation = measurement.score(rows, "val")
    samples = [ptb_tokenize(row["samples"]) for row in rows]
    expected = diversity_statistics(samples, [ptb_tokenize(row["references"]) for row in rows])
    assert len(expected) == 8
    assert {name: evaluation.statistics[name] for name in expected} == expected
    assert 0 < evaluation.statistics["self_cider"] < 1
    assert not expected.keys() & Captioning(policy, EvaluationOptions(), dataset).score(alone, "val").statistics.keys()
    evaluation.write(tmp_path)
    written = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [row["samples"] for row in written] == [row["samples"] for row in rows]


def test_samples_are_other_draws_than_a_sampled_caption(policy: CountedViT, dataset: Shapes) -> None:
    _, rows = predicted(policy, dataset, decoding=Decoding(temperature=1.0), diversity_samples=2)
    assert any(row["caption"] != row["samples"][0] for row in rows)
    with pytest.raises(UserError, match=r"diversity_samples must be 0 \(off\) or at least 2, .* got 1"):
        EvaluationOptions(diversity_samples=1)


def test_predictions_say_what_the_data_set_knows(policy: CountedViT, dataset: Shapes) -> None:
    measurement, rows = predicted(policy, dataset)
    scenes = {record.image_id: record.metadata["scene"] for record in dataset.records("val")}
    for row in measurement.score(rows, "val").predictions:
        objects = scenes[row["image_id"]]["objects"]
        assert row["metadata"]["objects"] == len(objects)
        assert row["metadata"]["categories"] == sorted({item["shape"] for item in objects})


class Known(CaptionDataset):
    """Two photos to measure on, and perhaps training captions."""

    def __init__(self, training: Sequence[str] | None) -> None:
        self.training = training

    def records(self, split: str) -> Sequence[Record]:
        if split == "train" and self.training is not None:
            return (Record("x", tuple(self.training)),)
        if split == "train":
            raise UserError("no split 'train'; there is test")
        return (Record("a", ("a dog",)), Record("b", ("a cat",)))

    def open_image(self, record: Record) -> Image.Image:
        return Image.new("RGB", (8, 8)) if record.path is None else super().open_image(record)


@pytest.mark.parametrize(
    ("training", "novel"),
    [(["A dog, runs."], 0.5), (["a cat"], 1.0), (["a dog runs", "Two cats."], 0.0), ([], None), (None, None)],
)
def test_new_captions_are_those_that_nobody_taught(
    policy: CountedViT, training: Sequence[str] | None, novel: float | None
) -> None:
    rows = [
        {"image_id": image, "caption": caption, "ended": image == "a", "references": ["a dog"]}
        for image, caption in (("a", "a dog runs"), ("b", "two cats"))
    ]
    evaluation = Captioning(policy, EvaluationOptions(), Known(training)).score(rows, "test")
    assert evaluation.statistics.get("novel_captions") == novel
    assert evaluation.statistics["ended_rate"] == 0.5
    assert not any("metadata" in row for row in evaluation.predictions)


def test_thumbnails_are_large_enough_to_look_at(tmp_path: Path) -> None:
    Image.new("RGB", (1000, 500), "red").save(tmp_path / "wide.png")
    Image.new("RGB", (100, 200), "red").save(tmp_path / "small.png")

    class Photos(Known):
        def records(self, split: str) -> Sequence[Record]:
            return [
                replace(record, path=tmp_path / name)
                for record, name in zip(super().records(split), files, strict=True)
            ]

    files = ("wide.png", "small.png")
    write_thumbnails(Photos(None), "test", tmp_path / "images", EvaluationOptions().thumbnails)
    sizes = {path.stem: read_image(path).size for path in (tmp_path / "images").iterdir()}
    assert sizes == {"a": (256, 128), "b": (100, 200)}
