"""Agreement with people and with what is known to be true: by hand, for a reward model whose scores can be told."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import tiny
import torch
from PIL import Image

from rewards.function import FunctionReward
from rlcap.cli import main
from rlcap.data.base import CaptionDataset, Record
from rlcap.data.judged import Comparison, Judged, Ranking, Rating, Tie
from rlcap.data.judgements import Columns, JudgedCaptions
from rlcap.data.karpathy import Karpathy
from rlcap.data.loader import loader
from rlcap.data.shapes import SYNONYMS
from rlcap.errors import UserError
from rlcap.evaluation.evaluate import Evaluation, EvaluationOptions
from rlcap.evaluation.false_captions import KINDS, FalseCaptions
from rlcap.evaluation.judging import Judging
from rlcap.evaluation.kinds import measurement_of
from rlcap.models import ProcessImages
from rlcap.reward_models.base import REFERENCE_MEAN, RewardModel
from rlcap.types import Batch, Captions, Encoded


def brightness(images: Sequence[Image.Image]) -> torch.Tensor:
    return torch.tensor([np.asarray(image)[0, 0, 0] / 100 for image in images]).reshape(-1, 1, 1, 1).float()


class Words(RewardModel):
    """Scores a caption by its number of words times the image's brightness."""

    def __init__(self, sees: bool = True) -> None:
        super().__init__()
        self.needs_images = sees
        self.factor = torch.nn.Parameter(torch.ones(()))

    @property
    def process_images(self) -> ProcessImages:
        return brightness

    def encode(self, batch: Batch) -> Encoded:
        assert batch.pixel_values is not None
        return Encoded(self.factor * batch.pixel_values[:, :, :, 0])

    def tokenize(self, captions: Sequence[str], max_length: int) -> Captions:
        lengths = torch.tensor([len(caption.split()) for caption in captions])
        mask = torch.arange(max_length)[None] < lengths[:, None]
        return Captions(mask.long(), mask)

    def score(self, encoded: Encoded, captions: Captions) -> torch.Tensor:
        assert not self.training
        return encoded.states[:, 0, 0] * captions.mask.sum(dim=1)

    def save_files(self, directory: Path) -> None:
        settings = {"sees": self.needs_images, "factor": self.factor.item(), "shift": self.shift.item()}
        (directory / "settings.json").write_text(json.dumps(settings))

    @classmethod
    def load_files(cls, directory: Path) -> "Words":
        settings = json.loads((directory / "settings.json").read_text())
        model = cls(settings["sees"])
        with torch.no_grad():
            model.factor.fill_(settings["factor"])
            model.shift.fill_(settings["shift"])
        return model


ONE, TWO, THREE, FOUR = ("a dog", "a dog runs", "a dog runs fast", "a dog runs fast there")
JUDGED = Judged(
    (ONE, TWO, THREE, FOUR),
    comparisons=(Comparison(2, 0, weight=3.0), Comparison(0, 1)),
    ties=(Tie(0, 3),),
    ratings=(Rating(0, 2.0), Rating(0, 3.0), Rating(3, 4.0)),
    rankings=(Ranking((3, 1), weight=2.0),),
)
OTHERS = Judged(("a cat", "two cats sit"), ratings=(Rating(0, 1.0), Rating(1, 1.0)))


def few_words(captions: list[str]) -> list[float]:
    return [-len(caption.split()) for caption in captions]


class Photos(CaptionDataset):
    def __init__(self, judged: bool = True, references: bool = True) -> None:
        people: list[dict[str, Any]] = [{"judged": JUDGED}, {"judged": OTHERS}] if judged else [{}, {}]
        texts = [("a red dog runs and a blue cat sits", "a dog"), ("a small cat", "the cat sits on a mat"), ("a mat",)]
        self._records = [
            Record(f"photo-{row}", own if references else (), metadata=metadata)
            for row, (own, metadata) in enumerate(zip(texts, [*people, {}], strict=True))
        ]

    def records(self, split: str) -> Sequence[Record]:
        return self._records

    def open_image(self, record: Record) -> Image.Image:
        shade = {"photo-0": 100, "photo-1": 50, "photo-2": 200}[record.image_id]
        return Image.new("RGB", (2, 2), (shade, 0, 0))


