"""Optimal transport between the tokens of a caption and those of a reference.

The caption's tokens hold a mass of 1 in equal parts, and so do the reference's. Moving mass from token i to token j
costs ``1 - cosine(i, j)`` of their contextual embeddings. The reward is 1 minus the cost of the cheapest plan found,
which is the mean cosine of what the plan brings together. The form is that of the word-region alignment of UNITER
(Chen et al. 2020, solved by IPOT) and of MoverScore (Zhao et al. 2019, which weighs tokens by inverse document
frequency).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from rewards.base import RewardError, Signature
from rewards.networks.token_embeddings import OverReferences, Running, TokenPairs, TokenReward

TINY = 1e-30


def ipot(
    cost: Float[Tensor, "captions rows columns"],
    row_mask: Bool[Tensor, "captions rows"] | Float[Tensor, "captions rows"],
    column_mask: Bool[Tensor, "captions columns"] | Float[Tensor, "captions columns"],
    step: float = 0.2,
    iterations: int = 50,
) -> Float[Tensor, "captions rows columns"]:
    """A plan that moves the rows' mass to the columns at nearly the least cost. Xie et al. 2020, algorithm 1, L = 1.

    Each iteration descends the cost while it stays close to the plan before (a proximal point step), so that unlike
    Sinkhorn's the plan tends to an optimal one. Its marginals are exact. All 0 where a side has no mass.

    Args:
        cost: of moving one unit from a row to a column; what stands at padding is not read.
        row_mask: which rows are real, each holding as much; or what each weighs, 0 at padding.
        column_mask: the same for columns.
        step: the weight of closeness, the paper's beta, relative to the largest cost. Smaller ones go farther at
            once, and are less exact after few iterations, for the marginals are met once an iteration.
        iterations: how many steps.
    """
    if not cost.numel():
        return torch.zeros_like(cost)
    rows, columns, cost, scale = _problem(cost, row_mask, column_mask)
    lowest = torch.where((columns > 0)[:, None, :], cost, scale).amin(dim=2, keepdim=True)
    # A shift of a row changes no plan, and leaves a 1 in each row of the kernel, however small the step.
    kernel = torch.exp(-(cost - lowest) / (step * scale))
    plan = torch.ones_like(cost) * (rows > 0)[:, :, None] * (columns > 0)[:, None, :]
    right = columns
    for _ in range(iterations):
        proximal = kernel * plan
        left = rows / torch.einsum("nrc,nc->nr", proximal, right).clamp_min(TINY)
        right = columns / torch.einsum("nrc,nr->nc", proximal, left).clamp_min(TINY)
        plan = left[:, :, None] * proximal * right[:, None, :]
    return rounded(plan, rows, columns)


def sinkhorn(
    cost: Float[Tensor, "captions rows columns"],
    row_mask: Bool[Tensor, "captions rows"] | Float[Tensor, "captions rows"],
    column_mask: Bool[Tensor, "captions columns"] | Float[Tensor, "captions columns"],
    regularization: float = 0.05,
    iterations: int = 100,
) -> Float[Tensor, "captions rows columns"]:
    """The plan of least cost minus ``regularization`` times its entropy, in the log domain. Cuturi 2013.

    It is blurred: the more regularised, the more evenly every row spreads. Its marginals are exact. All 0 where a
    side has no mass.

    Args:
        cost: of moving one unit from a row to a column; what stands at padding is not read.
        row_mask: which rows are real, each holding as much; or what each weighs, 0 at padding.
        column_mask: the same for columns.
        regularization: relative to the largest cost.
        iterations: how often rows and columns are scaled in turn.
    """
    if not cost.numel():
        return torch.zeros_like(cost)
    rows, columns, cost, scale = _problem(cost, row_mask, column_mask)
    kernel = -cost / (regularization * scale)
    (row_mass, row_real), (column_mass, column_real) = _logs(rows), _logs(columns)
    right = torch.zeros_like(columns)
    left = torch.zeros_like(rows)
    for _ in range(iterations):
        left = row_mass - torch.logsumexp(kernel + (right + column_real)[:, None, :], dim=2)
        right = column_mass - torch.logsumexp(kernel + (left + row_real)[:, :, None], dim=1)
    plan = torch.exp(kernel + (left + row_real)[:, :, None] + (right + column_real)[:, None, :])
    return rounded(plan, rows, columns)


def transport_cost(
    plan: Float[Tensor, "captions rows columns"], cost: Float[Tensor, "captions rows columns"]
) -> Float[Tensor, " captions"]:
    """What carrying out each plan costs, without any regulariser."""
    return torch.where(plan > 0, plan * cost, 0.0).sum(dim=(1, 2))


def _problem(cost: Tensor, row_mask: Tensor, column_mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Marginals that sum to 1 (or are 0 in a problem without mass), the cost with 0 at padding, and its largest."""
    rows, columns = row_mask.to(cost.dtype), column_mask.to(cost.dtype)
    masses = rows.sum(dim=1, keepdim=True), columns.sum(dim=1, keepdim=True)
    solvable = (masses[0] > 0) & (masses[1] > 0)
    rows, columns = (
        torch.where(solvable, side / mass.clamp_min(TINY), 0.0)
        for side, mass in zip((rows, columns), masses, strict=True)
    )
    real = (rows > 0)[:, :, None] & (columns > 0)[:, None, :]
    cost = torch.where(real, cost, 0.0)
    return rows, columns, cost, cost.abs().amax(dim=(1, 2), keepdim=True).clamp_min(TINY)


