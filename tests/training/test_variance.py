"""The measured variance of a gradient against the one of all captions there are."""

import pytest
import torch
from enumeration import (
    LENGTH,
    alone,
    constant,
    each_gradient,
    exact_gradient,
    outcomes,
    scorer,
    step_gradient,
    three_images,
    two_word_policy,
)

from rlcap.algorithms.actor_critic import ActorCritic
from rlcap.algorithms.base import Algorithm
from rlcap.algorithms.baselines import Greedy, NoBaseline, RunningMean
from rlcap.algorithms.reinforce import Reinforce
from rlcap.policies.tiny import TinyViT
from rlcap.training.variance import gradient_variance
from rlcap.types import Batch


@pytest.fixture
def policy() -> TinyViT:
    return two_word_policy()


@pytest.fixture
def batch() -> Batch:
    return three_images()


def drawn_gradients(algorithm: Algorithm, batch: Batch, rollouts: int, key: tuple[int, ...]) -> torch.Tensor:
    """One by one, in float64."""
    each = []
    for number in range(rollouts):
        rollout = algorithm.act(batch, scorer(algorithm.policy), (*key, number)).settled()
        (rollout,) = algorithm.weigh([rollout], alone)
        each.append(step_gradient(algorithm, rollout))
    return torch.stack(each).double()


@pytest.mark.parametrize("kind", ["greedy", "actor_critic"])
def test_it_is_the_trace_of_the_covariance_of_the_gradients_drawn(policy: TinyViT, batch: Batch, kind: str) -> None:
    """Of the policy's parameters alone; float32 against float64."""
    torch.manual_seed(0)
    algorithm = Reinforce(policy, Greedy(), 2, LENGTH) if kind == "greedy" else ActorCritic(policy, samples_per_image=2)
    measured = gradient_variance(algorithm, batch, scorer(policy), 6, key=(3, 1))
    gradients = drawn_gradients(algorithm, batch, 6, (3, 1))
    variance = float(gradients.var(dim=0).sum())
    assert measured["gradient/variance"] == pytest.approx(variance, rel=1e-4)
    mean_square = float(gradients.mean(dim=0).square().sum()) - variance / 6
    assert measured["gradient/mean_square"] == pytest.approx(mean_square, rel=1e-3, abs=1e-3 * variance)


def test_it_agrees_with_the_variance_over_all_captions(policy: TinyViT, batch: Batch) -> None:
    """REINFORCE without baseline on three images of 8 samples, 80 rollouts; 4 standard errors of either estimate.

    The gradient is a mean of 24 independent ones, each over 15 captions. With d its distance from its mean and C its
    covariance, the standard error of the variance is sqrt((E|d|^4 - variance^2) / K + 2 tr(C^2) / (K (K - 1))), and
    that of the squared length of the mean sqrt(4 m'Cm / K + 2 tr(C^2) / (K (K - 1))).
    Measured: variance 39.9, exactly 44.0, standard error 4.5; squared length 119, exactly 132, standard error 10.
    """
    samples, rollouts = 8, 80
    drawn = outcomes(policy, batch)
    algorithm = Reinforce(policy, NoBaseline(), 1, LENGTH)
    each = each_gradient(algorithm, drawn).double().reshape(3, 15, -1)
    probability = drawn.probability.double().reshape(3, 15, 1)
    means = (probability * each).sum(dim=1, keepdim=True)
    mean = means[:, 0].mean(dim=0)
    torch.testing.assert_close(mean.float(), -exact_gradient(policy, batch), rtol=1e-3, atol=1e-4)

    away = (each - means) / (3 * samples)  # what one sample adds to d; 8 samples of each image do
    traces = (probability * away.square()).sum(dim=(1, 2))
    variance = samples * float(traces.sum())
    assert variance == pytest.approx(drawn.total_variance(each.flatten(0, 1)) / samples, rel=1e-6)
    fourth = float((probability[..., 0] * away.square().sum(dim=2).square()).sum())
    roots = probability.sqrt() * away
    of_each = sum(float((root @ root.T).square().sum()) for root in roots)  # tr(C_i^2), C_i of one sample
    together = samples**2 * float((roots.flatten(0, 1) @ roots.flatten(0, 1).T).square().sum())  # tr(C^2)
    fourth_of_sum = (
        samples * fourth + variance**2 - samples * float(traces.square().sum()) + 2 * (together - samples * of_each)
    )
    pairs = 2 * together / (rollouts * (rollouts - 1))
    error = ((fourth_of_sum - variance**2) / rollouts + pairs) ** 0.5
    along = samples * float((roots.flatten(0, 1) @ mean).square().sum())  # m'Cm
    of_square = (4 * along / rollouts + pairs) ** 0.5

    algorithm = Reinforce(policy, NoBaseline(), samples, LENGTH)
    measured = gradient_variance(algorithm, batch, scorer(policy), rollouts, key=(11,))
    assert 4 * error < 0.5 * variance, "the test must be able to fail"
    assert measured["gradient/variance"] == pytest.approx(variance, abs=4 * error)
    assert measured["gradient/mean_square"] == pytest.approx(float(mean.square().sum()), abs=4 * of_square)


def test_no_reward_no_variance(policy: TinyViT, batch: Batch) -> None:
    measured = gradient_variance(Reinforce(policy, Greedy(), 2, LENGTH), batch, scorer(policy, constant), 3, key=(0,))
    assert measured == {"gradient/variance": 0.0, "gradient/mean_square": 0.0}


def test_nothing_changes_by_measuring(policy: TinyViT, batch: Batch) -> None:
    algorithm = Reinforce(policy, RunningMean(), 2, LENGTH)
    algorithm.learned({"reward/sampled": 0.5, "reward/penalized": 0.5})
    before = {name: value.clone() for name, value in algorithm.state_dict().items()}
    first = gradient_variance(algorithm, batch, scorer(policy), 3, key=(4,))
    assert all(parameter.grad is None for parameter in algorithm.parameters())
    assert all(torch.equal(value, before[name]) for name, value in algorithm.state_dict().items())
    assert gradient_variance(algorithm, batch, scorer(policy), 3, key=(4,)) == first
    assert gradient_variance(algorithm, batch, scorer(policy), 3, key=(5,)) != first
