"""Estimates of the divergence against the divergence itself."""

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from rlcap.functional.divergences import Estimator, estimated_kl, exact_kl


def test_estimates_by_hand() -> None:
    logprobs, reference = torch.tensor([[0.5, 0.25]]).log(), torch.tensor([[0.25, 0.5]]).log()
    ln2 = 0.6931472
    torch.testing.assert_close(estimated_kl(logprobs, reference, Estimator.K1), torch.tensor([[ln2, -ln2]]))
    # r = reference / pi = 1/2 and 2: 1/2 - 1 + ln 2, 2 - 1 - ln 2
    torch.testing.assert_close(
        estimated_kl(logprobs, reference, Estimator.K3), torch.tensor([[-0.5 + ln2, 1 - ln2]]), rtol=1e-6, atol=1e-6
    )


@pytest.fixture
def distributions() -> tuple[torch.Tensor, torch.Tensor]:
    pi, reference = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(0)).log_softmax(dim=-1)
    return pi, reference


def test_exact_kl_is_that_of_torch(distributions: tuple[torch.Tensor, torch.Tensor]) -> None:
    pi, reference = distributions
    expected = kl_divergence(Categorical(logits=pi), Categorical(logits=reference))
    torch.testing.assert_close(exact_kl(pi, reference), expected, rtol=1e-5, atol=1e-6)
    assert exact_kl(pi, pi).abs().max() == 0


def test_exact_kl_where_tokens_are_never_drawn() -> None:
    """A suppressed token has no probability in either; a token cut from pi alone costs the reference's share."""
    pi = torch.tensor([[0.5, 0.5, 0.0, 0.0]]).log().requires_grad_()
    reference = torch.tensor([[0.25, 0.5, 0.25, 0.0]]).log()
    divergence = exact_kl(pi, reference)
    assert divergence.item() == pytest.approx(0.5 * 0.6931472)
    divergence.sum().backward()
    assert pi.grad is not None
    assert pi.grad.isfinite().all()


@pytest.mark.parametrize("estimator", list(Estimator))
def test_estimates_are_unbiased(distributions: tuple[torch.Tensor, torch.Tensor], estimator: Estimator) -> None:
    """The mean over all tokens, each as often as it is drawn."""
    pi, reference = distributions
    mean = (pi.exp() * estimated_kl(pi, reference, estimator)).sum(dim=-1)
    torch.testing.assert_close(mean, exact_kl(pi, reference), rtol=1e-5, atol=1e-6)


def test_k3_is_never_negative_and_varies_less_where_policies_are_near(
    distributions: tuple[torch.Tensor, torch.Tensor],
) -> None:
    pi, other = distributions
    near = (0.9 * pi + 0.1 * other).log_softmax(dim=-1)
    deviation = {}
    for estimator in Estimator:
        each = estimated_kl(pi, near, estimator)
        deviation[estimator] = (pi.exp() * (each - exact_kl(pi, near)[:, None]).square()).sum(dim=-1).sqrt()
    assert estimated_kl(pi, other, Estimator.K3).min() >= 0
    assert (deviation[Estimator.K3] < 0.5 * deviation[Estimator.K1]).all(), deviation


def test_gradients_of_the_estimates_as_losses(distributions: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Drawn tokens carry no gradient themselves. On average k1's is 0, and k3's that of KL(reference || pi)."""
    logits, reference = distributions
    logits = logits.clone().requires_grad_()
    pi = logits.log_softmax(dim=-1)

    def mean(estimator: Estimator) -> torch.Tensor:
        return (pi.detach().exp() * estimated_kl(pi, reference, estimator)).sum()

    (of_k1,) = torch.autograd.grad(mean(Estimator.K1), logits, retain_graph=True)
    assert of_k1.abs().max() < 1e-6
    (of_k3,) = torch.autograd.grad(mean(Estimator.K3), logits, retain_graph=True)
    (opposite,) = torch.autograd.grad(exact_kl(reference, pi).sum(), logits)
    assert opposite.abs().max() > 0.1
    torch.testing.assert_close(of_k3, opposite, rtol=1e-4, atol=1e-6)
