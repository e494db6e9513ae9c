"""Transport plans against exact solvers and hand-worked ones, and the reward on tokens of tiny and real encoders."""

from pathlib import Path

import jsonargparse
import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment, linprog
from text_encoders import build_bert, minilm
from torch import Tensor

from rewards.base import Candidates, Reward, RewardError
from rewards.networks.token_embeddings import Running
from rewards.transport import Ipot, Sinkhorn, TokenTransport, ipot, rounded, sinkhorn, transport_cost

DTYPES = {"float32": torch.float32, "float64": torch.float64}
SOLVERS = {"ipot": ipot, "sinkhorn": sinkhorn}


def problems(count: int, rows: int, columns: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Costs 1 - cosine of random vectors, half of them near one of the other side."""
    generator = torch.Generator().manual_seed(count + rows + columns)
    left = torch.randn(count, rows, 8, generator=generator, dtype=torch.float64)
    right = torch.randn(count, columns, 8, generator=generator, dtype=torch.float64)
    shared = min(rows, columns) // 2
    right[:, :shared] += 2 * left[:, :shared]
    normal = torch.nn.functional.normalize
    return (1 - normal(left, dim=2) @ normal(right, dim=2).transpose(1, 2)).to(dtype)


def full(cost: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ones(cost.shape[:2], dtype=torch.bool), torch.ones(cost.shape[::2], dtype=torch.bool)


def exact_cost(cost: Tensor, rows: Tensor, columns: Tensor) -> float:
    """The least cost by linear programming: variables are the plan's entries, constraints its marginals."""
    m, n = cost.shape
    constraints = np.concatenate([np.kron(np.eye(m), np.ones(n)), np.kron(np.ones(m), np.eye(n))])
    marginals = np.concatenate([rows / rows.sum(), columns / columns.sum()])
    return float(linprog(cost.numpy().ravel(), A_eq=constraints, b_eq=marginals, method="highs").fun)


# --- plans


@pytest.mark.parametrize("dtype", DTYPES)
def test_ipot_finds_the_best_assignment(dtype: str) -> None:
    cost = problems(20, 7, 7, DTYPES[dtype])
    best = []
    for problem in cost.double().numpy():
        rows, columns = linear_sum_assignment(problem)
        best.append(problem[rows, columns].mean())
    excess = transport_cost(ipot(cost, *full(cost), iterations=2000), cost).double().numpy() - np.array(best)
    assert excess.min() > -1e-6  # a plan with the right marginals cannot cost less than the best
    assert excess.max() < 1e-4
    usual = transport_cost(ipot(cost, *full(cost)), cost).double().numpy() - np.array(best)
    assert usual.mean() < 3e-3  # 50 iterations, of costs around 0.5
    assert usual.max() < 0.03


def test_ipot_finds_the_best_plan_for_unequal_numbers_and_weights() -> None:
    cost = problems(10, 5, 9)
    generator = torch.Generator().manual_seed(1)
    rows = torch.rand(10, 5, generator=generator, dtype=torch.float64) + 0.1
    columns = torch.rand(10, 9, generator=generator, dtype=torch.float64) + 0.1
    best = [exact_cost(*problem) for problem in zip(cost, rows, columns, strict=True)]
    found = transport_cost(ipot(cost, rows, columns, iterations=2000), cost).numpy()
    np.testing.assert_allclose(found, best, atol=1e-4)


def test_ipot_is_the_published_algorithm() -> None:
    """Xie et al. 2020, algorithm 1, step by step; the shift of rows and the batch change nothing."""
    (cost,) = problems(1, 4, 6)
    beta, iterations = 0.3 * float(cost.max()), 7
    kernel, plan, sigma = torch.exp(-cost / beta), torch.ones(4, 6, dtype=torch.float64), torch.full((6,), 1 / 6.0)
    sigma = sigma.double()
    for _ in range(iterations):
        proximal = kernel * plan
        delta = (1 / 4) / (proximal @ sigma)
        sigma = (1 / 6) / (proximal.T @ delta)
        plan = torch.diag(delta) @ proximal @ torch.diag(sigma)
    uniform = torch.full((1, 4), 0.25, dtype=torch.float64), torch.full((1, 6), 1 / 6, dtype=torch.float64)
    ours = ipot(cost[None], *full(cost[None]), step=0.3, iterations=iterations)
    torch.testing.assert_close(ours, rounded(plan[None], *uniform), atol=1e-12, rtol=0)


def test_sinkhorn_in_closed_form() -> None:
    """Two by two with cost 1 off the diagonal: what stays is to what moves as 1 is to exp(-1 / regularization)."""
    cost = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]], dtype=torch.float64)
    plan = sinkhorn(cost, *full(cost), regularization=0.5)
    stays = 0.5 / (1 + np.exp(-2.0))
    torch.testing.assert_close(
        plan, torch.tensor([[[stays, 0.5 - stays], [0.5 - stays, stays]]]).double(), atol=1e-12, rtol=0
    )


