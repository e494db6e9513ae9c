"""Fluency: the language model's own loss, one caption at a time, as the judge."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from captioners import WIDTH, WORDS, bert_tokenizer, sharpen
from jsonargparse import ArgumentParser
from resamples import assert_resampled_is_the_aggregate
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from rewards.base import Candidates, Reward, RewardError
from rewards.fluency import Fluency, Likelihood, Perplexity, perplexity, token_logprobs

VOCABULARY = {word: index for index, word in enumerate(("<s>", "</s>", "<unk>", *WORDS))}
POSITIONS = 12
CAPTIONS = [
    "a red cat sits here",
    "dog",
    "the blue dog runs",
    "a cat",
    "a cat sits a cat sits a cat sits",
    "the the the",
    "dog runs here",
]


def tokenizer(**special: str) -> PreTrainedTokenizerFast:
    """Words; where there is a BOS token, it comes first by itself, as with Llama."""
    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if "bos_token" in special:
        words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", **special)


def build_gpt2(directory: Path, **special: str) -> None:
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(VOCABULARY), n_embd=WIDTH, n_layer=2, n_head=2, n_positions=POSITIONS)
    )
    sharpen(model)
    model.save_pretrained(directory)
    tokenizer(**special).save_pretrained(directory)


def build_llama(directory: Path, **special: str) -> None:
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=WIDTH,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=POSITIONS,
        )
    )
    sharpen(model)
    model.save_pretrained(directory)
    tokenizer(**special).save_pretrained(directory)


Build = Callable[..., None]
KINDS: dict[str, tuple[Build, dict[str, str], list[int]]] = {
    "gpt2": (build_gpt2, {"bos_token": "</s>", "eos_token": "</s>"}, [1]),
    "llama": (build_llama, {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}, [0]),
    "eos_only": (build_llama, {"eos_token": "</s>"}, [1]),
    "no_start": (build_gpt2, {}, []),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of language model, saved as the hub would."""
    base = tmp_path_factory.mktemp("language_models")
    torch.manual_seed(0)
    for name, (build, special, _) in KINDS.items():
        build(base / name, **special)
    return base


