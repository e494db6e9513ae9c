"""Relevance propagation against numbers worked by hand, and against the rules of the paper as plain loops."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from rlcap.explaining.relevance import (
    cross_attended,
    positive_attention,
    propagated,
    propagated_in_one_stream,
    row_normalized,
)

TOKENS, WORDS, REGIONS = 2, 3, 4


def one(*rows: Sequence[float]) -> Tensor:
    """A map of a single token."""
    return torch.tensor([rows])


def random(generator: torch.Generator, *shape: int) -> Tensor:
    """A map of several tokens, with zeros among its numbers."""
    return (torch.rand(TOKENS, *shape, generator=generator, dtype=torch.float64) - 0.3).clamp(min=0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_positive_attention_by_hand() -> None:
    """Two heads: 0.5 * 2 and 0.5 * -1, which counts 0; then 0.2 * 1 and 0.8 * 3."""
    attention = torch.tensor([[[0.5, 0.2]], [[0.5, 0.8]]])
    gradient = torch.tensor([[[2.0, 1.0]], [[-1.0, 3.0]]])
    torch.testing.assert_close(positive_attention(attention, gradient), torch.tensor([[0.5, 1.3]]))


def test_one_layer_by_hand() -> None:
    """R_ii = I + A = [[1.5, .25], [0, 1.5]], its rows normalised [[5/3, 1/3], [0, 2]]; R_tt = 1.5, normalised 2.

    So R_ti = 2 [.2, .4] [[5/3, 1/3], [0, 2]] = [2/3, 26/15].
    """
    relevance = propagated([one([0.5, 0.25], [0.0, 0.5])], [one([0.5])], [one([0.2, 0.4])])
    torch.testing.assert_close(relevance, one([2 / 3, 26 / 15]))


def test_regions_without_attention_count_for_themselves_alone() -> None:
    torch.testing.assert_close(propagated([], [one([0.0])], [one([0.2, 0.4])]), one([0.2, 0.4]))


def test_a_row_to_which_nothing_came_stays() -> None:
    torch.testing.assert_close(row_normalized(one([1.0, 0.0], [0.3, 1.1])), one([1.0, 0.0], [0.75, 1.25]))


def test_cross_attention_turns_the_words(generator: torch.Generator) -> None:
    """Eq. 10 has the transpose of the words' own relevance: word 1's attention reaches word 0, which it came from."""
    of_words = one([1.0, 0.0], [0.5, 1.0])
    came = cross_attended(torch.zeros(1, 2, 1), one([0.0], [3.0]), of_words, one([1.0]))
    torch.testing.assert_close(came, one([3.0], [3.0]))


# --- the paper's rules, number by number


def product(left: list[list[float]], right: list[list[float]]) -> list[list[float]]:
    return [
        [sum(row[k] * right[k][column] for k in range(len(right))) for column in range(len(right[0]))] for row in left
    ]


def added(left: list[list[float]], right: list[list[float]]) -> list[list[float]]:
    return [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(left, right, strict=True)]


def identity(size: int) -> list[list[float]]:
    return [[float(row == column) for column in range(size)] for row in range(size)]


def bar(relevance: list[list[float]]) -> list[list[float]]:
    rows = []
    for place, row in enumerate(relevance):
        hat = [value - (column == place) for column, value in enumerate(row)]
        total = sum(hat)
        rows.append([(value / total if total else 0.0) + (column == place) for column, value in enumerate(hat)])
    return rows


def turned(matrix: list[list[float]]) -> list[list[float]]:
    return [list(column) for column in zip(*matrix, strict=True)]


def by_loops(encoder: list[Tensor], words: list[Tensor], across: list[Tensor], token: int) -> list[list[float]]:
    r_ii = identity(REGIONS)
    for layer in encoder:
        r_ii = added(r_ii, product(layer[token].tolist(), r_ii))
    r_tt, r_ti = identity(WORDS), [[0.0] * REGIONS for _ in range(WORDS)]
    for own, other in zip(words, across, strict=True):
        attention = own[token].tolist()
        r_tt, r_ti = added(r_tt, product(attention, r_tt)), added(r_ti, product(attention, r_ti))
        r_ti = added(r_ti, product(product(turned(bar(r_tt)), other[token].tolist()), bar(r_ii)))
    return r_ti


@pytest.mark.parametrize("encoder_layers", [0, 1, 3])
def test_several_layers_are_the_rules_of_the_paper(encoder_layers: int, generator: torch.Generator) -> None:
    encoder = [random(generator, REGIONS, REGIONS) for _ in range(encoder_layers)]
    words = [random(generator, WORDS, WORDS).tril() for _ in range(3)]
    across = [random(generator, WORDS, REGIONS) for _ in range(3)]
    expected = torch.tensor([by_loops(encoder, words, across, token) for token in range(TOKENS)], dtype=torch.float64)
    torch.testing.assert_close(propagated(encoder, words, across), expected)  # in float64, to 1e-7


def test_one_stream_is_the_rules_of_the_paper(generator: torch.Generator) -> None:
    positions = REGIONS + WORDS
    encoder = [random(generator, REGIONS, REGIONS) for _ in range(2)]
    joint = [random(generator, positions, positions).tril() for _ in range(3)]
    found = propagated_in_one_stream(encoder, joint, REGIONS)
    for token in range(TOKENS):
        relevance = identity(positions)
        for layer in encoder:
            attention = [[0.0] * positions for _ in range(positions)]
            for row in range(REGIONS):
                attention[row][:REGIONS] = layer[token, row].tolist()
            relevance = added(relevance, product(attention, relevance))
        for layer in joint:
            relevance = added(relevance, product(layer[token].tolist(), relevance))
        expected = torch.tensor([row[:REGIONS] for row in relevance[REGIONS:]], dtype=torch.float64)
        torch.testing.assert_close(found[token], expected)


def test_where_nothing_looks_at_the_image_nothing_counts() -> None:
    still = torch.zeros(1, WORDS + REGIONS, WORDS + REGIONS)
    still[0, -1, -2] = 1.0  # one word looks at another
    assert not propagated_in_one_stream([], [still], REGIONS).any()
    assert not propagated([], [still[:, -WORDS:, -WORDS:]], [torch.zeros(1, WORDS, REGIONS)]).any()
