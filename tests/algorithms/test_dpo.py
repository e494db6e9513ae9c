"""DPO: its loss and gradient by hand, what is drawn, and that a policy learns what simulated people prefer."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from enumeration import assert_same_gradient, gradient
from resuming import assert_resumed_equals_whole

from rlcap.algorithms.base import Scorer, Total
from rlcap.algorithms.dpo import DPO, IPO
from rlcap.data.judged import Comparison, Judged, Ranking, Rating, Tie, comparisons_of
from rlcap.data.people import BradleyTerry, Crowd
from rlcap.data.shapes import Shapes
from rlcap.data.simulated import choices, write_judged
from rlcap.policies.base import Policy
from rlcap.policies.reference import Reference
from rlcap.types import Batch, Loss, Rollout, UserError

SCENES = {"train": 48, "val": 6, "test": 4}


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    config = tiny.experiment(tiny.TEACHER_FORCING, steps=1)
    return tiny.trainer(tmp_path, config).algorithm.policy.eval()


def batch_of(policy: Policy, *judged: Judged | None) -> Batch:
    shapes = Shapes(**SCENES)
    records = shapes.records("train")[: len(judged)]
    pixels = policy.process_images([shapes.open_image(record) for record in records])
    metadata = tuple({} if own is None else {"judged": own} for own in judged)
    ids = tuple(record.image_id for record in records)
    return Batch(ids, tuple(record.references for record in records), pixel_values=pixels, metadata=metadata)


RED, BLUE, GREEN = "a red circle", "a small blue square", "a large green star above a red square"
FIRST = Judged((RED, BLUE), comparisons=(Comparison(1, 0, weight=2.0),))
SECOND = Judged((GREEN, BLUE, RED), rankings=(Ranking((0, 2, 1)),))


def rolled(algorithm: DPO, batch: Batch, key: tuple[int, ...] = (0, 1)) -> Rollout:
    return algorithm.act(batch, Scorer(algorithm.policy, None), key).settled()


def mean(algorithm: DPO, rollout: Rollout) -> torch.Tensor:
    loss: Loss = algorithm.loss(rollout)
    value: torch.Tensor = loss.mean(algorithm.units(rollout))
    return value


def moved(policy: Policy) -> Policy:
    """The policy, a little changed."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return policy


