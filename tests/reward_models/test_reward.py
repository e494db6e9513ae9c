"""Learned rewards: numbers by hand, the same whatever is remembered, and runs that use them."""

import json
from pathlib import Path

import numpy as np
import pytest
import scorers
import tiny
import torch
import yaml
from captioners import build_vit
from tiny_models import noise

import rewards
from rewards.base import Candidates, RewardError
from rlcap import cli
from rlcap.policies.tiny import TinyViT
from rlcap.reward_models import LearnedReward
from rlcap.types import UserError

IDS = ["x", "y", "z", "x", "y"]
ROWS = [0, 1, 2, 0, 1]


def candidates(ids: list[str] | None = IDS) -> Candidates:
    seen = noise(3)
    references = [scorers.REFERENCES[row] for row in ROWS]
    return Candidates(scorers.CAPTIONS, references, ids, [seen[row] for row in ROWS])


def saved(place: Path, *models: scorers.RewardModel) -> list[str]:
    """The directories of models, each with a shift of its own."""
    places = [place / f"model{number}" for number in range(len(models))]
    for number, (model, directory) in enumerate(zip(models, places, strict=True)):
        model.measured({"reference/mean": 0.25 + number})
        model.save(directory)
    return [str(directory) for directory in places]


def by_hand(model: scorers.RewardModel) -> np.ndarray:
    return scorers.score(model, scorers.images(model), ROWS, scorers.CAPTIONS).double().numpy()


MODELS = {
    "text": scorers.text,
    "pair": scorers.pair,
    "references": lambda: scorers.pair(references=True),
    "captioner": scorers.captioner,
}


@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_score_less_that_of_references(name, tmp_path):
    model = MODELS[name]()
    (place,) = saved(tmp_path, model)
    reward = LearnedReward(place)
    assert reward.needs_images == model.needs_images
    assert reward.needs_references == model.needs_references
    np.testing.assert_allclose(reward(candidates()), by_hand(model) - 0.25, rtol=1e-5, atol=1e-5)
    probability = LearnedReward(place, probability=True)(candidates())
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-by_hand(model))), rtol=1e-5)


