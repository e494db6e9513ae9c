"""Reward models from judgements: losses and gradients by hand, what is drawn, splits, and what people like learned."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from accelerate import Accelerator
from enumeration import assert_same_gradient, gradient
from resuming import assert_resumed_equals_whole
from torch import Tensor

from rlcap.algorithms.base import Scorer, Total
from rlcap.algorithms.judged_captions import Lessons, Preferences, Selection
from rlcap.algorithms.preferences import (
    BradleyTerry,
    Davidson,
    HuberRegression,
    OrdinalRegression,
    PlackettLuce,
    Regression,
)
from rlcap.data.judged import Comparison, Judged, Ranking, Rating, Tie
from rlcap.reward_models.base import RewardModel
from rlcap.reward_models.text import TinyTextScorer
from rlcap.reward_models.words import WordEncoder
from rlcap.training.processes import Processes
from rlcap.types import Batch, UserError

RED, BLUE, GREEN, LAST = "a red circle", "a small blue square", "a large green star", "two yellow discs"
ALL = Judged(
    (RED, BLUE, GREEN, LAST),
    comparisons=(Comparison(1, 0, weight=2.0),),
    ties=(Tie(0, 2),),
    ratings=(Rating(0, 1.0), Rating(0, 2.0), Rating(3, 4.0), Rating(1, 1.6)),
    rankings=(Ranking((2, 1, 3), weight=0.5),),
)
ONE = Judged((GREEN, RED), comparisons=(Comparison(0, 1),), ratings=(Rating(1, 3.0),))
SILENT = Judged((RED, BLUE), ties=(Tie(0, 1),))
WHOLE = Selection(per_image=False)


@pytest.fixture
def model() -> RewardModel:
    torch.manual_seed(0)
    made = TinyTextScorer(WordEncoder(width=16, layers=1, heads=2, dropout=0.0, min_count=1))
    made.prepare([[RED, BLUE, GREEN, LAST]])
    with torch.no_grad():  # scores far enough apart to tell the losses from one another
        for parameter in made.parameters():
            parameter.mul_(2)
    return made


def batch_of(*judged: Judged | None) -> Batch:
    metadata = tuple({} if own is None else {"judged": own} for own in judged)
    ids = tuple(f"image-{row}" for row in range(len(judged)))
    return Batch(ids, ((),) * len(judged), pixel_values=torch.zeros(len(judged), 1, 1, 1), metadata=metadata)


def acted(algorithm: Preferences, *judged: Judged | None, key: tuple[int, ...] = (0, 1)) -> Lessons:
    return algorithm.act(batch_of(*judged), Scorer(algorithm.model, None), key)


def mean(algorithm: Preferences, rollout: Lessons) -> Tensor:
    value: Tensor = algorithm.loss(rollout).mean(algorithm.units(rollout))
    return value


def score_by_hand(model: RewardModel, *captions: str) -> Tensor:
    batch = batch_of(*([None] * len(captions)))
    scores: Tensor = model.score(model.encode(batch), model.tokenize(captions, 64))
    return scores


def by_bradley_terry(r: Tensor) -> tuple[Tensor, float]:
    """Of RED, BLUE, GREEN, LAST: two choices, a ranking's three pairs, rated pairs, a tie; all by their weights."""
    pairs = [(1, 0, 2.0), (2, 1, 0.5), (2, 3, 0.5), (1, 3, 0.5), (3, 0, 1.0), (3, 1, 1.0)]
    loss = sum(-weight * torch.log(torch.sigmoid(r[one] - r[other])) for one, other, weight in pairs)
    tie = -0.5 * torch.log(torch.sigmoid(r[0] - r[2])) - 0.5 * torch.log(torch.sigmoid(r[2] - r[0]))
    return loss + tie, sum(weight for *_, weight in pairs) + 1