def test_at_the_start_it_is_log_2(policy: Policy) -> None:
    algorithm = DPO(policy, comparisons_per_image=3)
    algorithm.reference = Reference(policy)
    rollout = rolled(algorithm, batch_of(policy, FIRST, SECOND))
    assert mean(algorithm, rollout).item() == pytest.approx(math.log(2), rel=1e-6)
    stats = algorithm.loss(rollout).stats
    assert stats["preference/margin"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kind", ["dpo", "ipo"])
def test_loss_and_gradient_are_the_formulas(policy: Policy, kind: str) -> None:
    algorithm = DPO(policy, beta=0.3, comparisons_per_image=1) if kind == "dpo" else IPO(policy, 0.3, 1)
    algorithm.reference = Reference(policy)
    batch = batch_of(policy, FIRST)
    with torch.no_grad():
        tokens = policy.tokenize([BLUE, RED], 30)
        start = policy.logprobs(policy.encode(batch).repeat(2), tokens).sum(dim=1)
    moved(policy)
    rollout = rolled(algorithm, batch)
    assert policy.detokenize(rollout.captions) == [BLUE, RED]  # the preferred one first

    now = policy.logprobs(policy.encode(batch).repeat(2), tokens).sum(dim=1)
    ratio = (now[0] - start[0]) - (now[1] - start[1])
    expected = -torch.log(torch.sigmoid(0.3 * ratio)) if kind == "dpo" else (ratio - 1 / 0.6) ** 2
    learned = mean(algorithm, rollout)
    assert learned.item() == pytest.approx(expected.item(), rel=1e-4)
    assert_same_gradient(gradient(learned, policy), gradient(expected, policy))
    stats = algorithm.loss(rollout).stats
    assert stats["preference/margin"].item() == pytest.approx(0.3 * ratio.item(), rel=1e-3)
    assert stats["preference/accuracy"].item() == float(ratio > 0)


def test_words_that_the_policy_does_not_know_are_no_obstacle(policy: Policy) -> None:
    algorithm = DPO(policy, comparisons_per_image=1)
    algorithm.reference = Reference(policy)
    strange = Judged(("a zebra on a tandem", RED), comparisons=(Comparison(0, 1),))
    assert mean(algorithm, rolled(algorithm, batch_of(policy, strange))).item() == pytest.approx(math.log(2), rel=1e-6)


def test_weights_count_and_units_are_their_sum(policy: Policy) -> None:
    algorithm = DPO(policy, comparisons_per_image=1)
    algorithm.reference = Reference(policy)
    moved(policy)
    ranked = Judged((GREEN, BLUE), rankings=(Ranking((0, 1)),))
    both = rolled(algorithm, batch_of(policy, FIRST, ranked))
    assert algorithm.units(both) == {"policy": 3.0}
    alone = [rolled(algorithm, batch_of(policy, FIRST)), rolled(algorithm, both.batch.select(torch.tensor([1])))]
    first, second = (mean(algorithm, rollout).item() for rollout in alone)
    assert mean(algorithm, both).item() == pytest.approx((2 * first + second) / 3, rel=1e-5)


def test_an_image_with_ties_alone_teaches_nothing(policy: Policy) -> None:
    algorithm = DPO(policy, comparisons_per_image=2)
    algorithm.reference = Reference(policy)
    moved(policy)
    alone = rolled(algorithm, batch_of(policy, FIRST))
    beside = rolled(algorithm, batch_of(policy, FIRST, Judged((RED, BLUE), ties=(Tie(0, 1),))))
    assert mean(algorithm, beside).item() == pytest.approx(mean(algorithm, alone).item(), rel=1e-5)
    assert algorithm.counts(beside)["preference/accuracy"] == 2
    for name, value in algorithm.loss(alone).stats.items():
        assert algorithm.loss(beside).stats[name].item() == pytest.approx(value.item(), rel=1e-5), name


def test_a_micro_batch_of_ties_alone_teaches_nothing_beside_another(policy: Policy) -> None:
    algorithm = DPO(policy, comparisons_per_image=2, teacher_forcing=0.1)
    algorithm.reference = Reference(policy)
    tied = rolled(algorithm, batch_of(policy, Judged((RED, BLUE), ties=(Tie(0, 1),))))
    assert len(algorithm.weigh([tied, rolled(algorithm, batch_of(policy, FIRST))], Total())) == 2
    loss = algorithm.loss(tied)
    assert all(not total for total in loss.totals.values())
    assert all(not value for value in loss.stats.values())


def test_teacher_forcing_adds_the_cross_entropy_of_the_chosen_captions(policy: Policy) -> None:
    plain, forced = DPO(policy, comparisons_per_image=1), DPO(policy, comparisons_per_image=1, teacher_forcing=0.3)
    plain.reference = forced.reference = Reference(policy)
    moved(policy)
    rollout = rolled(plain, batch_of(policy, FIRST, Judged((GREEN, BLUE), rankings=(Ranking((0, 1)),))))
    chosen = rollout.captions.select(torch.tensor([0, 2]))
    logprobs = policy.logprobs(policy.encode(rollout.batch), chosen).sum(dim=1) / chosen.mask.sum(dim=1)
    expected = -(2 * logprobs[0] + logprobs[1]) / 3  # the first image's comparison has a weight of 2
    assert mean(forced, rollout).item() == pytest.approx((mean(plain, rollout) + 0.3 * expected).item(), rel=1e-5)


def test_what_is_compared() -> None:
    judged = Judged(
        (RED, BLUE, GREEN),
        comparisons=(Comparison(0, 1),),
        ties=(Tie(0, 2),),
        ratings=(Rating(0, 3.0), Rating(2, 1.0), Rating(1, 2.8)),
        rankings=(Ranking((2, 0)),),
    )
    pairs = [(comparison.winner, comparison.loser) for comparison in comparisons_of(judged, 0.5)]
    assert sorted(pairs) == [(0, 1), (0, 2), (1, 2), (2, 0)]
    assert (0, 1) not in [pair[:2] for pair in judged.rated_comparisons(0.5)]


def test_draws_follow_from_the_key_and_repeat_where_there_are_few(policy: Policy) -> None:
    algorithm = DPO(policy, comparisons_per_image=4)
    algorithm.reference = Reference(policy)
    batch = batch_of(policy, FIRST, SECOND)
    texts = [policy.detokenize(rolled(algorithm, batch, (0, step)).captions) for step in range(1, 6)]
    assert all(text[:8] == [BLUE, RED] * 4 for text in texts)  # the first image's one comparison
    pairs = {(GREEN, RED), (GREEN, BLUE), (RED, BLUE)}
    for text in texts:
        drawn = list(zip(text[8::2], text[9::2], strict=True))
        assert set(drawn) == pairs
        assert drawn[0] == drawn[3]
    assert len({tuple(text) for text in texts}) > 1
    assert policy.detokenize(rolled(algorithm, batch, (0, 1)).captions) == texts[0]


def test_mistakes(policy: Policy) -> None:
    for settings, message in [
        ({"beta": 0.0}, "beta must be above 0"),
        ({"smoothing": 0.5}, r"smoothing must be in \[0, 0.5\)"),
        ({"comparisons_per_image": 0}, "comparisons_per_image must be at least 1"),
        ({"margin": 0.0}, "margin must be above 0"),
    ]:
        with pytest.raises(UserError, match=message):
            DPO(policy, **settings)  # type: ignore[arg-type]
    algorithm = DPO(policy)
    algorithm.reference = Reference(policy)
    with pytest.raises(UserError, match=r"nobody judged captions of image .*JudgedCaptions"):
        rolled(algorithm, batch_of(policy, None))
    undecided = rolled(algorithm, batch_of(policy, Judged((RED, BLUE), ratings=(Rating(0, 1.0), Rating(1, 1.2)))))
    with pytest.raises(UserError, match=r"of no image of a step, .*, are two captions told apart by 0.5 or more"):
        algorithm.weigh([undecided], Total())


def experiment(folder: Path, steps: int, **training: Any) -> dict[str, Any]:
    """DPO on the choices of simulated people who hardly err."""
    crowd = Crowd(disagreement=0.0, noise=BradleyTerry(temperature=0.3))
    write_judged(folder / "judgements.jsonl", choices(crowd, Shapes(**SCENES), "train", 600, seed=0))
    algorithm = {"class_path": "rlcap.algorithms.dpo.DPO", "init_args": {"comparisons_per_image": 4}}
    made = tiny.experiment(algorithm, steps=steps, **training)
    images = {"class_path": tiny.DATA["class_path"], "init_args": SCENES}
    judged = {"judgements": str(folder / "judgements.jsonl"), "images": images}
    made["data"] = {"class_path": "rlcap.data.judgements.JudgedCaptions", "init_args": judged}
    del made["rewards"]
    return made


@pytest.mark.slow
def test_it_learns_what_people_prefer(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, experiment(tmp_path, 60, images_per_batch=16))
    evaluation = trainer.run()
    assert evaluation is not None
    assert len(evaluation.predictions) == SCENES["test"]  # nobody judged these: they are the data set's own
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss/policy" in row]
    assert steps[0]["loss/policy"] == pytest.approx(math.log(2), rel=1e-4)
    late = steps[-10:]
    assert np.mean([row["preference/accuracy"] for row in late]) > 0.65
    assert np.mean([row["loss/policy"] for row in late]) < 0.6


def test_a_resumed_run_is_an_uninterrupted_one(tmp_path: Path, monkeypatch: Any) -> None:
    config = experiment(tmp_path, 4, checkpoint_every=2, images_per_batch=8)
    assert_resumed_equals_whole(config, tmp_path, falls_at=4, patch=monkeypatch)