def test_sinkhorn_between_even_and_best() -> None:
    cost = problems(10, 4, 6)
    rows, columns = full(cost)
    even = sinkhorn(cost, rows, columns, regularization=1e3)
    torch.testing.assert_close(even, torch.full_like(cost, 1 / 24), atol=1e-4, rtol=0)
    best = [exact_cost(problem, torch.ones(4), torch.ones(6)) for problem in cost]
    sharp = transport_cost(sinkhorn(cost, rows, columns, regularization=2e-3, iterations=5000), cost)
    np.testing.assert_allclose(sharp.numpy(), best, atol=2e-3)
    # A solution of the regularised problem is exp(-cost / regularization) with rows and columns scaled.
    plan = sinkhorn(cost, rows, columns, regularization=0.2, iterations=1000)
    scaled = plan.log() + cost / (0.2 * cost.amax(dim=(1, 2), keepdim=True))
    scaled = scaled - scaled[:, :1] - scaled[:, :, :1] + scaled[:, :1, :1]
    torch.testing.assert_close(scaled, torch.zeros_like(scaled), atol=1e-9, rtol=0)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_padded_batch_is_its_problems_one_by_one(solver: str, dtype: str) -> None:
    sizes = [(3, 5), (6, 2), (1, 1), (6, 5), (4, 1)]
    cost = torch.full((len(sizes), 6, 5), torch.nan, dtype=DTYPES[dtype])  # what stands at padding is not read
    rows, columns = torch.zeros(len(sizes), 6, dtype=torch.bool), torch.zeros(len(sizes), 5, dtype=torch.bool)
    for problem, (m, n) in enumerate(sizes):
        cost[problem, :m, :n] = problems(1, m, n, DTYPES[dtype])[0]
        rows[problem, :m], columns[problem, :n] = True, True
    plan = SOLVERS[solver](cost, rows, columns)
    tolerance = 1e-6 if dtype == "float32" else 1e-13
    for problem, (m, n) in enumerate(sizes):
        alone = cost[problem : problem + 1, :m, :n]
        torch.testing.assert_close(
            plan[problem, :m, :n], SOLVERS[solver](alone, *full(alone))[0], atol=tolerance, rtol=0
        )
        assert plan[problem].sum() == pytest.approx(1, abs=tolerance)
        np.testing.assert_allclose(plan[problem].sum(dim=1)[:m].numpy(), 1 / m, atol=tolerance)
        np.testing.assert_allclose(plan[problem].sum(dim=0)[:n].numpy(), 1 / n, atol=tolerance)
    assert transport_cost(plan, cost).isfinite().all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_side_without_mass_has_no_plan(solver: str) -> None:
    cost = problems(3, 2, 2)
    rows, columns = full(cost)
    rows[0], columns[1] = False, False
    plan = SOLVERS[solver](cost, rows, columns)
    assert plan.sum(dim=(1, 2)).tolist() == pytest.approx([0, 0, 1])
    assert transport_cost(plan, cost)[:2].tolist() == [0, 0]


def test_small_settings_do_not_overflow_in_single_precision() -> None:
    cost = problems(5, 6, 6, torch.float32)
    for plan in (
        ipot(cost, *full(cost), step=0.005, iterations=100),
        sinkhorn(cost, *full(cost), regularization=1e-4, iterations=50),
    ):
        torch.testing.assert_close(plan.sum(dim=1), torch.full((5, 6), 1 / 6), atol=1e-6, rtol=0)
        torch.testing.assert_close(plan.sum(dim=2), torch.full((5, 6), 1 / 6), atol=1e-6, rtol=0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_settings_are_relative_to_the_cost(solver: str) -> None:
    cost = problems(5, 3, 4)
    torch.testing.assert_close(
        SOLVERS[solver](100 * cost, *full(cost)), SOLVERS[solver](cost, *full(cost)), atol=1e-12, rtol=0
    )


def test_solvers_refuse_settings_that_cannot_be() -> None:
    with pytest.raises(RewardError, match=r"step must be above 0, got 0"):
        Ipot(step=0.0)
    with pytest.raises(RewardError, match="iterations must be 1 or more, got 0"):
        Sinkhorn(iterations=0)


# --- the reward


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_bert(tmp_path_factory.mktemp("bert"))


SOME = Candidates(
    ["a cat sits", "the dog", "", "a red dog runs here", "a cat sits"],
    [["the cat sits", "a dog"], ["the dog"], ["a cat"], ["a blue cat", "the dog runs", "a dog"], ["a cat sits"]],
)


def test_a_batch_is_its_captions_one_by_one(bert: str) -> None:
    together = TokenTransport(bert, running=Running(batch_size=3))
    apart = TokenTransport(bert, running=Running(remembered_texts=0))
    one_by_one = [float(apart(SOME.select([row]))[0]) for row in range(len(SOME))]
    scores = together(SOME)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, one_by_one, atol=1e-5)
    np.testing.assert_allclose(together(SOME), scores, atol=1e-5)  # remembered
    assert scores[2] == 0  # no tokens
    assert scores[4] == pytest.approx(1, abs=0.01)  # equal texts; IPOT is that far from the best plan
    assert together(Candidates([], [])).tolist() == []