def by_centering(r: Tensor) -> tuple[Tensor, float]:
    pairs = [(1, 0, 2.0), (2, 1, 0.5), (2, 3, 0.5), (1, 3, 0.5), (3, 0, 1.0), (3, 1, 1.0), (0, 2, 1.0)]
    loss, weight = by_bradley_terry(r)
    return loss + 0.1 * sum(weight * (r[one] + r[other]) ** 2 for one, other, weight in pairs), weight


def by_davidson(r: Tensor) -> tuple[Tensor, float]:
    """With nu = 1: a win has exp(m/2) of exp(m/2) + 1 + exp(-m/2)."""
    pairs = [(1, 0, 2.0), (2, 1, 0.5), (2, 3, 0.5), (1, 3, 0.5), (3, 0, 1.0), (3, 1, 1.0)]

    def shares(margin: Tensor) -> Tensor:
        return torch.stack([(margin / 2).exp(), torch.ones(()), (-margin / 2).exp()])

    def probability(margin: Tensor, outcome: int) -> Tensor:
        return shares(margin)[outcome] / shares(margin).sum()

    loss = sum(-weight * torch.log(probability(r[one] - r[other], 0)) for one, other, weight in pairs)
    return loss - torch.log(probability(r[0] - r[2], 1)), sum(weight for *_, weight in pairs) + 1


def by_plackett_luce(r: Tensor) -> tuple[Tensor, float]:
    """The ranking, the choice as one of two, and the ratings' ranking: LAST 4, then one of BLUE 1.6 and RED 1.5.

    With the key of the test it is BLUE or RED; both are written down, the nearer one is meant.
    """

    def ranked(*order: int) -> Tensor:
        chosen = [r[place] - torch.logsumexp(r[list(order[number:])], 0) for number, place in enumerate(order)]
        return -torch.stack(chosen).sum()

    return 0.5 * ranked(2, 1, 3) + 2 * ranked(1, 0) + ranked(3, 1), 3.5


def by_regression(r: Tensor) -> tuple[Tensor, float]:
    return (r[0] + 0.5) ** 2 + (r[3] - 0.75) ** 2 + (r[1] + 0.45) ** 2, 3.0


def by_huber(r: Tensor) -> tuple[Tensor, float]:
    """Every rating by itself."""
    errors = torch.stack([r[0] + 0.75, r[0] + 0.25, r[3] - 0.75, r[1] + 0.45]).abs()
    return torch.where(errors < 0.3, errors**2 / 2, 0.3 * (errors - 0.15)).sum(), 4.0


def by_cumulative_logit(r: Tensor) -> tuple[Tensor, float]:
    """Ratings 1, 2 of RED, 4 of LAST, 1.6 of BLUE: levels 0, 2, 3 and 1; thresholds at -1, 0 and 1."""

    def passed(score: Tensor, threshold: float) -> Tensor:
        return torch.sigmoid(score - threshold)

    probabilities = [
        1 - passed(r[0], -1),
        passed(r[0], 0) - passed(r[0], 1),
        passed(r[3], 1),
        passed(r[1], -1) - passed(r[1], 0),
    ]
    return -torch.log(torch.stack(probabilities)).sum(), 4.0


OBJECTIVES: dict[str, tuple[Callable[[RewardModel], Preferences], Callable[[Tensor], tuple[Tensor, float]]]] = {
    "bradley_terry": (lambda model: BradleyTerry(model, selection=WHOLE), by_bradley_terry),
    "centered": (lambda model: BradleyTerry(model, centering=0.1, selection=WHOLE), by_centering),
    "davidson": (lambda model: Davidson(model, selection=WHOLE), by_davidson),
    "plackett_luce": (lambda model: PlackettLuce(model, margin=0.1, selection=WHOLE), by_plackett_luce),
    "regression": (lambda model: Regression(model, 2.5, 2.0, selection=WHOLE), by_regression),
    "huber": (lambda model: HuberRegression(model, 2.5, 2.0, each=True, delta=0.3, selection=WHOLE), by_huber),
    "ordinal": (lambda model: OrdinalRegression(model, (1.0, 1.6, 2.0, 4.0), selection=WHOLE), by_cumulative_logit),
}


