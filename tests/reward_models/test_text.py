"""Text encoders with a scalar head."""

import pytest
import scorers
import torch
from captioners import build_vit_gpt2
from text_encoders import build_bert
from tiny_models import noise
from transformers import AutoTokenizer, BertModel, GPT2Config, GPT2Model

from rlcap.reward_models.base import load_reward_model
from rlcap.reward_models.text import TextScorer, TextSettings, last_place
from rlcap.types import Batch, UserError


def test_fresh_ones_keep_what_all_promise(tmp_path):
    scorers.keeps_what_all_promise(scorers.text(), tmp_path)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_pretrained_ones_keep_what_all_promise(pooling, tmp_path):
    model = scorers.prepared(TextScorer(build_bert(tmp_path / "bert"), TextSettings(pooling, hidden=4)))
    scorers.keeps_what_all_promise(model, tmp_path)


def test_the_score_is_a_weighted_sum_of_the_normalised_mean_state(tmp_path):
    place = build_bert(tmp_path)
    torch.manual_seed(0)
    model = TextScorer(place).eval()
    tokens = AutoTokenizer.from_pretrained(place)("the red cat", return_tensors="pt")
    with torch.no_grad():
        mean = BertModel.from_pretrained(place).eval()(**tokens).last_hidden_state[0].mean(dim=0)
    normal = (mean - mean.mean()) / (mean.var(correction=0) + 1e-5).sqrt()
    weights = model.head.layers[-1].weight[0]
    padded = scorers.score(model, Batch(("x",), ((),)), [0, 0], ["the red cat", "a dog sits here the red cat"])
    torch.testing.assert_close(padded[0], (weights * normal).sum().detach(), rtol=1e-5, atol=1e-5)


def test_the_last_place_is_found_by_hand():
    states = torch.arange(12.0).reshape(2, 3, 2)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert last_place(states, mask).tolist() == [[2, 3], [10, 11]]


def test_it_sees_no_image():
    model = scorers.text()
    pixels = model.process_images(noise(3, size=(640, 480)))
    assert pixels.numel() == 3
    without = Batch(("x", "y", "z"), ((), (), ()))
    seen = scorers.score(model, Batch(("x", "y", "z"), ((), (), ()), pixels), [0, 1, 2], ["a dog"] * 3)
    assert torch.equal(scorers.score(model, without, [0, 1, 2], ["a dog"] * 3), seen)
    assert seen[0] == seen[1] == seen[2]
    assert not model.needs_images


def test_a_frozen_encoder_stays_as_it_is(tmp_path):
    model = TextScorer(build_bert(tmp_path / "bert"), TextSettings(freeze=True))
    assert {name.split(".")[0] for name, weight in model.named_parameters() if weight.requires_grad} == {"head"}
    assert not model.train().encoder.training
    assert model.head.training
    model.save(tmp_path / "saved")
    assert not any(weight.requires_grad for weight in load_reward_model(str(tmp_path / "saved")).encoder.parameters())


def test_a_decoder_without_padding_token_reads_empty_captions(tmp_path):
    build_vit_gpt2(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "text")
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=40, n_embd=8, n_layer=1, n_head=2)
    GPT2Model(config).save_pretrained(tmp_path / "text")
    model = scorers.prepared(TextScorer(str(tmp_path / "text"), TextSettings("last")))
    captions = model.tokenize(["", "a cat sits"], 8)
    assert captions.mask.tolist() == [[True, False, False], [True, True, True]]
    assert model.tokenize([""], 8).mask.tolist() == [[True]]
    assert scorers.score(model, Batch(("x",), ((),)), [0, 0], ["", "a cat sits"]).isfinite().all()


def test_a_directory_without_a_text_model_is_a_mistake_of_the_user(tmp_path):
    with pytest.raises(UserError, match="cannot load"):
        TextScorer(str(tmp_path))


def test_it_learns_in_a_run(tmp_path):
    shape = {"width": 16, "layers": 1, "heads": 2, "dropout": 0.1, "min_count": 1}
    config = {"class_path": "rlcap.reward_models.text.TinyTextScorer", "init_args": {"encoder": shape}}
    model = scorers.learns_in_a_run(config, tmp_path)
    assert "circle" in model.tokenizer.get_vocab()