def measured(
    model: RewardModel, dataset: CaptionDataset, options: EvaluationOptions | None = None, each: int = 2
) -> tuple[Judging, Evaluation]:
    measurement = measurement_of(model, options or EvaluationOptions(), dataset)
    assert isinstance(measurement, Judging)
    batches = loader(dataset, "val", model.process_images, each)
    model.train()
    predictions = measurement.predict(model, batches, "val", list, lambda images: None)
    assert model.training
    return measurement, measurement.score(predictions, "val")


def test_the_zero_that_was_measured_is_kept(tmp_path: Path) -> None:
    model = Words().eval()
    model.measured({REFERENCE_MEAN: 1.5})
    model.save(tmp_path)
    saved = Words.load_files(tmp_path).eval()
    encoded, captions = Encoded(torch.ones(1, 1, 1)), model.read(["a dog runs ."], 8)
    assert saved.reward(encoded, captions).item() == model.reward(encoded, captions).item() == 3 - 1.5


def test_agreement_with_people_is_that_by_hand() -> None:
    measurement, evaluation = measured(Words(), Photos())
    # 2 over 0 of weight 3 and right; 0 over 1, wrong; 3 over 1 of weight 2, right; 3 over 0 by ratings, right; the
    # second image's captions are rated alike
    assert evaluation.value("preference/accuracy") == pytest.approx(6 / 7)
    assert evaluation.statistics["preference/pairs"] == 4
    differences, weights = np.array([2.0, -1.0, 2.0, 3.0]), np.array([3.0, 1.0, 2.0, 1.0])
    probabilities = 1 / (1 + np.exp(-differences))
    brier = (weights * (1 - probabilities) ** 2).sum() / 7
    assert evaluation.statistics["preference/brier"] == pytest.approx(brier)
    # confidences 0.881 (twice), 0.731 (wrong) and 0.953 are in bins of their own
    error = 5 / 7 * (1 - probabilities[0]) + 1 / 7 * (1 - probabilities[1]) + 1 / 7 * (1 - probabilities[3])
    assert evaluation.statistics["preference/calibration_error"] == pytest.approx(error)
    scores, ratings = [2.0, 2.0, 5.0, 1.0, 1.5], [2.0, 3.0, 4.0, 1.0, 1.0]
    for kind in ("b", "c"):
        expected = scipy.stats.kendalltau(scores, ratings, variant=kind).statistic
        assert evaluation.value(f"preference/tau_{kind}") == pytest.approx(expected)
    assert evaluation.statistics["preference/ratings"] == 5
    assert measurement.usual_best == "preference/accuracy"
    assert evaluation.images == 3


def test_metrics_are_measured_on_the_same_captions() -> None:
    options = EvaluationOptions(metrics={"brevity": FunctionReward(few_words)})
    _, evaluation = measured(Words(), Photos(), options)
    numbers = {"accuracy", "tau_b", "tau_c"}
    for name in ("brevity", "CIDEr-D", "BLEU-4"):
        assert {f"{name}/{number}" for number in numbers} <= set(evaluation.scores)
    assert evaluation.value("brevity/accuracy") == pytest.approx(1 / 7)  # shorter is better: all the other way round
    taus = [scipy.stats.kendalltau([-2, -2, -5, -2, -3], [2, 3, 4, 1, 1], variant=kind).statistic for kind in "bc"]
    assert [evaluation.value("brevity/tau_b"), evaluation.value("brevity/tau_c")] == pytest.approx(taus)
    assert evaluation.scores["CIDEr-D/accuracy"]["signature"].startswith("accuracy|pairs:4|CIDEr-D|df:corpus")
    row = evaluation.predictions[3]
    assert {key: row[key] for key in ("image_id", "caption", "score", "rating", "better_than", "worse_than")} == {
        "image_id": "photo-0",
        "caption": FOUR,
        "score": 5.0,
        "rating": 4.0,
        "better_than": 2,
        "worse_than": 0,
    }
    assert set(row["metrics"]) == {"brevity", *EvaluationOptions().all_metrics}
    assert len(evaluation.predictions) == 6
    _, bare = measured(Words(), Photos(references=False), options)
    assert {name.partition("/")[0] for name in bare.scores} == {"preference", "brevity"}  # CIDEr-D needs references


