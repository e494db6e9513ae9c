"""Contrastive learning: the gradient of the plain formula, however a step is spread, and something learned from it."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from accelerate import Accelerator
from resuming import assert_resumed_equals_whole
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from rlcap.algorithms.base import Scorer, Total
from rlcap.algorithms.contrastive import InfoNCE, Triplet
from rlcap.algorithms.embedded_captions import Contrast, Contrastive, image_number
from rlcap.data.negatives import Corruptions
from rlcap.data.shapes import SYNONYMS, Shapes
from rlcap.functional.contrastive import MAX_LOGIT_SCALE, NO_IMAGE, Negatives, SeveralPositives
from rlcap.reward_models.visual_semantic import Heads, PatchEncoder, TinyDualEncoder
from rlcap.reward_models.words import WordEncoder
from rlcap.training import TrainingOptions
from rlcap.training.processes import Processes
from rlcap.training.sharding import FullySharded
from rlcap.types import Batch, UserError

IMAGES = 6
KEY = (0, 1)
SCENES = Shapes(train=IMAGES, val=1, test=1)
REFERENCES = [record.references for record in SCENES.records("train")]
Make = Callable[[TinyDualEncoder], Contrastive]
MAKERS: dict[str, Make] = {
    "info_nce": lambda model: InfoNCE(model, 2, SeveralPositives.MASKED, Corruptions(2, synonyms=SYNONYMS)),
    "info_nce_shared": lambda model: InfoNCE(model, 3, SeveralPositives.SHARED),
    "triplet": lambda model: Triplet(model, 0.2, Negatives.HARDEST, 2, Corruptions(1)),
    "triplet_all": lambda model: Triplet(model, 0.2, Negatives.ALL, 2),
    "triplet_random": lambda model: Triplet(model, 0.2, Negatives.RANDOM, 2),
}


def dual_encoder(dropout: float = 0.0) -> TinyDualEncoder:
    torch.manual_seed(0)
    model = TinyDualEncoder(
        32,
        PatchEncoder(width=16, layers=1, heads=2),
        WordEncoder(width=16, layers=1, heads=2, dropout=dropout, min_count=1),
        Heads(width=8, hidden=16, dropout=dropout),
    )
    model.prepare(REFERENCES)
    return model


def made(make: Make, dropout: float = 0.0) -> Contrastive:
    algorithm = make(dual_encoder(dropout))
    algorithm.prepare(REFERENCES)
    return algorithm.double().train()


@pytest.fixture(scope="module")
def batch() -> Batch:
    """The images; the third is there twice."""
    records = [*SCENES.records("train"), SCENES.records("train")[2]]
    pixel_values = dual_encoder().process_images([SCENES.open_image(record) for record in records])
    references = tuple(tuple(record.references) for record in records)
    return Batch(tuple(record.image_id for record in records), references, pixel_values.double())


def acted(algorithm: Contrastive, batch: Batch, key: tuple[int, ...] = KEY) -> Contrast:
    return algorithm.act(batch, Scorer(algorithm.model, None), key)


def gradient(algorithm: Contrastive, rollouts: Sequence[Contrast]) -> tuple[float, dict[str, Tensor]]:
    """The loss of a step and its gradient, as the loop adds them up."""
    weighed = algorithm.weigh(rollouts, Total())
    units: dict[str, float] = {}
    for rollout in weighed:
        for name, count in algorithm.units(rollout).items():
            units[name] = units.get(name, 0.0) + count
    algorithm.zero_grad()
    value = 0.0
    for rollout in weighed:
        loss = algorithm.loss(rollout).mean(units)
        loss.backward()
        value += float(loss.detach())
    return value, {
        name: parameter.grad.clone() for name, parameter in algorithm.named_parameters() if parameter.grad is not None
    }


def in_parts(algorithm: Contrastive, batch: Batch, sizes: Sequence[int]) -> list[Contrast]:
    """What acting leaves without a graph, on micro-batches of these sizes."""
    with torch.no_grad():
        parts = torch.arange(len(batch)).split(list(sizes))
        return [acted(algorithm, batch.select(rows)) for rows in parts]


def test_info_nce_is_clips_loss(batch: Batch) -> None:
    """Value and gradient by autograd on the plain formula; float64, so 1e-10."""
    distinct = batch.select(torch.arange(IMAGES))
    algorithm = made(lambda model: InfoNCE(model))
    rollout = acted(algorithm, distinct)
    value, learned = gradient(algorithm, [rollout])

    model = algorithm.model
    algorithm.zero_grad()
    images = normalize(model.embed_images(distinct), dim=-1)
    texts = normalize(model.embed_texts(rollout.captions), dim=-1)
    logits = model.logit_scale.exp() * images @ texts.T
    own = torch.arange(IMAGES)
    plain = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
    plain.backward()
    assert value == pytest.approx(float(plain.detach()), rel=1e-10)
    expected = {name: each.grad for name, each in algorithm.named_parameters() if each.grad is not None}
    assert learned.keys() == expected.keys()
    assert any("logit_scale" in name for name in learned)
    for name, slope in expected.items():
        torch.testing.assert_close(learned[name], slope, rtol=1e-8, atol=1e-10)


def test_triplets_are_hinges_on_the_hardest(batch: Batch) -> None:
    distinct = batch.select(torch.arange(IMAGES))
    algorithm = made(lambda model: Triplet(model, margin=0.3))
    rollout = acted(algorithm, distinct)
    value, learned = gradient(algorithm, [rollout])
    images, texts = (normalize(each.detach(), dim=-1) for each in (rollout.pairs.images, rollout.pairs.texts))
    cosines = (images @ texts.T).tolist()
    expected = 0.0
    for row in range(IMAGES):
        others = [place for place in range(IMAGES) if place != row]
        expected += max(0.0, 0.3 - cosines[row][row] + max(cosines[row][place] for place in others))
        expected += max(0.0, 0.3 - cosines[row][row] + max(cosines[place][row] for place in others))
    assert value == pytest.approx(expected / IMAGES, rel=1e-10)
    assert not any("logit_scale" in name for name in learned)
    assert all(bool(slope.abs().sum() > 0) for slope in learned.values())


@pytest.mark.parametrize("name", MAKERS)
def test_parts_add_up_to_the_whole(name: str, batch: Batch) -> None:
    """Micro-batches of unequal sizes have the loss and gradient of one batch, an image in two of them; float64."""
    algorithm = made(MAKERS[name])
    value, expected = gradient(algorithm, [acted(algorithm, batch)])
    parts = in_parts(algorithm, batch, (2, 1, 4))
    assert not parts[0].pairs.images.requires_grad
    split, learned = gradient(algorithm, parts)
    assert learned.keys() == expected.keys()
    if name != "triplet_random":  # whose loss is reported of other draws than the gradient's
        assert split == pytest.approx(value, rel=1e-10)
    for key, slope in expected.items():
        torch.testing.assert_close(learned[key], slope, rtol=1e-8, atol=1e-10)


def test_dropout_leaves_out_the_same_when_embedding_again(batch: Batch) -> None:
    algorithm = made(MAKERS["info_nce"], dropout=0.5)
    assert algorithm.dropout
    first, again, other = acted(algorithm, batch), acted(algorithm, batch), acted(algorithm, batch, (0, 2))
    torch.testing.assert_close(again.pairs.texts, first.pairs.texts, rtol=0, atol=0)
    assert not torch.allclose(other.pairs.images, first.pairs.images)
    state = torch.get_rng_state()
    value, expected = gradient(algorithm, [first])
    kept = replace(first, pairs=first.pairs.detach())
    embedded_again, learned = gradient(algorithm, [kept])
    assert embedded_again == pytest.approx(value, rel=1e-6)
    for name, slope in expected.items():
        torch.testing.assert_close(learned[name], slope, rtol=1e-5, atol=1e-7)
    assert torch.equal(torch.get_rng_state(), state)


def test_captions_are_drawn_anew_and_made_wrong(batch: Batch) -> None:
    algorithm = made(MAKERS["info_nce"])
    one, two = acted(algorithm, batch), acted(algorithm, batch, (0, 2))
    assert len(one.captions) == 2 * len(batch)
    assert one.captions_per_image == 2
    assert one.captions.token_ids.shape != two.captions.token_ids.shape or not torch.equal(
        one.captions.token_ids, two.captions.token_ids
    )
    pairs = one.pairs
    assert pairs.image_ids.tolist() == [image_number(image_id) for image_id in batch.image_ids]
    assert pairs.image_ids[6] == pairs.image_ids[2]
    assert len(set(pairs.image_ids.tolist())) == IMAGES
    assert pairs.text_ids[: len(one.captions)].tolist() == pairs.image_ids.repeat_interleave(2).tolist()
    wrong = pairs.text_ids[len(one.captions) :]
    assert len(one.captions) < len(wrong) <= 2 * len(one.captions)
    assert set(wrong.tolist()) == {NO_IMAGE}
    own = {
        frozenset(algorithm.model.tokenize(references, 64).token_ids.flatten().tolist()) for references in REFERENCES
    }
    assert own
    stats = algorithm.loss(one).stats
    image = normalize(pairs.images, dim=-1).repeat_interleave(2, dim=0)
    cosines = image @ normalize(pairs.texts, dim=-1).T
    told_apart = [
        cosines[source, source] > cosines[source, len(one.captions) + row]
        for row, source in enumerate(one.sources.tolist())
    ]
    expected = sum(map(bool, told_apart)) / len(told_apart)
    assert float(stats["contrastive/hard_negative_accuracy"]) == pytest.approx(expected, abs=1e-6)


def test_a_step_without_a_hard_negative_has_no_accuracy_of_them(batch: Batch) -> None:
    corruptions = Corruptions(1, kinds=("swap_attributes",))
    algorithm = made(lambda model: InfoNCE(model, corruptions=corruptions))
    bare = replace(batch, references=(("a red circle",),) * len(batch))  # of which nothing can be exchanged
    rollout = acted(algorithm, bare)
    stats, counts = algorithm.loss(rollout).stats, algorithm.counts(rollout)
    means = Processes(Accelerator(cpu=True)).means([stats], [dict.fromkeys(stats, 1.0) | dict(counts)])
    assert set(stats) - set(means) == {"contrastive/hard_negative_accuracy"}
    assert all(map(math.isfinite, means.values()))


def test_the_temperature_stops_where_clips_does() -> None:
    algorithm = made(lambda model: InfoNCE(model))
    parameter = next(each for name, each in algorithm.named_parameters() if name.endswith("logit_scale"))
    for value, kept in ((5.0, MAX_LOGIT_SCALE), (1.0, 1.0)):
        with torch.no_grad():
            parameter.fill_(value)
        algorithm.learned({})
        assert float(parameter.detach()) == pytest.approx(kept)


def test_mistakes(batch: Batch) -> None:
    model = dual_encoder()
    with pytest.raises(UserError, match="captions_per_image must be at least 1, got 0"):
        InfoNCE(model, captions_per_image=0)
    with pytest.raises(UserError, match="margin must be above 0, got 0"):
        Triplet(model, margin=0.0)
    with pytest.raises(UserError, match=r"corruptions.per_caption must be 0 \(off\) or more, got -1"):
        Corruptions(-1)
    with pytest.raises(UserError, match="call prepare with the training references"):
        acted(MAKERS["info_nce"](model), batch)
    with pytest.raises(UserError, match="image one has no reference captions to learn from"):
        acted(InfoNCE(model), Batch(("one",), ((),), torch.zeros(1, 3, 32, 32)))


def test_a_temperature_cannot_be_shared_out() -> None:
    algorithm = made(lambda model: InfoNCE(model))
    optimizer = torch.optim.SGD(algorithm.parameters())
    with pytest.raises(UserError, match=r"cannot share out a single number, such as model.model.logit_scale: take DDP"):
        FullySharded(Accelerator()).prepare(algorithm, optimizer, TrainingOptions(kl_every=0))


# --- in the loop


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", tiny.CONTRASTIVE)
def test_one_batch_of_eight_learns_as_eight_batches_of_one(name: str, tmp_path: Path) -> None:
    states, records = [], []
    for run, (images, accumulate) in {"whole": (8, 1), "parts": (1, 8)}.items():
        config = tiny.contrastive(tiny.CONTRASTIVE[name], steps=2, images_per_batch=images, accumulate=accumulate)
        config["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
        config["evaluation"]["test"] = None
        trainer = tiny.trainer(tmp_path, config, run)
        trainer.run()
        states.append(trainer.algorithm.state_dict())
        records.append([row for row in rows(tmp_path / run) if "gradient/norm" in row])
    for key, value in states[0].items():
        # float32 sums in another order; SGD passes their difference on unamplified
        torch.testing.assert_close(states[1][key], value, rtol=1e-4, atol=1e-6)
    for whole, parts in zip(*records, strict=True):
        for key, number in whole.items():
            assert parts[key] == pytest.approx(number, rel=1e-4, abs=1e-6), key


def test_a_resumed_run_is_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny.contrastive(tiny.CONTRASTIVE["info_nce"], steps=4, checkpoint_every=2, images_per_batch=4)
    config["reward_model"] = json.loads(json.dumps(tiny.DUAL_ENCODER).replace('"dropout": 0.0', '"dropout": 0.2'))
    config["data"] = {**tiny.DATA, "init_args": {"train": 12, "val": 2, "test": 2}}
    assert_resumed_equals_whole(config, tmp_path, falls_at=4, patch=monkeypatch)


def test_what_is_recorded_is_documented(tmp_path: Path) -> None:
    config = tiny.contrastive(tiny.CONTRASTIVE["info_nce"], steps=2)
    tiny.trainer(tmp_path, config).run()
    documented = Path(__import__("rlcap.training.recorder", fromlist=["x"]).__file__).read_text()
    recorded = [row for row in rows(tmp_path / "run") if "gradient/norm" in row]
    for key in recorded[0]:
        assert key in documented, f"{key} is not documented"
    assert recorded[0]["contrastive/temperature"] == pytest.approx(0.07, rel=1e-4)  # CLIP's at first
    # so many captions, and more negatives, are equally probable at first
    assert recorded[0]["loss/text_to_image"] == pytest.approx(math.log(8), rel=0.5)


@pytest.mark.slow
def test_it_learns_to_find_captions(tmp_path: Path) -> None:
    config = tiny.contrastive(tiny.CONTRASTIVE["info_nce_shared"], steps=150, images_per_batch=24)
    config["data"] = {**tiny.DATA, "init_args": {"train": 480, "val": 40, "test": 40}}
    evaluation = tiny.trainer(tmp_path, config).run()
    assert evaluation is not None
    chance = 10 / 40  # that a caption finds its image; of 200 captions, with a standard deviation of 0.03
    assert evaluation.numbers["retrieval/text_to_image/recall@10"] > 1.6 * chance