@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_loss_and_gradient_are_the_formulas(model: RewardModel, name: str) -> None:
    make, formula = OBJECTIVES[name]
    algorithm = make(model)
    judged = ALL
    if name == "plackett_luce":  # of whose ratings three are a margin apart then: 4, 1.6, 1.5; see the next test
        judged = Judged(ALL.captions, ALL.comparisons, ALL.ties, (Rating(3, 4.0), Rating(1, 1.6)), ALL.rankings)
    rollout = acted(algorithm, judged)
    of_ratings = name in ("regression", "huber", "ordinal")  # nobody rated GREEN
    assert len(rollout.captions) == (3 if of_ratings else 4)  # each read once
    loss, weight = formula(score_by_hand(model, RED, BLUE, GREEN, LAST))
    learned = mean(algorithm, rollout)
    assert algorithm.units(rollout) == {"policy": pytest.approx(weight)}
    assert learned.item() == pytest.approx((loss / weight).item(), rel=1e-4)
    assert_same_gradient(gradient(learned, model), gradient(loss / weight, model))
    assert algorithm.loss(rollout).stats["loss/policy"].item() == pytest.approx(learned.item(), rel=1e-5)


def test_smoothing_takes_a_share_the_other_way_round(model: RewardModel) -> None:
    algorithm = BradleyTerry(model, smoothing=0.1)
    r = score_by_hand(model, GREEN, RED)
    expected = -0.9 * torch.log(torch.sigmoid(r[0] - r[1])) - 0.1 * torch.log(torch.sigmoid(r[1] - r[0]))
    assert mean(algorithm, acted(algorithm, ONE)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_parameters_of_their_own_learn(model: RewardModel) -> None:
    for algorithm, name in [(Davidson(model), "log_ties"), (OrdinalRegression(model, (1.0, 1.6, 2.0, 4.0)), "free")]:
        assert any(parameter is getattr(algorithm, name) for (parameter,) in zip(algorithm.groups()[0][0], strict=True))
        mean(algorithm, acted(algorithm, ALL)).backward()
        assert getattr(algorithm, name).grad.abs().sum() > 0
        assert name in algorithm.state_dict()


def test_ratings_make_rankings_of_captions_a_margin_apart(model: RewardModel) -> None:
    algorithm = PlackettLuce(model, margin=0.5)
    rated = Judged((RED, BLUE, GREEN), ratings=(Rating(0, 1.0), Rating(1, 1.2), Rating(2, 3.0)))
    drawn = {
        tuple(lesson.places) for seed in range(20) for lesson in algorithm.lessons(rated, np.random.default_rng(seed))
    }
    assert drawn == {(2, 1)}  # the better of those nearly alike stands first, and the other is no margin below it
    alike = Judged((RED, BLUE, GREEN), ratings=(Rating(0, 1.0), Rating(1, 1.0), Rating(2, 3.0)))
    drawn = {
        tuple(lesson.places) for seed in range(20) for lesson in algorithm.lessons(alike, np.random.default_rng(seed))
    }
    assert drawn == {(2, 0), (2, 1)}


def test_judgements_of_an_image_count_by_their_mean(model: RewardModel) -> None:
    algorithm = BradleyTerry(model)
    heavy = replace(ALL, comparisons=(Comparison(1, 0, weight=4.0),))
    many, few = acted(algorithm, heavy), acted(algorithm, ONE)
    both = acted(algorithm, heavy, ONE)
    # 7 judgements whose weights sum up to 8.5 count as one of weight 8.5 / 7
    assert algorithm.units(many) == {"policy": pytest.approx(8.5 / 7)}
    assert algorithm.units(few) == {"policy": 1.0}
    expected = (8.5 / 7 * mean(algorithm, many) + mean(algorithm, few)) / (8.5 / 7 + 1)
    assert mean(algorithm, both).item() == pytest.approx(expected.item(), rel=1e-5)


def test_accuracy_and_margin_are_of_the_pairs(model: RewardModel) -> None:
    algorithm = Regression(model)  # learns from ratings; the pairs are those of all judgements
    rollout = acted(algorithm, ALL)
    with torch.no_grad():
        r = score_by_hand(model, RED, BLUE, GREEN, LAST)
    # RED and BLUE by their ratings of 1.5 and 1.6, too; GREEN is not rated, and so not read
    pairs = [(1, 0), (1, 3), (3, 0), (3, 1), (1, 0)]
    margins = torch.stack([r[one] - r[other] for one, other in pairs])
    stats = algorithm.loss(rollout).stats
    assert len(rollout.captions) == 3
    assert stats["preference/accuracy"].item() == pytest.approx((margins > 0).float().mean().item())
    assert stats["preference/margin"].item() == pytest.approx(margins.mean().item(), rel=1e-4)
    assert algorithm.counts(rollout)["preference/accuracy"] == 5


def test_a_step_without_a_pair_has_no_accuracy(model: RewardModel) -> None:
    algorithm = Regression(model)
    rollout = acted(algorithm, Judged((RED,), ratings=(Rating(0, 1.0),)), Judged((BLUE,), ratings=(Rating(0, 2.0),)))
    stats, counts = algorithm.loss(rollout).stats, algorithm.counts(rollout)
    means = Processes(Accelerator(cpu=True)).means([stats], [dict.fromkeys(stats, 1.0) | dict(counts)])
    assert set(means) == {"loss/policy", "caption/length"}
    assert all(map(math.isfinite, means.values()))


def test_images_with_nothing_to_learn_teach_nothing(model: RewardModel) -> None:
    algorithm = PlackettLuce(model)  # for which ties say nothing
    alone, beside = acted(algorithm, ONE), acted(algorithm, SILENT, ONE)
    assert mean(algorithm, beside).item() == pytest.approx(mean(algorithm, alone).item(), rel=1e-5)
    assert algorithm.counts(beside) == algorithm.counts(alone)
    nothing = acted(algorithm, SILENT)
    loss = algorithm.loss(nothing)
    loss.totals["policy"].backward()  # other processes may have something, and wait for the gradients
    gradients = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert all(each is not None and not each.any() for each in gradients)
    assert all(torch.isfinite(value) for value in loss.stats.values())
    assert not any(algorithm.counts(nothing).values())
    assert len(algorithm.weigh([nothing, alone], Total())) == 2
    with pytest.raises(UserError, match=r"such as image-0, what PlackettLuce learns from: lower margin"):
        algorithm.weigh([nothing, nothing], Total())


def test_at_most_so_many_captions_are_drawn_and_what_is_said_of_others_is_left_out(model: RewardModel) -> None:
    captions = tuple(f"{one} {other}" for one in ("a", "two") for other in ("red", "blue", "green", "yellow", "discs"))
    judged = Judged(captions, comparisons=tuple(Comparison(two, two + 1) for two in range(0, 10, 2)))
    algorithm = BradleyTerry(model, selection=Selection(captions_per_image=4))
    seen = set()
    for step in range(30):
        rollout = acted(algorithm, judged, ONE, key=(0, step))
        assert rollout.image_rows.tolist() == [0] * 4 + [1] * 2
        assert rollout.items.tolist() == [[0, 1], [2, 3], [4, 5]]
        assert algorithm.units(rollout) == {"policy": 2.0}
        seen.add(tuple(map(tuple, rollout.captions.token_ids.tolist())))
    assert len(seen) == 10  # all choices of two of the five comparisons
    assert torch.equal(again(algorithm, judged), again(algorithm, judged))
    ranked = Judged(captions, rankings=(Ranking(tuple(range(10))),))
    lesson = acted(PlackettLuce(model, selection=Selection(captions_per_image=4)), ranked)
    assert lesson.items.tolist() == [[0, 1, 2, 3]]  # the ranking closes up


def again(algorithm: Preferences, judged: Judged) -> Tensor:
    return acted(algorithm, judged, key=(0, 7)).captions.token_ids


def test_mistakes(model: RewardModel) -> None:
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: BradleyTerry(model, margin=0.0), "margin must be above 0"),
        (lambda: BradleyTerry(model, smoothing=0.5), r"smoothing must be in \[0, 0.5\)"),
        (lambda: PlackettLuce(model, centering=-1.0), "centering must be 0"),
        (lambda: Regression(model, scale=0.0), "scale must be above 0"),
        (lambda: HuberRegression(model, delta=0.0), "delta must be above 0"),
        (lambda: OrdinalRegression(model, (2.0, 1.0)), "levels must be 2 or more and grow"),
        (lambda: Selection(captions_per_image=1), "captions_per_image must be at least 2"),
        (lambda: acted(BradleyTerry(model), None), "nobody judged captions of image image-0: take rlcap.data"),
        (lambda: acted(OrdinalRegression(model), ALL), r"a rating of 1.6 is none of the levels \[1.0, 2.0"),
    ]
    for make, message in wrong:
        with pytest.raises(UserError, match=message):
            make()