def test_an_ensemble_is_the_mean_lowered_by_disagreement(tmp_path):
    models = [scorers.pair(), scorers.captioner(1), scorers.text(2)]
    places = saved(tmp_path, *models)
    own = np.stack([by_hand(model) - 0.25 - number for number, model in enumerate(models)])
    np.testing.assert_allclose(LearnedReward(places).members(candidates()), own, rtol=1e-5, atol=1e-5)
    expected = own.mean(axis=0) - 0.5 * own.std(axis=0)
    np.testing.assert_allclose(LearnedReward(places, 0.5)(candidates()), expected, rtol=1e-4, atol=1e-5)
    expected = own.mean(axis=0) - 0.5 * own.var(axis=0)
    np.testing.assert_allclose(LearnedReward(places, 0.5, "variance")(candidates()), expected, rtol=1e-4, atol=1e-5)
    likely = 1 / (1 + np.exp(-np.stack([by_hand(model) for model in models])))
    expected = likely.mean(axis=0) - 0.5 * likely.std(axis=0)
    np.testing.assert_allclose(LearnedReward(places, 0.5, probability=True)(candidates()), expected, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_neither_memory_nor_batches_nor_company_change_a_score(name, tmp_path):
    (place,) = saved(tmp_path, MODELS[name]())
    reward = LearnedReward(place)
    scores = reward(candidates())
    np.testing.assert_array_equal(reward(candidates()), scores)
    small = LearnedReward(place, batch_size=2, remembered_images=1)
    np.testing.assert_allclose(small(candidates()), scores, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(LearnedReward(place)(candidates(None)), scores, rtol=1e-5, atol=1e-5)
    order = [4, 2, 0, 2, 1, 3, 0]
    np.testing.assert_allclose(small(candidates().select(order)), scores[order], rtol=1e-5, atol=1e-5)
    one_by_one = [LearnedReward(place)(candidates().select([row]))[0] for row in range(5)]
    np.testing.assert_allclose(one_by_one, scores, rtol=1e-5, atol=1e-5)
    assert reward(candidates().select([])).shape == (0,)


def test_an_image_is_encoded_once_and_a_pair_scored_once(tmp_path):
    reward = LearnedReward(saved(tmp_path, scorers.captioner()))
    (model,) = reward.models
    encoded, scored = [], []
    model.policy.encoder.register_forward_pre_hook(
        lambda module, args, kwargs: encoded.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    model.head.register_forward_pre_hook(lambda module, args: scored.append(len(args[0])))
    twice = candidates().select([0, 1, 2, 3, 4, 0, 0, 3])
    for _ in range(2):
        reward(twice)
    assert sum(encoded) == 3
    assert scored == [5, 5]


def test_the_same_id_with_other_references_is_scored_anew(tmp_path):
    model = scorers.pair(references=True)
    reward = LearnedReward(saved(tmp_path, model))
    reward(candidates())
    other = Candidates(["a dog"], [["the dog runs here"]], ["x"], noise(3)[:1])
    alone = LearnedReward(str(tmp_path / "model0"))(other)
    np.testing.assert_allclose(reward(other), alone, rtol=1e-5)


def test_a_model_of_text_asks_for_nothing_else(tmp_path):
    model = scorers.text()
    reward = LearnedReward(saved(tmp_path, model))
    assert not reward.needs_images
    assert not reward.needs_references
    scores = reward(Candidates(scorers.CAPTIONS))
    np.testing.assert_allclose(scores, by_hand(model) - 0.25, rtol=1e-5, atol=1e-5)


def test_gradients_and_half_precision_of_the_policy_do_not_reach_it(tmp_path):
    reward = LearnedReward(saved(tmp_path, scorers.pair()))
    scores = reward(candidates())
    anew = LearnedReward(str(tmp_path / "model0"))
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(anew(candidates()), scores)
    assert not any(parameter.requires_grad for parameter in reward.models[0].parameters())
    assert not any(module.training for module in reward.models[0].modules())


def test_the_signature_tells_models_and_settings_apart_and_names_no_place(tmp_path):
    places = saved(tmp_path, scorers.pair(), scorers.pair(1))
    signatures = {
        str(LearnedReward(*settings).signature)
        for settings in ((places[0],), (places[1],), (places,), (places, 0.5), (places, 0.5, "variance"))
    } | {
        str(LearnedReward(places[0], probability=True).signature),
        str(LearnedReward(places[0], max_length=9).signature),
    }
    assert len(signatures) == 7
    assert not any(str(tmp_path) in signature for signature in signatures)
    assert str(LearnedReward(places[0]).signature) == str(LearnedReward([places[0]]).signature)
    assert str(LearnedReward(places, 0.5).signature).startswith("LearnedReward|models:model0@")


def test_mistakes_of_the_user_are_told(tmp_path):
    (place,) = saved(tmp_path, scorers.text())
    with pytest.raises(UserError, match="does not exist"):
        LearnedReward(str(tmp_path / "nowhere"))
    policy = TinyViT(32)
    policy.prepare(scorers.REFERENCES)
    policy.save(tmp_path / "policy")
    with pytest.raises(UserError, match="holds no saved reward model"):
        LearnedReward(str(tmp_path / "policy"))
    for settings, words in (
        ({"directories": []}, "no models"),
        ({"directories": place, "disagreement": 0.5}, "cannot disagree"),
        ({"directories": [place, place], "disagreement": -1.0}, "0 or more"),
        ({"directories": place, "batch_size": 0}, "batch_size 1, got 64 and 0"),
        ({"directories": place, "remembered_images": -1}, "0 or more"),
    ):
        with pytest.raises(RewardError, match=words):
            LearnedReward(**settings)
    (place,) = saved(tmp_path, scorers.pair())
    with pytest.raises(RewardError, match="images"):
        LearnedReward(place)(Candidates(["a cat"], image_ids=["x"]))


def term(places: str | list[str], **settings: object) -> dict[str, object]:
    return {"class_path": "rlcap.reward_models.LearnedReward", "init_args": {"directories": places, **settings}}


def test_it_trains_a_captioner_on_kept_features_and_measures_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build_vit(tmp_path / "vit")
    places = saved(tmp_path, scorers.captioner(), scorers.pair(), scorers.text())
    config = tiny.experiment(tiny.SELF_CRITICAL, steps=2, features="temporary")
    decoder = {"width": 16, "layers": 1, "heads": 2, "min_count": 1}
    init_args = {"backbone": str(tmp_path / "vit"), "decoder": decoder}
    config["policy"] = {"class_path": "rlcap.policies.backbone_decoder.BackboneDecoder", "init_args": init_args}
    config["rewards"] = {"judges": {"reward": term(places, disagreement=0.5), "weight": 2.0}}
    config["evaluation"]["metrics"] = {"text": term(places[2]), "pair": term(places[1])}  # images opened when read
    config["evaluation"]["best"] = "text"
    cli.main(["train", "--config", str(tiny.write(tmp_path / "run.yaml", config)), "--output", "run"])
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(line["reward/judges"]) for line in lines if "reward/judges" in line)
    assert sum("reward/judges" in line for line in lines) == 2
    folder = tmp_path / "run" / "evaluation" / "test"
    made = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    expected = LearnedReward(places[2])(Candidates([each["caption"] for each in made]))
    np.testing.assert_allclose([each["scores"]["text"] for each in made], expected, rtol=1e-5, atol=1e-5)
    scores = json.loads((folder / "scores.json").read_text())["scores"]
    assert scores["text"]["signature"].startswith("LearnedReward|models:model2@")
    assert scores["pair"]["value"] == pytest.approx(np.mean([each["scores"]["pair"] for each in made]))


def test_it_scores_a_file_of_captions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = scorers.pair(references=True)
    (place,) = saved(tmp_path, model)
    (tmp_path / "photos").mkdir()
    for name, image in zip("xyz", noise(3), strict=True):
        image.save(tmp_path / "photos" / f"{name}.png")
    rows = [{"image_id": name, "caption": caption} for name, caption in zip(IDS, scorers.CAPTIONS, strict=True)]
    (tmp_path / "captions.json").write_text(json.dumps(rows))
    (tmp_path / "references.json").write_text(json.dumps(dict(zip("xyz", scorers.REFERENCES, strict=True))))
    (tmp_path / "rewards.yaml").write_text(yaml.safe_dump({"rewards": {"mine": {"reward": term(place)}}}))
    files = ["--candidates", "captions.json", "--references", "references.json", "--images", "photos"]
    cli.main(["score", *files, "--config", "rewards.yaml", "--output", "scores.json"])
    value = json.loads((tmp_path / "scores.json").read_text())["scores"]["mine"]["value"]
    np.testing.assert_allclose(value, (by_hand(model) - 0.25).mean(), rtol=1e-5)
    result = rewards.score(candidates(), rewards={"mine": LearnedReward(place)})
    np.testing.assert_allclose(result["mine"].scores, by_hand(model) - 0.25, rtol=1e-5, atol=1e-5)
