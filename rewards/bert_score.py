"""BERTScore: each token of a caption matched to the most similar one of the reference, and back. Zhang et al. 2020.

As in the authors' code (bert_score 0.3.13), special tokens weigh nothing, yet a token may be matched to one; and the
best reference counts, for precision, recall and F1 each by itself.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rewards.base import RewardError, Signature
from rewards.networks.token_embeddings import Running, TokenPairs, TokenReward

Measure = Literal["precision", "recall", "f1"]


def greedy_match(
    similarity: Float[Tensor, "pairs rows columns"],
    row_mask: Bool[Tensor, "pairs rows"],
    column_mask: Bool[Tensor, "pairs columns"],
    row_weights: Float[Tensor, "pairs rows"],
    column_weights: Float[Tensor, "pairs columns"],
) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """Precision, recall and F1 of each caption (rows) and reference (columns). Zhang et al. 2020, section 3.

    Precision is the mean over the caption's tokens of the largest similarity with a token of the reference, weighted;
    recall the same the other way round. All are 0 where a text has no token that weighs anything, F1 also where the
    sum of both is not above 0.
    """
    real = row_mask[:, :, None] & column_mask[:, None, :]
    similarity = torch.where(real, similarity, -2.0)  # below any cosine
    best = [similarity.amax(dim=2), similarity.amax(dim=1)]  # over columns, over rows
    weights = [row_weights * row_mask, column_weights * column_mask]
    sums = [weight.sum(dim=1) for weight in weights]
    both = (sums[0] > 0) & (sums[1] > 0)
    precision, recall = (
        torch.where(both, (value * weight).sum(dim=1) / total.where(total > 0, 1.0), 0.0)
        for value, weight, total in zip(best, weights, sums, strict=True)
    )
    total = precision + recall
    f1 = torch.where(total > 0, 2 * precision * recall / total.where(total > 0, 1.0), 0.0)
    return precision, recall, f1


class BertScore(TokenReward):
    """BERTScore, the best over references.

    Args:
        checkpoint: hub name or local directory of a text encoder. The paper's choice for English is
            ``FacebookAI/roberta-large`` with layer 17.
        layer: whose embeddings are compared (0: the input embeddings); None is the last.
        measure: precision, recall or their harmonic mean.
        idf: whether tokens weigh by how rare they are in the training references, given to ``prepare``; else alike.
        baseline: what is taken for 0: the score becomes ``(score - baseline) / (1 - baseline)``.
        running: batch size, precision and memory.
    """

    def __init__(
        self,
        checkpoint: str,
        layer: int | None = None,
        measure: Measure = "f1",
        idf: bool = False,
        baseline: float = 0.0,
        running: Running = Running(),  # noqa: B008 - frozen
    ) -> None:
        if not baseline < 1:
            raise RewardError(f"baseline must be below 1, got {baseline:g}: it is the score that counts as 0")
        super().__init__(checkpoint, layer, idf, "max", running)
        self.measure = measure
        self.baseline = baseline

    @property
    def signature(self) -> Signature:
        """Measure, model, precision, layer, weights, baseline."""
        return Signature("BERTScore", {"measure": self.measure, **self.settings, "baseline": f"{self.baseline:g}"})

    def compare(self, pairs: TokenPairs) -> Float[Tensor, " pairs"]:
        """The measure of each caption against one reference."""
        precision, recall, f1 = greedy_match(
            pairs.similarity, pairs.row_mask, pairs.column_mask, pairs.row_weights, pairs.column_weights
        )
        score = {"precision": precision, "recall": recall, "f1": f1}[self.measure]
        return (score - self.baseline) / (1 - self.baseline)
