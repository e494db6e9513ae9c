"""Captioners with a scalar head."""

import pytest
import scorers
import torch
from families import FAMILIES

from rlcap.models import kind_of
from rlcap.policies.base import load_policy
from rlcap.reward_models.captioner import CaptionerScorer
from rlcap.types import UserError


def test_fresh_ones_keep_what_all_promise(tmp_path):
    scorers.keeps_what_all_promise(scorers.captioner(), tmp_path)


@pytest.mark.parametrize("name", ["vit-gpt2", "vit-bert", "blip", "git", "mobilenet", "lora-vit-gpt2"])
def test_every_family_keeps_what_all_promise(name, tmp_path):
    FAMILIES[name].build(tmp_path / "checkpoint")
    model = scorers.prepared(CaptionerScorer(FAMILIES[name].load(str(tmp_path / "checkpoint"), False)))
    scorers.keeps_what_all_promise(model, tmp_path)


def test_the_head_reads_the_state_that_has_read_every_word():
    model = scorers.captioner()
    policy, batch = model.policy, scorers.images(model)
    captions = policy.tokenize(["a red cat"], 16)
    with torch.no_grad():
        _, hidden = policy.score_tokens(policy.encode(batch).select(torch.tensor([1])), captions)
        expected = model.head(hidden[:, 3])  # where EOS follows three words
    torch.testing.assert_close(scorers.score(model, batch, [1], ["a red cat"]), expected)


def test_a_caption_that_is_cut_is_scored_as_the_words_left_of_it():
    model = scorers.captioner()
    batch, long = scorers.images(model), "a red cat sits here the dog"
    cut = model.tokenize([long, "a"], 5)
    assert cut.token_ids[0, -1] == model.policy.eos_id
    with torch.no_grad():
        scores = model.score(model.encode(batch).select(torch.tensor([0, 0])), cut)
    torch.testing.assert_close(scores, scorers.score(model, batch, [0, 0], ["a red cat sits", "a"]))
    assert model.tokenize([], 5).token_ids.shape[0] == 0


def test_it_starts_with_scores_of_unit_size():
    torch.manual_seed(0)
    model = scorers.captioner()
    scores = []
    for seed in range(40):
        torch.manual_seed(seed)
        model.head = None
        model.prepare([])
        scores.append(scorers.score(model.eval(), scorers.images(model), [0, 1, 2], scorers.CAPTIONS[:3]))
    assert 0.6 < torch.stack(scores).std() < 1.4  # 40 independent heads: 1 within a tenth or two


def test_its_folder_holds_a_reward_model_and_no_policy(tmp_path):
    scorers.captioner().save(tmp_path)
    assert kind_of(tmp_path) == "reward_model"
    with pytest.raises(UserError, match="holds no saved policy"):
        load_policy(str(tmp_path))


def test_it_learns_from_a_saved_captioner(tmp_path):
    policy = scorers.captioner().policy
    policy.save(tmp_path / "policy")
    loader = {"class_path": "rlcap.policies.load_policy", "init_args": {"directory": str(tmp_path / "policy")}}
    config = {"class_path": "rlcap.reward_models.captioner.CaptionerScorer", "init_args": {"policy": loader}}
    learned = scorers.learns_in_a_run(config, tmp_path).policy.state_dict()
    still = [name for name, weight in policy.state_dict().items() if torch.equal(weight, learned[name])]
    assert still == []
