"""BERTScore worked by hand, pair by pair in plain numpy, and as its authors' code gives it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from captioners import bert_tokenizer
from text_encoders import build_bert, minilm
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModel,
    AutoTokenizer,
    GPT2Config,
    GPT2Model,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
)

from rewards.base import Candidates, RewardError
from rewards.bert_score import BertScore, greedy_match
from rewards.networks.token_embeddings import Running, inverse_document_frequencies
from rewards.transport import TokenTransport

CAPTIONS = ["a man rides a horse on the beach", "two bowls of soup", "a dog", "a young girl is climbing stairs"]
REFERENCES = [
    ["someone riding a horse by the sea", "a man on horseback gallops"],
    ["soup in two white bowls", "a table with food"],
    ["a brown dog runs through tall grass and mud", "the dog"],
    ["a child climbing up a set of stairs", "a girl going into a wooden building"],
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_bert(tmp_path_factory.mktemp("bert"))


def match(
    similarity: Sequence[object], row_weights: Sequence[Sequence[float]], column_weights: Sequence[Sequence[float]]
) -> list[list[float]]:
    """Precision, recall and F1, every token real."""
    rows, columns = torch.tensor(row_weights), torch.tensor(column_weights)
    real = torch.ones_like(rows, dtype=torch.bool), torch.ones_like(columns, dtype=torch.bool)
    return [scores.tolist() for scores in greedy_match(torch.tensor(similarity), *real, rows, columns)]


def test_matching_by_hand() -> None:
    """Two tokens against three: 0.8 and 0.6 are the best of the rows, 0.8, 0.5 and 0.6 those of the columns."""
    similarity = [[[0.8, 0.5, 0.1], [0.2, 0.4, 0.6]]]
    precision, recall = (0.8 + 0.6) / 2, (0.8 + 0.5 + 0.6) / 3
    expected = [[precision], [recall], [2 * precision * recall / (precision + recall)]]
    np.testing.assert_allclose(match(similarity, [[1.0, 1.0]], [[1.0, 1.0, 1.0]]), expected, atol=1e-6)
    precision, recall = (3 * 0.8 + 0.6) / 4, (0.8 + 2 * 0.6) / 3
    expected = [[precision], [recall], [2 * precision * recall / (precision + recall)]]
    np.testing.assert_allclose(match(similarity, [[3.0, 1.0]], [[1.0, 0.0, 2.0]]), expected, atol=1e-6)


def test_a_token_without_weight_can_be_matched() -> None:
    """As [CLS] in the authors' code: the row's only token matches the column that weighs nothing."""
    precision, recall, _ = match([[[0.9, 0.3]]], [[1.0]], [[0.0, 1.0]])
    assert precision == pytest.approx([0.9])
    assert recall == pytest.approx([0.3])


def test_padding_is_no_match_and_no_weight_is_0() -> None:
    similarity = torch.tensor([[[-0.5, 0.9], [0.9, 0.9]], [[0.5, 0.5], [0.5, 0.5]]])
    rows, columns = torch.tensor([[True, False], [True, True]]), torch.tensor([[True, False], [True, True]])
    weights = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    precision, recall, f1 = greedy_match(similarity, rows, columns, weights, torch.ones(2, 2))
    assert precision.tolist() == pytest.approx([-0.5, 0])
    assert recall.tolist() == pytest.approx([-0.5, 0])
    assert f1.tolist() == [0, 0]  # of negative numbers there is no harmonic mean


def test_inverse_document_frequencies_by_hand() -> None:
    weights = inverse_document_frequencies([[0, 1, 1], [0, 2], [0]], 4)
    np.testing.assert_allclose(weights, np.log([4 / 4, 4 / 2, 4 / 2, 4 / 1]), atol=1e-15)


def alone(checkpoint: str, caption: str, reference: str, layer: int) -> list[float]:
    """Precision, recall and F1 of one pair, without batches, padding or memory."""
    tokenizer, model = AutoTokenizer.from_pretrained(checkpoint), AutoModel.from_pretrained(checkpoint).eval()
    vectors = []
    for text in (caption, reference):
        with torch.no_grad():
            output = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        hidden = output.hidden_states[layer][0].numpy().astype(np.float64)
        vectors.append(hidden / np.linalg.norm(hidden, axis=1, keepdims=True))
    similarity = vectors[0] @ vectors[1].T
    precision = similarity.max(axis=1)[1:-1].mean()  # the first and the last are [CLS] and [SEP]
    recall = similarity.max(axis=0)[1:-1].mean()
    return [precision, recall, 2 * precision * recall / (precision + recall)]


def test_a_batch_is_its_pairs_one_at_a_time(bert: str) -> None:
    captions = ["a cat sits", "the red dog runs here", "a cat sits", "dog"]
    references = [["the cat sits", "a dog"], ["a dog"], ["the blue cat"], ["a cat sits here"]]
    for column, measure in enumerate(("precision", "recall", "f1")):
        reward = BertScore(bert, layer=1, measure=measure, running=Running(batch_size=3))  # type: ignore[arg-type]
        expected = [
            max(alone(bert, caption, reference, 1)[column] for reference in group)
            for caption, group in zip(captions, references, strict=True)
        ]
        np.testing.assert_allclose(reward(Candidates(captions, references)), expected, atol=1e-5)


def test_empty_captions_and_a_baseline(bert: str) -> None:
    candidates = Candidates(["", "a cat", "a cat"], [["a cat"], ["a cat"], ["dog"]])
    scores = BertScore(bert)(candidates)
    assert scores.dtype == np.float64
    assert scores[0] == 0
    assert scores[1] == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(BertScore(bert, baseline=0.5)(candidates), 2 * scores - 1, atol=1e-6)
    assert BertScore(bert)(Candidates([], [])).tolist() == []


def test_a_decoder_whose_texts_may_have_no_token(tmp_path: Path) -> None:
    """As GPT-2: no special tokens, none for padding."""
    tokenizer = Tokenizer(models.WordLevel({"<|endoftext|>": 0, "a": 1, "cat": 2}, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<|endoftext|>").save_pretrained(tmp_path)
    GPT2Model(GPT2Config(vocab_size=3, n_embd=8, n_layer=1, n_head=2, n_positions=8)).save_pretrained(tmp_path)
    for reward in (BertScore(str(tmp_path)), TokenTransport(str(tmp_path))):
        assert reward(Candidates([""], [[""]])).tolist() == [0]
        assert reward(Candidates(["", "a cat"], [["a"], ["a cat", ""]])).tolist() == pytest.approx([0, 1], abs=1e-3)


SIZES = {"vocab_size": 14, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
FAMILIES = {
    "roberta": lambda: RobertaModel(RobertaConfig(**SIZES, max_position_embeddings=12, pad_token_id=1)),
    "t5": lambda: T5Model(T5Config(vocab_size=14, d_model=8, d_kv=4, d_ff=8, num_layers=2, num_heads=2)),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_encoders(family: str, tmp_path: Path) -> None:
    """RoBERTa counts positions from behind padding; of T5 the encoder is taken. Texts too long for it are cut."""
    torch.manual_seed(0)
    FAMILIES[family]().save_pretrained(tmp_path)
    bert_tokenizer().save_pretrained(tmp_path)
    candidates = Candidates(["a cat", "a red dog runs here " * 9, "dog"], [["the cat sits"], ["a cat"], ["a", "the"]])
    reward = BertScore(str(tmp_path), layer=2)
    assert reward.encoder.longest == (10 if family == "roberta" else 512)
    forgetful = BertScore(str(tmp_path), layer=2, running=Running(remembered_texts=0))
    one_by_one = [float(forgetful(candidates.select([row]))[0]) for row in range(3)]
    np.testing.assert_allclose(reward(candidates), one_by_one, atol=1e-6)
    assert 0 < max(one_by_one) < 1


def test_signatures_and_errors(bert: str) -> None:
    signature = str(BertScore(bert, layer=1, measure="recall").signature)
    assert signature.startswith("BERTScore|measure:recall|model:")
    assert signature.endswith("|precision:float32|layer:1|idf:no|over:max|baseline:0|v:0.1.0")
    with pytest.raises(RewardError, match="call prepare"):
        BertScore(bert, idf=True)(Candidates(["a cat"], [["a cat"]]))
    with pytest.raises(RewardError, match="baseline must be below 1, got 1"):
        BertScore(bert, baseline=1.0)


# What bert_score 0.3.13 gives with this encoder: precision, recall and F1 of each caption by layer and idf.
PUBLISHED: dict[tuple[int, bool], list[list[float]]] = {
    (5, False): [
        [0.7446437, 0.9212303, 0.8731597, 0.8324293],
        [0.7658206, 0.7784191, 0.8721777, 0.7419906],
        [0.7550837, 0.8438249, 0.8721777, 0.7846125],
    ],
    (5, True): [
        [0.7161247, 0.9212303, 0.9401751, 0.8118578],
        [0.7439314, 0.7784191, 0.8721777, 0.6994381],
        [0.7297633, 0.8438249, 0.9049008, 0.7514667],
    ],
    (6, False): [
        [0.6456618, 0.8899722, 0.8237857, 0.7543346],
        [0.6579124, 0.7753639, 0.8237857, 0.7064096],
        [0.6517295, 0.8287243, 0.8237857, 0.7295859],
    ],
    (6, True): [
        [0.6332717, 0.8899722, 0.917027, 0.7381383],
        [0.6467916, 0.7753639, 0.8237857, 0.693067],
        [0.6399602, 0.8287243, 0.8679092, 0.7148929],
    ],
}


@pytest.mark.parametrize("idf", [False, True], ids=["plain", "idf"])
@pytest.mark.parametrize("layer", [5, 6])
def test_as_the_authors_code(layer: int, idf: bool) -> None:
    for measure, expected in zip(("precision", "recall", "f1"), PUBLISHED[layer, idf], strict=True):
        reward = BertScore(minilm(), layer=layer, measure=measure, idf=idf)  # type: ignore[arg-type]
        reward.prepare(REFERENCES)
        np.testing.assert_allclose(reward(Candidates(CAPTIONS, REFERENCES)), expected, atol=2e-6)


def test_a_real_encoder_prefers_a_paraphrase() -> None:
    reward = BertScore(minilm())
    paraphrase, unrelated = reward(
        Candidates(
            ["someone rides a horse on the beach", "two bowls of soup on a wooden table"],
            [["a man on horseback gallops along the shore"]] * 2,
        )
    )
    assert paraphrase > unrelated + 0.2
