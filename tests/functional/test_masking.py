"""Where captions end, by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlcap.functional.masking import ended, unpack, until_eos

EOS, PAD = 9, 0


def test_until_eos_by_hand() -> None:
    token_ids = torch.tensor(
        [
            [4, 5, EOS, PAD, PAD],  # closed, then padding
            [EOS, PAD, PAD, PAD, PAD],  # empty
            [4, 5, 6, 7, 8],  # cut at the length limit
            [4, 5, 6, 7, EOS],  # closed at the very end
            [4, EOS, 5, EOS, 6],  # what follows the first EOS is nothing, another EOS included
        ]
    )
    expected = [
        [True, True, True, False, False],
        [True, False, False, False, False],
        [True, True, True, True, True],
        [True, True, True, True, True],
        [True, True, False, False, False],
    ]
    assert until_eos(token_ids, EOS).tolist() == expected
    assert ended(token_ids, EOS).tolist() == [True, True, False, True, True]


def test_until_eos_where_padding_is_eos() -> None:
    token_ids = torch.tensor([[4, EOS, EOS, EOS], [4, 5, 6, EOS]])
    assert until_eos(token_ids, EOS).tolist() == [[True, True, False, False], [True, True, True, True]]


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_no_captions_or_no_tokens(shape: tuple[int, int]) -> None:
    token_ids = torch.zeros(shape, dtype=torch.long)
    assert until_eos(token_ids, EOS).shape == shape
    assert ended(token_ids, EOS).tolist() == [False] * shape[0]


@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=8))
def test_masks_are_prefixes_that_close_at_the_first_eos(rows: list[list[int]]) -> None:
    mask = until_eos(torch.tensor(rows), eos_id=3).tolist()
    for tokens, kept in zip(rows, mask, strict=True):
        length = tokens.index(3) + 1 if 3 in tokens else len(tokens)
        assert kept == [True] * length + [False] * (len(tokens) - length)


def test_unpack_puts_tokens_back_row_by_row() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    values = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    rows = unpack(values, mask)
    assert rows.tolist() == [[1.0, 2.0, 0.0], [3.0, 0.0, 0.0]]
    assert torch.equal(rows[mask], values)
    (rows * torch.tensor([[1.0, 10.0, 100.0], [1000.0, 7.0, 7.0]])).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [1.0, 10.0, 1000.0]