def test_mean_and_max_over_references(bert: str) -> None:
    pairs = Candidates(["a cat sits"] * 2, [["the cat sits"], ["a dog"]])
    alone = TokenTransport(bert)(pairs)
    for how, expected in {"mean": alone.mean(), "max": alone.max()}.items():
        reward = TokenTransport(bert, over_references=how)  # type: ignore[arg-type]
        assert reward(SOME.select([0]))[0] == pytest.approx(expected, abs=1e-5)


def test_an_alignment_is_what_the_reward_is_made_of(bert: str) -> None:
    reward = TokenTransport(bert, solver=Sinkhorn())
    alignment = reward.alignment("a red dog", "the dog runs here")
    assert alignment.rows == ("a", "red", "dog")
    assert alignment.columns == ("the", "dog", "runs", "here")
    np.testing.assert_allclose(alignment.plan.sum(axis=1), 1 / 3, atol=1e-6)
    np.testing.assert_allclose(alignment.plan.sum(axis=0), 1 / 4, atol=1e-6)
    assert alignment.reward == pytest.approx(
        float(reward(Candidates(["a red dog"], [["the dog runs here"]]))[0]), abs=1e-5
    )


def test_rare_tokens_hold_more_mass(bert: str) -> None:
    reward = TokenTransport(bert, idf=True)
    with pytest.raises(RewardError, match=r"TokenTransport\(idf=True\) has no document frequencies yet: call prepare"):
        reward(SOME)
    before = str(reward.signature)
    reward.prepare([["a cat sits", "a dog"], ["a cat"]])
    assert str(reward.signature) != before
    plan = reward.alignment("a cat runs", "the dog").plan.sum(axis=1)
    weights = np.log([4 / 4, 4 / 3, 4 / 1])  # 3 texts; "a" in all, "cat" in 2, "runs" in none
    np.testing.assert_allclose(plan, weights / weights.sum(), atol=1e-6)
    assert reward(Candidates(["a a"], [["the dog"]])).tolist() == [0]  # nothing that weighs anything


def test_a_yaml_names_the_solver(bert: str) -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--reward", type=Reward)
    settings = {
        "checkpoint": bert,
        "solver": {"class_path": "rewards.transport.Sinkhorn", "init_args": {"regularization": 0.1}},
        "running": {"batch_size": 2, "precision": "bfloat16"},
    }
    parsed = parser.parse_object({"reward": {"class_path": "rewards.transport.TokenTransport", "init_args": settings}})
    reward = parser.instantiate(parsed).reward
    signature = str(reward.signature)
    assert signature.startswith("TokenTransport|model:")
    assert signature.endswith("|precision:bfloat16|layer:last|idf:no|over:max|solver:sinkhorn-0.1-100|v:0.1.0")
    assert str(Path(bert).parent) not in signature
    np.testing.assert_allclose(reward(SOME), TokenTransport(bert, solver=Sinkhorn(0.1))(SOME), atol=0.03)  # bfloat16


def test_a_layer_that_is_not_there(bert: str) -> None:
    with pytest.raises(RewardError, match=r"has layers 0 to 2, got layer 3"):
        TokenTransport(bert, layer=3)


def test_a_real_encoder_prefers_a_paraphrase() -> None:
    reward = TokenTransport(minilm())
    references = [["a man on horseback gallops along the shore"]] * 3
    paraphrase, shared, unrelated = reward(
        Candidates(
            ["someone rides a horse on the beach", "a man along the shore", "two bowls of soup on a wooden table"],
            references,
        )
    )
    assert paraphrase > unrelated + 0.2
    assert shared > unrelated + 0.2
    alignment = reward.alignment("a horse", "the horse and a bird")
    assert alignment.columns[int(alignment.plan[alignment.rows.index("horse")].argmax())] == "horse"
