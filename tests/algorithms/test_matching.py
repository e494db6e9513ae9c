"""Matching and grammar: the loss by hand, where false captions are from, and that true ones are told from them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from enumeration import assert_same_gradient, gradient
from resuming import assert_resumed_equals_whole

from rlcap.algorithms.base import Scorer, Total
from rlcap.algorithms.matching import Claims, Grammar, Matching, TrueOrFalse
from rlcap.data.negatives import Corruptions
from rlcap.reward_models.base import RewardModel
from rlcap.reward_models.visual_semantic import TinyDualEncoder
from rlcap.types import Batch, UserError

REFERENCES = (
    ("a red circle above a blue square", "a red circle"),
    ("two green stars", "a pair of green stars"),
    ("a yellow box", "a red circle"),  # which describes the first image, too
)


@pytest.fixture
def model() -> RewardModel:
    torch.manual_seed(0)
    made = TinyDualEncoder(**tiny.DUAL_ENCODER["init_args"] | shapes())
    made.prepare(REFERENCES)
    return made


def shapes() -> dict[str, object]:
    from rlcap.reward_models.visual_semantic import Heads, PatchEncoder
    from rlcap.reward_models.words import WordEncoder

    own = tiny.DUAL_ENCODER["init_args"]
    return {"vision": PatchEncoder(**own["vision"]), "text": WordEncoder(**own["text"]), "heads": Heads(**own["heads"])}


def three_images() -> Batch:
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return Batch(("x", "y", "z"), REFERENCES, pixel_values=pixels)


def acted(algorithm: TrueOrFalse, batch: Batch, step: int = 1) -> Claims:
    return algorithm.act(batch, Scorer(algorithm.model, None), (0, step))


def texts(algorithm: TrueOrFalse, rollout: Claims) -> list[tuple[int, str, bool]]:
    tokenizer = algorithm.model.tokenizer  # type: ignore[attr-defined]
    captions = tokenizer.batch_decode(rollout.captions.token_ids, skip_special_tokens=True)
    return list(zip(rollout.image_rows.tolist(), captions, (rollout.truths > 0).tolist(), strict=True))


def test_loss_and_gradient_are_the_formulas(model: RewardModel) -> None:
    algorithm = Matching(model)
    rollout = acted(algorithm, three_images())
    loss = algorithm.loss(rollout)
    learned = loss.mean(algorithm.units(rollout))
    encoded = model.encode(three_images())
    r = model.score(encoded.select(rollout.image_rows), rollout.captions)
    probability = torch.sigmoid(r)
    likelihood = torch.where(rollout.truths > 0, probability, 1 - probability)
    expected = -torch.log(likelihood).mean()
    assert learned.item() == pytest.approx(expected.item(), rel=1e-4)
    assert_same_gradient(gradient(learned, model), gradient(expected, model))
    assert loss.stats["matching/classified"].item() == (likelihood > 0.5).float().mean().item()
    assert algorithm.units(rollout) == {"policy": float(len(r))}


@pytest.mark.parametrize("hardness", [0.0, 1.0])
def test_negatives_describe_another_image_and_not_this_one(model: RewardModel, hardness: float) -> None:
    algorithm = Matching(model, captions_per_image=2, hardness=hardness)
    drawn = set()
    for step in range(20):
        found = texts(algorithm, acted(algorithm, three_images(), step))
        assert found[:6] == [(row, caption, True) for row, own in enumerate(REFERENCES) for caption in own]
        false = found[6:]
        assert len(false) == 12  # a caption for each image and an image for each caption, of each true one
        assert not any(truth for *_, truth in false)
        assert not any(caption in REFERENCES[image] for image, caption, _ in false)
        drawn |= set(false)
    assert len(drawn) == 9  # three captions are false of each image
    assert texts(algorithm, acted(algorithm, three_images(), 3)) == texts(
        algorithm, acted(algorithm, three_images(), 3)
    )


def test_the_hardest_score_highest(model: RewardModel) -> None:
    algorithm = Matching(model, captions_per_image=2, hardness=1e6)
    model.eval()
    with torch.no_grad():
        captions = model.tokenize([caption for own in REFERENCES for caption in own], 64)
        encoded = model.encode(three_images())
        scores = torch.stack([model.score(encoded.select(torch.full((6,), row)), captions) for row in range(3)])
    model.train()
    described = torch.tensor([[caption in own for each in REFERENCES for caption in each] for own in REFERENCES])
    scores = scores.masked_fill(described, -torch.inf)
    every = [caption for own in REFERENCES for caption in own]
    by_image = [(row, every[int(scores[row].argmax())], False) for row in range(3) for _ in range(2)]
    by_caption = [(int(scores[:, column].argmax()), every[column], False) for column in range(6)]
    assert texts(algorithm, acted(algorithm, three_images()))[6:] == by_image + by_caption
    assert model.training


def test_corrupted_captions_are_false_of_their_own_image(model: RewardModel) -> None:
    algorithm = Matching(model, hardness=0.0, corruptions=Corruptions(2))
    with pytest.raises(UserError, match="call prepare"):
        acted(algorithm, three_images())
    algorithm.prepare(REFERENCES)
    one = three_images().select(torch.tensor([0]))
    found = texts(algorithm, acted(algorithm, one))
    assert [truth for *_, truth in found] == [True, False, False]  # no other image is there to be told from
    assert not {caption for _, caption, _ in found[1:]} & set(REFERENCES[0])


def test_grammar_spoils_language_alone(model: RewardModel) -> None:
    algorithm = Grammar(model, captions_per_image=2, corruptions_per_caption=1)
    words = [set(caption.split()) for own in REFERENCES for caption in own]
    for step in range(5):
        found = texts(algorithm, acted(algorithm, three_images(), step))
        for image, caption, truth in found:
            assert truth == (caption in REFERENCES[image])
            assert any(set(caption.split()) <= own for own in words)  # nothing new is said
        assert sum(truth for *_, truth in found) == 6
        assert len(found) == 12


def test_mistakes(model: RewardModel) -> None:
    wrong: list[tuple[Callable[[], object], str]] = [
        (lambda: Matching(model, captions_per_image=0), "captions_per_image must be at least 1"),
        (lambda: Matching(model, hardness=-1.0), "hardness must be 0"),
        (lambda: Grammar(model, corruptions_per_caption=0), "corruptions_per_caption must be at least 1"),
        (lambda: Grammar(model, kinds=("change_count",)), "'change_count' spoils no language"),
    ]
    for make, message in wrong:
        with pytest.raises(UserError, match=message):
            make()
    algorithm = Matching(model)
    alone = acted(algorithm, three_images().select(torch.tensor([1])))
    with pytest.raises(UserError, match=r"no false caption in a step.*: take 2 images_per_batch or more"):
        algorithm.weigh([alone, alone], Total())
    algorithm.weigh([alone, acted(algorithm, three_images())], Total())


def test_it_tells_spoiled_captions(tmp_path: Path) -> None:
    evaluation = tiny.trainer(tmp_path, tiny.scoring(tiny.MATCHING["grammar"], steps=30, images_per_batch=16)).run()
    assert evaluation is not None
    assert "matching/accuracy" not in evaluation.scores  # it sees no image
    assert evaluation.statistics["corruption/repeat_words"] > 0.7  # chance is 1/2
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    documented = Path(__import__("rlcap.training.recorder", fromlist=["x"]).__file__).read_text()
    for key in metrics[0]:
        assert key in documented, f"{key} is not documented"


def test_a_resumed_run_is_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tiny.scoring(tiny.MATCHING["matching"], steps=3, checkpoint_every=2, images_per_batch=4)
    made["data"] = {**tiny.DATA, "init_args": {"train": 8, "val": 2, "test": 2}}
    made["reward_model"] = tiny.DUAL_ENCODER
    assert_resumed_equals_whole(made, tmp_path, falls_at=3, patch=monkeypatch)
