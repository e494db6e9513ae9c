"""Self-critical sequence training (Rennie et al. 2017) and its two variants.

REINFORCE whose baseline is made of the policy's own captions of the same image. The gradient of the expected reward is
estimated from sampled captions w^s and, in the original, the greedy caption w^:

    grad J = E[ (r(w^s) - r(w^)) grad log pi(w^s | image) ]
"""

from rlcap.algorithms.baselines import Greedy, LeaveOneOut
from rlcap.algorithms.policy_gradient import Objective, PolicyGradient
from rlcap.policies.base import Decoding, Policy
from rlcap.types import Batch, Captions, Encoded, Sampling, UserError


class SelfCritical(PolicyGradient):
    """Self-critical sequence training: the greedy caption's reward is the baseline.

    Args:
        policy: the captioner, trained by teacher forcing before.
        samples_per_image: sampled captions per image.
        max_length: the most tokens of a caption, EOS included.
        sampling: the distribution of the samples; the gradient is of the same.
        objective: normalization, and what is descended besides.
    """

    def __init__(
        self,
        policy: Policy,
        samples_per_image: int = 5,
        max_length: int = 20,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        objective: Objective = Objective(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(policy, Greedy(), samples_per_image, max_length, sampling, objective)


class NewSelfCritical(PolicyGradient):
    """The "better variant" of self-critical training (Luo 2020): siblings are the baseline, nothing is greedy.

    Args:
        policy: the captioner, trained by teacher forcing before.
        samples_per_image: sampled captions per image, at least 2.
        max_length: the most tokens of a caption, EOS included.
        sampling: the distribution of the samples; the gradient is of the same.
        objective: normalization, and what is descended besides.
    """

    def __init__(
        self,
        policy: Policy,
        samples_per_image: int = 5,
        max_length: int = 20,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        objective: Objective = Objective(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(policy, LeaveOneOut(), samples_per_image, max_length, sampling, objective)


class BeamSelfCritical(PolicyGradient):
    """Beam search instead of sampling, the mean of the other beams as the baseline. Cornia et al. 2020, eq. 9.

    Caveat: beams are the most probable captions, not draws from the policy. The gradient is therefore that of another
    objective, which pushes probability about among the best captions only, and none of the guarantees of the policy
    gradient hold. It is here to reproduce published results; by default prefer :class:`NewSelfCritical`.

    Args:
        policy: the captioner, trained by teacher forcing before.
        beams: captions per image, at least 2.
        max_length: the most tokens of a caption, EOS included.
        objective: normalization, and what is descended besides.
    """

    def __init__(
        self,
        policy: Policy,
        beams: int = 5,
        max_length: int = 20,
        objective: Objective = Objective(),  # noqa: B008 - frozen
    ) -> None:
        if objective.kl.reward:
            raise UserError(
                "no divergence can be estimated from beams, which are not drawn: use kl.loss, not kl.reward"
            )
        super().__init__(policy, LeaveOneOut(), beams, max_length, Sampling(), objective)

    def draw(self, encoded: Encoded, batch: Batch, key: tuple[int, ...]) -> Captions:
        """The beams of each image, best first."""
        decoding = Decoding(self.samples_per_image, self.max_length)
        return self.policy.caption(encoded, decoding, each=self.samples_per_image)
