"""How much each region of an image counts for a word, from attention maps and their gradients. Pure functions.

``propagated`` and ``propagated_in_one_stream`` follow Chefer, Gur and Wolf 2021, "Generic Attention-model
Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers", arXiv 2103.15679; equations are of it.
A map is of one token to be explained, in a batch of ``tokens``; its row i says what position i takes from where.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def positive_attention(
    attention: Float[Tensor, "heads queries keys"], gradient: Float[Tensor, "heads queries keys"]
) -> Float[Tensor, "queries keys"]:
    """The mean over heads of attention times gradient where that is above 0. Eq. 5."""
    return (gradient * attention).clamp(min=0).mean(dim=0)  # over heads


def self_attended(
    relevance: Float[Tensor, "tokens positions sources"], attention: Float[Tensor, "tokens positions positions"]
) -> Float[Tensor, "tokens positions sources"]:
    """The relevance after a layer of self-attention beside a residual connection. Eq. 6 and 7."""
    return relevance + attention @ relevance


def row_normalized(
    relevance: Float[Tensor, "tokens positions positions"],
) -> Float[Tensor, "tokens positions positions"]:
    """The relevance of a stream to itself, of which what came by attention adds up to 1 in each row. Eq. 8 and 9.

    A row to which nothing came stays as it is.
    """
    itself = torch.eye(relevance.shape[-1], dtype=relevance.dtype, device=relevance.device)
    came = relevance - itself
    total = came.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, came / torch.where(total > 0, total, 1.0), 0.0) + itself


def cross_attended(
    relevance: Float[Tensor, "tokens words regions"],
    attention: Float[Tensor, "tokens words regions"],
    of_words: Float[Tensor, "tokens words words"],
    of_regions: Float[Tensor, "tokens regions regions"],
) -> Float[Tensor, "tokens words regions"]:
    """The relevance of regions to words after a layer of cross-attention. Eq. 10.

    Args:
        relevance: before the layer.
        attention: of the layer, as eq. 5 has it.
        of_words: of words to words.
        of_regions: of what the image encoder read to what it made.
    """
    return relevance + row_normalized(of_words).transpose(1, 2) @ attention @ row_normalized(of_regions)


def encoded(layers: Sequence[Float[Tensor, "tokens regions regions"]], like: Tensor) -> Tensor:
    """The relevance of regions to regions after an encoder's layers; each to itself alone if it has none.

    Args:
        layers: the encoder's attention, as eq. 5 has it.
        like: any map whose first axis is the tokens and whose last the regions.
    """
    regions = torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)  # eq. 1
    relevance = regions.repeat(like.shape[0], 1, 1)
    for attention in layers:
        relevance = self_attended(relevance, attention)
    return relevance


def propagated(
    encoder: Sequence[Float[Tensor, "tokens regions regions"]],
    words: Sequence[Float[Tensor, "tokens words words"]],
    across: Sequence[Float[Tensor, "tokens words regions"]],
) -> Float[Tensor, "tokens words regions"]:
    """The relevance of each region to each position of a decoder with cross-attention.

    Args:
        encoder: self-attention of the image encoder, layer by layer, as eq. 5 has it; empty for one without attention,
            whose regions are then taken as they are.
        words: self-attention of the decoder.
        across: cross-attention of the decoder, which comes after the self-attention of the same layer.
    """
    of_regions = encoded(encoder, across[0])
    of_words = torch.eye(words[0].shape[-1], dtype=words[0].dtype, device=words[0].device).repeat(len(words[0]), 1, 1)
    relevance = torch.zeros_like(across[0])  # eq. 2
    for own, other in zip(words, across, strict=True):
        of_words, relevance = self_attended(of_words, own), self_attended(relevance, own)
        relevance = cross_attended(relevance, other, of_words, of_regions)
    return relevance


def propagated_in_one_stream(
    encoder: Sequence[Float[Tensor, "tokens regions regions"]],
    joint: Sequence[Float[Tensor, "tokens positions positions"]],
    regions: int,
) -> Float[Tensor, "tokens words regions"]:
    """The relevance of each region to each word of a decoder that reads the regions first, then its own words.

    Args:
        encoder: self-attention of the image encoder, layer by layer, as eq. 5 has it.
        joint: self-attention of the decoder over regions and words.
        regions: how many there are.
    """
    tokens, positions, _ = joint[0].shape
    relevance = torch.eye(positions, dtype=joint[0].dtype, device=joint[0].device).repeat(tokens, 1, 1)
    relevance[:, :regions, :regions] = encoded(encoder, relevance[:, :regions, :regions])
    for attention in joint:
        relevance = self_attended(relevance, attention)
    return relevance[:, regions:, :regions]