def test_references_and_false_captions() -> None:
    measurement, evaluation = measured(Words(), Photos(judged=False))
    references = [9.0, 2.0, 1.5, 3.0, 4.0]  # words times brightness
    assert evaluation.statistics[REFERENCE_MEAN] == pytest.approx(np.mean(references))
    assert evaluation.statistics["reference/std"] == pytest.approx(np.std(references))
    assert measurement.usual_best == "matching/accuracy"
    model = Words()
    model.measured(evaluation.numbers)
    assert model.shift.item() == pytest.approx(np.mean(references))
    # more words score higher: the first photo's reference has the most, the last one's the fewest
    predictions = measurement.predict(Words(), loader(Photos(False), "val", brightness, 3), "val", list, lambda _: None)
    assert [own["references"][0] > own["other"][0] for own in predictions][::2] == [True, False]
    expected = np.mean([own["references"][0] > own["other"][0] for own in predictions])
    assert evaluation.value("matching/accuracy") == expected
    assert evaluation.statistics["corruption/repeat_words"] == 0.0
    assert evaluation.statistics["corruption/truncate"] == 1.0
    assert evaluation.statistics["corruption/shuffle_words"] == 0.5  # equal scores are half right
    assert [row["caption"] for row in evaluation.predictions] == [own.references[0] for own in Photos().records("val")]

    blind, evaluation = measured(Words(sees=False), Photos(judged=False))
    assert blind.usual_best == "corruption/accuracy"
    assert "matching/accuracy" not in evaluation.scores
    assert "corruption/accuracy" in evaluation.scores


def test_batches_play_no_part() -> None:
    (_, one), (_, other) = measured(Words(), Photos(), each=1), measured(Words(), Photos(), each=3)
    assert one.numbers == other.numbers
    assert one.predictions == other.predictions


def test_the_same_caption_of_another_image_is_not_false() -> None:
    class Alike(Photos):
        def records(self, split: str) -> Sequence[Record]:
            return [
                Record("photo-0", ("A dog", "a cat")),
                Record("photo-1", ("a  dog",)),
                Record("photo-2", ("a cat",)),
            ]

    measurement = Judging(Words(), EvaluationOptions(), Alike())
    predictions = measurement.predict(Words(), loader(Alike(), "val", brightness, 3), "val", list, lambda _: None)
    assert [len(own["other"]) for own in predictions] == [0, 1, 1]


def test_what_means_the_same_in_the_data_set_is_not_false() -> None:
    class Square(Photos):
        def records(self, split: str) -> Sequence[Record]:
            return [Record("photo-0", ("a square",)), Record("photo-1", ("a box",))]

    dataset = Square()
    for synonyms, made in (((), [["a box"], ["a square"]]), (SYNONYMS, [[], []])):
        dataset.synonyms = synonyms
        false = FalseCaptions(dataset.records("val"), synonyms)
        own = [false.corrupted(record.image_id, record.references) for record in dataset.records("val")]
        assert [each["replace_object"] for each in own] == made
        predictions = Judging(Words(), EvaluationOptions(), dataset).predict(
            Words(), loader(dataset, "val", brightness, 2), "val", list, lambda _: None
        )
        assert [len(each["replace_object"]) for each in predictions] == list(map(len, made))
        assert all(each["repeat_words"] for each in predictions)