def _logs(mass: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm of each mass (0 at padding), and what to add so that padding counts for nothing in a sum."""
    real = mass > 0
    return torch.where(real, mass, 1.0).log(), torch.where(real, 0.0, -torch.inf)


def rounded(
    plan: Float[Tensor, "captions rows columns"],
    rows: Float[Tensor, "captions rows"],
    columns: Float[Tensor, "captions columns"],
) -> Float[Tensor, "captions rows columns"]:
    """A plan with exactly these marginals, close to the one given. Altschuler et al. 2017, algorithm 2."""
    plan = torch.where((rows > 0)[:, :, None] & (columns > 0)[:, None, :], plan, 0.0)
    plan = plan * (rows / plan.sum(dim=2).clamp_min(TINY)).clamp_max(1)[:, :, None]
    plan = plan * (columns / plan.sum(dim=1).clamp_min(TINY)).clamp_max(1)[:, None, :]
    missing = (rows - plan.sum(dim=2)).clamp_min(0)
    lacking = (columns - plan.sum(dim=1)).clamp_min(0)
    # Both sum to the same up to rounding errors, which the floor keeps from being divided by one another.
    total = missing.sum(dim=1)[:, None, None].clamp_min(torch.finfo(plan.dtype).eps)
    return plan + missing[:, :, None] * lacking[:, None, :] / total


class Solver(ABC):
    """Finds plans of little cost."""

    @abstractmethod
    def __call__(
        self,
        cost: Float[Tensor, "captions rows columns"],
        row_mask: Bool[Tensor, "captions rows"] | Float[Tensor, "captions rows"],
        column_mask: Bool[Tensor, "captions columns"] | Float[Tensor, "captions columns"],
    ) -> Float[Tensor, "captions rows columns"]:
        """A plan for each caption; masks as in ``ipot``."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The solver and its settings, for signatures."""


class Ipot(Solver):
    """Proximal point steps, which tend to an optimal plan: see ``ipot``."""

    def __init__(self, step: float = 0.2, iterations: int = 50) -> None:
        _check("step", step, iterations)
        self.step = step
        self.iterations = iterations

    @property
    def name(self) -> str:
        return f"ipot-{self.step:g}-{self.iterations}"

    def __call__(self, cost: Tensor, row_mask: Tensor, column_mask: Tensor) -> Tensor:
        return ipot(cost, row_mask, column_mask, self.step, self.iterations)


class Sinkhorn(Solver):
    """Entropy regularisation, which blurs the plan: see ``sinkhorn``."""

    def __init__(self, regularization: float = 0.05, iterations: int = 100) -> None:
        _check("regularization", regularization, iterations)
        self.regularization = regularization
        self.iterations = iterations

    @property
    def name(self) -> str:
        return f"sinkhorn-{self.regularization:g}-{self.iterations}"

    def __call__(self, cost: Tensor, row_mask: Tensor, column_mask: Tensor) -> Tensor:
        return sinkhorn(cost, row_mask, column_mask, self.regularization, self.iterations)


def _check(name: str, value: float, iterations: int) -> None:
    if not value > 0:
        raise RewardError(f"{name} must be above 0, got {value:g}: it is relative to the largest cost, such as 0.1")
    if iterations < 1:
        raise RewardError(f"iterations must be 1 or more, got {iterations}")


@dataclass(frozen=True)
class Alignment:
    """How a caption's tokens were brought together with a reference's or with the patches of an image.

    Attributes:
        plan: the mass moved from each row to each column; all of it is 1.
        cost: of moving one unit.
        rows: the caption's tokens.
        columns: the reference's tokens, or each patch's row and column, row by row.
        grid: rows and columns of the patches; None for tokens.
    """

    plan: Float64[np.ndarray, "rows columns"]
    cost: Float64[np.ndarray, "rows columns"]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    grid: tuple[int, int] | None = None

    @property
    def reward(self) -> float:
        """1 minus the transport cost, or 0 without a plan."""
        return float((self.plan * (1 - self.cost)).sum())


class TokenTransport(TokenReward):
    """1 minus the cost of optimal transport between a caption's and a reference's tokens; 0 for a text without any.

    Special tokens take no part. ``alignment`` tells what a caption's tokens were brought together with.

    Args:
        checkpoint: hub name or local directory of a text encoder; a sentence-transformers model is one too.
        layer: whose embeddings are compared (0: the input embeddings); None is the last.
        solver: how plans are found; None is ``Ipot()``.
        idf: whether tokens hold mass by how rare they are in the training references, given to ``prepare``; else
            all hold as much.
        over_references: how a caption's scores against its references become one.
        running: batch size, precision and memory.
    """

    def __init__(
        self,
        checkpoint: str = "sentence-transformers/all-MiniLM-L6-v2",
        layer: int | None = None,
        solver: Solver | None = None,
        idf: bool = False,
        over_references: OverReferences = "max",
        running: Running = Running(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(checkpoint, layer, idf, over_references, running)
        self.solver = solver or Ipot()

    @property
    def signature(self) -> Signature:
        """Model, precision, layer, weights, references, solver."""
        return Signature("TokenTransport", {**self.settings, "solver": self.solver.name})

    def compare(self, pairs: TokenPairs) -> Float[Tensor, " pairs"]:
        """The reward of each caption against one reference."""
        return transport_reward(pairs.similarity, pairs.row_weights, pairs.column_weights, self.solver)

    def alignment(self, caption: str, reference: str) -> Alignment:
        """Which tokens of the reference the tokens of the caption were brought together with."""
        with self.judging():
            vectors = self.encode(list(dict.fromkeys([caption, reference])))
            row, column = vectors[caption], vectors[reference]
            pairs = self.pair([row], [column])
            cost = 1 - pairs.similarity
            plan = self.solver(cost, pairs.row_weights, pairs.column_weights)
        text = np.ix_(row.is_text, column.is_text)
        return Alignment(
            plan[0].double().cpu().numpy()[text],
            cost[0].double().cpu().numpy()[text],
            self.encoder.spelled(row),
            self.encoder.spelled(column),
        )


def transport_reward(
    similarity: Float[Tensor, "captions rows columns"],
    row_mask: Bool[Tensor, "captions rows"] | Float[Tensor, "captions rows"],
    column_mask: Bool[Tensor, "captions columns"] | Float[Tensor, "captions columns"],
    solver: Solver,
) -> Float[Tensor, " captions"]:
    """1 minus the transport cost with cost 1 - similarity, or 0 where a side has no mass; masks as in ``ipot``."""
    plan = solver(1 - similarity, row_mask, column_mask)
    return plan.sum(dim=(1, 2)) - transport_cost(plan, 1 - similarity)