def own_loss(checkpoint: Path, token_ids: list[int]) -> float:
    """The model's own mean negative log-likelihood of one sequence."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    ids = torch.tensor([token_ids])
    with torch.no_grad():
        return float(model(input_ids=ids, labels=ids).loss)


def ids_of(caption: str) -> list[int]:
    return [VOCABULARY.get(word, 2) for word in caption.split()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_equal_to_the_models_own_loss_caption_by_caption(kind: str, batch_size: int, folder: Path) -> None:
    start = KINDS[kind][2]
    captions = [*CAPTIONS, "an unknown cat"] if start else [own for own in CAPTIONS if own != "dog"]
    reward = Fluency(str(folder / kind), batch_size=batch_size)
    expected = [-own_loss(folder / kind, [*start, *ids_of(caption)]) for caption in captions]
    np.testing.assert_allclose(reward(Candidates(captions)), expected, rtol=0, atol=1e-5)


def test_token_logprobs_by_hand() -> None:
    odds = torch.tensor([[[1.0, 3.0], [1.0, 1.0], [9.0, 1.0]]]).log()
    expected = torch.tensor([[3 / 4, 1 / 2]]).log()  # the first token is given; nothing follows the last logits
    torch.testing.assert_close(token_logprobs(odds, torch.tensor([[0, 1, 0]])), expected)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_chances_of_all_single_tokens_add_up_to_one(kind: str, folder: Path) -> None:
    chances = np.exp(Fluency(str(folder / kind))(Candidates(list(VOCABULARY))))
    assert chances.sum() == pytest.approx(1, abs=1e-5)
    assert chances.max() > 0.2  # far from uniform


def test_a_caption_without_scored_tokens_is_blind_chance(folder: Path) -> None:
    blind = -math.log(len(VOCABULARY))
    assert Fluency(str(folder / "llama"))(Candidates(["", "  "])).tolist() == [blind, blind]
    assert Fluency(str(folder / "no_start"))(Candidates(["", "dog"])).tolist() == [blind, blind]
    assert Fluency(str(folder / "llama"))(Candidates([])).shape == (0,)


def test_perplexity_of_all_is_per_token_and_not_a_mean(folder: Path) -> None:
    reward = Perplexity(str(folder / "llama"))
    captions = ["a red cat sits here", "dog", ""]
    losses = [own_loss(folder / "llama", [0, *ids_of(caption)]) for caption in captions[:2]]
    scores = reward(Candidates(captions))
    np.testing.assert_allclose(scores, [*np.exp(losses), len(VOCABULARY)], rtol=1e-5)
    assert reward.corpus(Candidates(captions)) == pytest.approx(math.exp((5 * losses[0] + losses[1]) / 6), rel=1e-5)
    assert reward.corpus(Candidates(captions)) != pytest.approx(scores.mean(), rel=0.01)
    assert perplexity([Likelihood(math.log(1 / 8), 3), Likelihood(0.0, 0)]) == pytest.approx(2)
    assert perplexity([]) == 1


def test_perplexity_of_resamples_from_the_same_likelihoods(folder: Path) -> None:
    reward = Perplexity(str(folder / "llama"))
    assert_resampled_is_the_aggregate(reward, Candidates(["a red cat sits here", "dog", "", "the blue dog runs"]))


def test_one_token_counts_no_less_than_the_lowest(folder: Path) -> None:
    unbounded = Fluency(str(folder / "gpt2"))
    ids = torch.tensor([[1, *ids_of(CAPTIONS[0])]])
    logprobs = token_logprobs(unbounded.model(input_ids=ids).logits, ids)
    lowest = float(logprobs.median()) - 0.01  # some tokens fall below it, and some do not
    reward = Fluency(str(folder / "gpt2"), lowest=lowest)
    expected = float(logprobs.clamp(min=lowest).mean())
    assert reward(Candidates([CAPTIONS[0]])).tolist() == pytest.approx([expected], abs=1e-5)
    assert expected > float(unbounded(Candidates([CAPTIONS[0]]))[0]) + 0.1
    with pytest.raises(RewardError, match="negative, got 0"):
        Fluency(str(folder / "gpt2"), lowest=0.0)


def test_equal_captions_run_once_and_known_ones_not_at_all(folder: Path) -> None:
    reward = Fluency(str(folder / "llama"), remembered_captions=2)
    run: list[int] = []

    def count(module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        run.append(len(given[0]))

    reward.model.get_input_embeddings().register_forward_pre_hook(count)
    first = reward(Candidates(["a cat", "dog", "a cat", "dog", "a cat"]))
    assert sum(run) == 2
    np.testing.assert_array_equal(reward(Candidates(["dog", "a cat"])), first[[1, 0]])
    assert sum(run) == 2
    reward(Candidates(["the dog", "the cat"]))  # no room for more than two
    reward(Candidates(["a cat"]))
    assert sum(run) == 5


def test_a_caption_beyond_the_positions_is_scored_as_far_as_they_reach(folder: Path) -> None:
    words = ["cat", "dog"] * POSITIONS
    scores = Fluency(str(folder / "gpt2"))(Candidates([" ".join(words), " ".join(words[: POSITIONS - 1])]))
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_precision(folder: Path) -> None:
    whole, half = Fluency(str(folder / "llama")), Fluency(str(folder / "llama"), precision="bfloat16")
    assert half.dtype == torch.bfloat16
    # bfloat16 keeps 8 bits: 2**-8 of logits up to 10 or so
    np.testing.assert_allclose(half(Candidates(CAPTIONS)), whole(Candidates(CAPTIONS)), rtol=0, atol=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # the policy's precision is none of its business
        again = Fluency(str(folder / "llama"))(Candidates(CAPTIONS))
    np.testing.assert_array_equal(again, whole(Candidates(CAPTIONS)))


def test_a_model_that_sees_later_words_is_refused(tmp_path: Path) -> None:
    bert_tokenizer().save_pretrained(tmp_path)
    model = BertLMHeadModel(
        BertConfig(
            vocab_size=len(bert_tokenizer()),
            hidden_size=WIDTH,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
        )
    )
    model.save_pretrained(tmp_path)
    with pytest.raises(RewardError, match="looks at later words: give a causal language model"):
        Fluency(str(tmp_path))


def test_it_is_named_in_yaml_and_signed(folder: Path) -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(Reward, "reward")
    init_args = {"checkpoint": str(folder / "llama"), "lowest": -8, "precision": "float32"}
    config = {"reward": {"class_path": "rewards.fluency.Fluency", "init_args": init_args}}
    reward = parser.instantiate(parser.parse_object(config)).reward
    reward.to("cpu")
    signature = str(reward.signature)
    assert signature.startswith("Fluency|model:llama@")
    assert signature.endswith("|precision:float32|start:<s>|lowest:-8|v:0.1.0")
    assert str(folder) not in signature
    assert Fluency(str(folder / "no_start")).signature.settings["start"] == "none"
    with pytest.raises(RewardError, match="cannot load"):
        Fluency(str(folder / "nothing"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_on_a_gpu(folder: Path) -> None:
    reward = Fluency(str(folder / "llama"), batch_size=3)
    expected = reward(Candidates(CAPTIONS))
    other = Fluency(str(folder / "llama"), batch_size=3)
    other.to("cuda")
    np.testing.assert_allclose(other(Candidates(CAPTIONS)), expected, rtol=0, atol=1e-4)