def test_a_number_that_there_will_not_be_is_said_at_once() -> None:
    metrics = {"brevity": FunctionReward(few_words)}
    for dataset in (Photos(), Photos(judged=False), Photos(references=False)):
        measurement, evaluation = measured(Words(), dataset, EvaluationOptions(metrics=metrics))
        if all(record.references for record in dataset.records("val")):
            assert list(measurement.names) == list(evaluation.scores)
        assert set(evaluation.scores) <= set(measurement.names)
        for name in evaluation.scores:
            assert measurement_of(Words(), EvaluationOptions(metrics=metrics, best=name), dataset).best == name
    for name, dataset in (
        ("preference/acuracy", Photos()),
        ("preference/accuracy", Photos(judged=False)),
        ("CIDEr-D/tau_c", Photos(references=False)),
    ):
        with pytest.raises(UserError, match=f"evaluation.best is '{name}', which is none of "):
            measurement_of(Words(), EvaluationOptions(best=name), dataset)
    with pytest.raises(UserError, match="is 'matching/accuracy', which is none of corruption/accuracy"):
        measurement_of(Words(sees=False), EvaluationOptions(best="matching/accuracy"), Photos(judged=False))


def test_scores_that_are_all_alike_or_no_numbers() -> None:
    model = Words()
    torch.nn.init.zeros_(model.factor)
    _, evaluation = measured(model, Photos())
    assert evaluation.value("preference/accuracy") == 0.5
    assert evaluation.value("preference/tau_c") == 0.0
    torch.nn.init.constant_(model.factor, float("nan"))
    with pytest.raises(UserError, match="a caption of image photo-0 scores no finite number: lower the learning rate"):
        measured(model, Photos())


def test_published_agreement_on_flickr8k_expert(real_data: Path) -> None:
    images = Karpathy(real_data / "flickr8k" / "dataset_flickr8k.json.gz", real_data / "flickr8k" / "images")
    judgements = real_data / "human" / "flickr8k_expert.csv"
    dataset = JudgedCaptions(judgements, images, columns=Columns(where=("caption_is_own_reference=0",)))
    predictions = [
        {
            "image_id": record.image_id,
            "references": [0.0] * len(record.references),
            "judged": [float(len(caption)) for caption in record.metadata["judged"].captions],
            **{name: [] for name in ("other", *KINDS)},
        }
        for record in dataset.records("test")
    ]
    evaluation = Judging(Words(), EvaluationOptions(), dataset).score(predictions, "test")
    assert (evaluation.images, len(evaluation.predictions)) == (1000, 5664)
    assert evaluation.statistics["preference/ratings"] == 16_992
    # Published with one decimal (Hessel et al. 2021, table 1), CIDEr-D with other document frequencies.
    assert 100 * evaluation.value("CIDEr-D/tau_c") == pytest.approx(43.9, abs=0.2)
    assert 100 * evaluation.value("BLEU-4/tau_c") == pytest.approx(30.8, abs=0.05)
    assert 100 * evaluation.value("ROUGE-L/tau_c") == pytest.approx(32.3, abs=0.05)
    lengths = [own for row in predictions for own in row["judged"] for _ in range(3)]
    ratings = [
        rating.value
        for record in dataset.records("test")
        for rating in sorted(record.metadata["judged"].ratings, key=lambda own: own.caption)
    ]
    expected = scipy.stats.kendalltau(lengths, ratings, variant="c").statistic
    assert evaluation.value("preference/tau_c") == pytest.approx(expected)


def test_runs_are_measured_evaluated_and_reported(tmp_path: Path) -> None:
    made = tiny.judged(tiny.PREFERENCES["bradley_terry"], steps=2, evaluate_every=1)
    file, run = str(tiny.write(tmp_path / "config.yaml", made)), tmp_path / "run"
    main(["train", "--config", file, "--output", str(run)])
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    accuracies = {row["step"]: row["val/preference/accuracy"] for row in rows if "val/preference/accuracy" in row}
    best = json.loads((run / "checkpoints" / "best.json").read_text())["step"]
    assert accuracies[best] == max(accuracies.values())
    written = json.loads((run / "evaluation" / "test" / "scores.json").read_text())
    main(["evaluate", str(run), "--output", str(tmp_path / "again"), "--workers", "0"])
    again = json.loads((tmp_path / "again" / "scores.json").read_text())
    assert again["scores"] == written["scores"]
    assert again["statistics"] == pytest.approx(written["statistics"])
    main(["report", str(run), "--output", str(tmp_path / "report")])
    report = (tmp_path / "report" / "report.md").read_text()
    assert "| preference/accuracy" in report
    assert "repeat an image" not in report
