"""REINFORCE (Williams 1992) on whole captions, with a baseline of one's choice.

The gradient of the expected reward is estimated from sampled captions w and a baseline b:

    grad J = E[ (r(w) - b) sum_t grad log pi(w_t | w_<t, image) ]
"""

from rlcap.algorithms.baselines import Baseline, NoBaseline
from rlcap.algorithms.policy_gradient import Objective, PolicyGradient
from rlcap.policies.base import Policy
from rlcap.types import Sampling


class Reinforce(PolicyGradient):
    """REINFORCE with a baseline as a class of ``rlcap.algorithms.baselines``.

    Args:
        policy: the captioner, trained by teacher forcing before.
        baseline: NoBaseline, BatchMean, RunningMean, LeaveOneOut, or Greedy, which makes it self-critical training.
        samples_per_image: sampled captions per image.
        max_length: the most tokens of a caption, EOS included.
        sampling: the distribution of the samples; the gradient is of the same.
        objective: normalization, and what is descended besides.
    """

    def __init__(
        self,
        policy: Policy,
        baseline: Baseline | None = None,
        samples_per_image: int = 5,
        max_length: int = 20,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        objective: Objective = Objective(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(policy, baseline or NoBaseline(), samples_per_image, max_length, sampling, objective)