# --- in the loop


@pytest.mark.parametrize("algorithm", ["bradley_terry", "plackett_luce", "ordinal"])
def test_one_batch_of_eight_learns_as_eight_batches_of_one(tmp_path: Path, algorithm: str) -> None:
    states = []
    for name, (images, accumulate) in {"whole": (8, 1), "parts": (1, 8)}.items():
        made = tiny.judged(tiny.PREFERENCES[algorithm], steps=2, images_per_batch=images, accumulate=accumulate)
        made["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
        trainer = tiny.trainer(tmp_path, made, name)
        trainer.run()
        states.append((trainer.algorithm.state_dict(), rows(tmp_path / name / "metrics.jsonl")))
    (whole, metrics), (parts, others) = states
    for key, value in whole.items():
        # float32 sums in another order; SGD passes their difference on unamplified
        torch.testing.assert_close(parts[key], value, rtol=1e-4, atol=1e-6)
    for one, other in zip(metrics, others, strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-6)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_resumed_run_is_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny.judged(tiny.PREFERENCES["davidson"], steps=4, checkpoint_every=2, images_per_batch=8)
    assert_resumed_equals_whole(made, tmp_path, falls_at=4, patch=monkeypatch)


@pytest.mark.parametrize(("algorithm", "least"), [("bradley_terry", 0.68), ("ordinal", 0.6)])
def test_it_learns_what_people_prefer(tmp_path: Path, algorithm: str, least: float) -> None:
    made = tiny.judged(tiny.PREFERENCES[algorithm], steps=40, images_per_batch=24)
    scenes = {"class_path": tiny.DATA["class_path"], "init_args": {"train": 100, "val": 4, "test": 40}}
    sizes = {"images": scenes, "comparisons": 250, "held_out": 120}
    made["data"] = {**made["data"], "init_args": {**made["data"]["init_args"], **sizes}}
    evaluation = tiny.trainer(tmp_path, made).run()
    assert evaluation is not None
    assert evaluation.value("preference/accuracy") > least  # chance is 1/2, with a standard error of 0.05
    learned = [row for row in rows(tmp_path / "run" / "metrics.jsonl") if "loss/policy" in row]
    if algorithm == "bradley_terry":
        assert learned[0]["loss/policy"] == pytest.approx(math.log(2), rel=0.2)
        assert np.mean([row["loss/policy"] for row in learned[-10:]]) < 0.6
    documented = Path(__import__("rlcap.training.recorder", fromlist=["x"]).__file__).read_text()
    for key in learned[0]:
        assert key in documented, f"{key} is not documented"
