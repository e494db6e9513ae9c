"""Dual encoders with a head over both embeddings."""

from dataclasses import replace

import numpy as np
import pytest
import scorers
import torch
from tiny_models import build_clip

from rlcap.algorithms.matching import Grammar, Matching
from rlcap.data.negatives import Corruptions
from rlcap.data.shapes import Shapes
from rlcap.evaluation.evaluate import EvaluationOptions
from rlcap.evaluation.kinds import measurement_of
from rlcap.reward_models.base import load_reward_model
from rlcap.reward_models.dual_encoder import PretrainedDualEncoder
from rlcap.reward_models.pair import PairScorer, nearest_other, token_digest
from rlcap.types import UserError


@pytest.mark.parametrize("freeze", [False, True], ids=["learning", "frozen"])
@pytest.mark.parametrize("references", [False, True], ids=["image", "references"])
def test_fresh_ones_keep_what_all_promise(references, freeze, tmp_path):
    scorers.keeps_what_all_promise(scorers.pair(references=references, freeze=freeze), tmp_path)


def test_it_starts_as_the_dual_encoder_whatever_the_checkpoint(tmp_path):
    dual = PretrainedDualEncoder(str(build_clip(tmp_path)))
    model = PairScorer(dual)
    model.prepare([])
    model.eval()
    batch, rows = scorers.images(model), [0, 1, 2, 0, 1]
    expected = scorers.score(dual, batch, rows, scorers.CAPTIONS)
    torch.testing.assert_close(scorers.score(model, batch, rows, scorers.CAPTIONS), expected, rtol=1e-5, atol=1e-5)


def test_with_references_it_starts_as_the_mean_of_two_similarities():
    model = PairScorer(scorers.dual(), references=True)
    model.prepare(scorers.REFERENCES)
    model.eval()
    dual, batch = model.dual_encoder, scorers.images(model)
    captions = ["a cat", "the cat sits", "the cat"]  # new; one of its image's two references; its image's only one
    kept = [["a red cat sits here", "the cat sits"], ["a red cat sits here"], ["the cat"]]
    with torch.no_grad():
        image = torch.nn.functional.normalize(dual.embed_images(batch), dim=-1)[[0, 0, 2]].numpy()
        near = []
        for caption, references in zip(captions, kept, strict=True):
            of, *others = [dual.embed_texts(dual.tokenize([each], 16))[0].numpy() for each in (caption, *references)]
            near.append(max(np.dot(of, other) / np.linalg.norm(of) / np.linalg.norm(other) for other in others))
        texts = torch.nn.functional.normalize(dual.embed_texts(dual.tokenize(captions, 16)), dim=-1).numpy()
        factor = float(dual.logit_scale.exp())
    expected = factor * ((image * texts).sum(axis=1) + np.array(near)) / 2
    np.testing.assert_allclose(scorers.score(model, batch, [0, 0, 2], captions), expected, rtol=1e-4)


def test_a_reference_is_not_compared_with_itself():
    cosines = torch.tensor([[0.2, 1.0, 0.5], [1.0, 0.3, 0.2], [1.0, 1.0, 1.0]])
    same = torch.tensor([[False, True, False], [False, False, False], [True, True, True]])
    assert nearest_other(cosines, same).tolist() == [2, 0, 0]


def test_digests_tell_captions_apart_wherever_the_padding_is():
    torch.manual_seed(0)
    token_ids = torch.randint(0, 250_000, (2000, 12))
    digests = token_digest(token_ids, torch.ones_like(token_ids, dtype=torch.bool))
    assert len(digests.unique()) >= 1998  # two of 2000 agree with a chance of 1 in 8
    assert bool((digests == digests.long()).all())
    left = torch.tensor([[0, 0, 7, 9], [7, 9, 3, 3]])
    mask = torch.tensor([[False, False, True, True], [True, True, False, False]])
    first, second = token_digest(left, mask).tolist()
    assert first == second
    assert first != token_digest(torch.tensor([[9, 7]]), torch.ones(1, 2, dtype=torch.bool)).item()


