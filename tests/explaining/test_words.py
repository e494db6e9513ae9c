"""Words of captions and the tokens they are made of."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from families import FAMILIES

from rlcap.explaining.words import Words, words_of
from rlcap.policies.base import Policy
from rlcap.types import Captions

SUB_WORDS = {"runs": "##s", "here": ".", "sits": "##ter"}


@pytest.fixture(scope="module")
def sub_words(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """A captioner with pieces of words among its tokens."""
    folder = tmp_path_factory.mktemp("pieces") / "vit-bert"
    torch.manual_seed(0)
    FAMILIES["vit-bert"].build(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {SUB_WORDS.get(word, word): index for word, index in vocabulary.items()}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return FAMILIES["vit-bert"].load(str(folder), False).eval()


def caption(policy: Any, *tokens: str) -> Captions:
    ids = [policy.tokenizer.convert_tokens_to_ids(token) for token in tokens]
    return Captions(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))


def test_pieces_and_punctuation_belong_to_the_word_before_them(sub_words: Policy) -> None:
    words = words_of(sub_words, caption(sub_words, "a", "cat", "##s", "the", "dog", "##ter", "##s", ".", "[SEP]"))
    assert words.texts == ("a", "cats", "the", "dogters.")
    assert words.tokens == ((0,), (1, 2), (3,), (4, 5, 6, 7))
    assert words.positions == tuple(range(8))


def test_special_tokens_belong_to_no_word(sub_words: Policy) -> None:
    words = words_of(sub_words, caption(sub_words, "[MASK]", "a", "[PAD]", "cat", "[SEP]"))
    assert (words.texts, words.tokens) == (("a", "cat"), ((1,), (3,)))
    nothing = words_of(sub_words, caption(sub_words, "[SEP]"))
    assert (nothing.texts, nothing.positions) == ((), ())


@pytest.mark.parametrize("name", FAMILIES)
def test_in_every_family_a_word_is_a_token_of_its_own(name: str, load: Callable[..., Policy]) -> None:
    policy = load(name)
    words = words_of(policy, policy.tokenize(["a red cat sits"], 10))
    assert (words.texts, words.tokens) == (("a", "red", "cat", "sits"), ((0,), (1,), (2,), (3,)))


def test_a_word_has_the_mean_of_its_tokens_and_the_product_of_their_probabilities() -> None:
    words = Words(("cats", "sit"), ((1, 2), (4,)))
    torch.testing.assert_close(
        words.mean(torch.tensor([[1.0, 0.0], [3.0, 4.0], [5.0, 6.0]])), torch.tensor([[2.0, 2.0], [5.0, 6.0]])
    )
    torch.testing.assert_close(words.product(torch.tensor([0.5, 0.5, 0.3])), torch.tensor([0.25, 0.3]))