@pytest.mark.parametrize("freeze", [False, True], ids=["vision", "whole"])
def test_features_of_a_frozen_one_give_the_same_scores(freeze, tmp_path):
    dual = PretrainedDualEncoder(str(build_clip(tmp_path)), freeze_vision=True)
    model = scorers.prepared(PairScorer(dual, freeze=freeze))
    batch, rows = scorers.images(model), [0, 1, 2, 0, 1]
    features = model.features(batch.pixel_values)
    assert tuple(features.shape[1:]) == model.feature_shape
    kept = replace(batch, pixel_values=None, features=features)
    scores = scorers.score(model, batch, rows, scorers.CAPTIONS)
    torch.testing.assert_close(scorers.score(model, kept, rows, scorers.CAPTIONS), scores)


def test_a_frozen_dual_encoder_learns_nothing_and_keeps_still(tmp_path):
    model = scorers.pair(freeze=True)
    learning = {name.split(".")[0] for name, weight in model.named_parameters() if weight.requires_grad}
    assert learning == {"head", "log_scales"}
    assert not any(
        module.training for module in model.train().dual_encoder.model.modules() if list(module.parameters())
    )
    model.save(tmp_path)
    loaded = load_reward_model(str(tmp_path))
    assert loaded.fingerprint == model.fingerprint
    assert loaded.feature_shape == model.feature_shape == (1, 16)


def test_mistakes_of_the_user_are_told():
    with pytest.raises(UserError, match="TinyTextScorer does not embed"):
        PairScorer(scorers.text())
    model = scorers.pair(references=True)
    batch = replace(scorers.images(model), references=(("a cat",), (), ("a dog",)))
    with pytest.raises(UserError, match="image y has no references"):
        model.encode(batch)


def test_it_learns_on_the_kept_features_of_a_saved_dual_encoder(tmp_path):
    dual = scorers.dual()
    dual.prepare([["a red circle above a blue square"]])
    dual.save(tmp_path / "dual")
    loader = {"class_path": "rlcap.reward_models.load_reward_model", "init_args": {"directory": str(tmp_path / "dual")}}
    settings = {"dual_encoder": loader, "freeze": True, "references": True, "hidden": 8}
    config = {"class_path": "rlcap.reward_models.pair.PairScorer", "init_args": settings}
    model = scorers.learns_in_a_run(config, tmp_path, features="temporary")
    for name, weight in dual.state_dict().items():
        assert torch.equal(weight, model.dual_encoder.state_dict()[name])
    assert model.head.layers[-1].weight.abs().max() > 0  # it started with 0


def test_with_references_no_corrupted_captions_are_learned_from_or_measured():
    """They are nearest to the very reference that they were made of."""
    model = scorers.pair(references=True)
    with pytest.raises(UserError, match="compares captions with references, which corrupted captions are made of"):
        Matching(model, corruptions=Corruptions(per_caption=1))
    with pytest.raises(UserError, match="leave corruptions out"):
        Grammar(model)
    scenes = Shapes(train=8, val=8, test=8)
    assert list(measurement_of(model, EvaluationOptions(), scenes).names) == ["matching/accuracy"]
    assert measurement_of(scorers.pair(), EvaluationOptions(), scenes).names[-1] == "corruption/accuracy"


def test_a_reference_is_known_however_short_captions_are_cut():
    model = scorers.pair(references=True)
    long = "the red cat sits here the red cat sits here"
    assert torch.equal(model.read([long], 3).token_ids, model.read([long], 100).token_ids)


@pytest.mark.parametrize("build", [scorers.pair, scorers.text, scorers.captioner])
def test_a_full_stop_at_the_end_tells_nothing(build):
    model = build()
    with_stop, without = (model.read([f"the cat sits{end}"], 16) for end in (" .", ""))
    assert torch.equal(with_stop.token_ids, without.token_ids)
    assert torch.equal(model.read(["the cat sits."], 16).token_ids, without.token_ids)
