"""Critics: the expected reward still to come, given an image and the words so far."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor, nn

from rlcap.algorithms.base import Total
from rlcap.algorithms.policy_gradient import Foreseen, PolicyGradient, divisor, given, moments
from rlcap.functional.advantages import at_end
from rlcap.policies.base import Policy
from rlcap.policies.freezing import freeze_unreached
from rlcap.types import Batch, Captions, Encoded, Rollout, UserError


@dataclass(frozen=True)
class ValueLearning:
    """How values are learned and used.

    Attributes:
        discount: of later rewards. 1: a caption is one sentence, judged as a whole.
        decay: lambda of generalized advantage estimation; 1 trusts rewards alone, 0 the critic alone.
        weight: of the critic's loss beside the policy's.
        clip: how far a value may move from that of the rollout before its gradient stops (PPO); None sets no limit.
            It is in units of the reward.
        warmup: steps at the start in which the critic learns alone and the policy rests.
        rate: factor on the learning rate for the critic, which starts from nothing while the policy is only refined.
    """

    discount: float = 1.0
    decay: float = 1.0
    weight: float = 0.5
    clip: float | None = None
    warmup: int = 0
    rate: float = 10.0

    def __post_init__(self) -> None:
        for name in ("discount", "decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"values.{name} must be in [0, 1], got {getattr(self, name)}")
        if self.weight <= 0 or self.rate <= 0 or self.warmup < 0 or (self.clip is not None and self.clip <= 0):
            raise UserError(
                f"values need a weight, a rate and a clip above 0 and a warmup of 0 or more, "
                f"got {self.weight}, {self.rate}, {self.clip} and {self.warmup}"
            )


class ValueHead(nn.Module):
    """One number per hidden state, by a perceptron whose last layer starts small: std 1/sqrt(width + 1).

    Stiennon et al. 2020, appendix B.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.last = nn.Linear(width, 1)
        nn.init.normal_(self.last.weight, std=(width + 1) ** -0.5)
        nn.init.zeros_(self.last.bias)

    def forward(self, hidden: Float[Tensor, "captions length width"]) -> Float[Tensor, "captions length"]:
        values: Tensor = self.last(self.hidden(hidden))[..., 0]
        return values.float()


class Critic(nn.Module, ABC):
    """Made of the policy that it judges; see the two kinds below."""

    @abstractmethod
    def forward(self, rollout: Rollout, foreseen: Foreseen) -> Float[Tensor, "captions length"]:
        """The value of the state before each token of the rollout's captions."""


class SharedCritic(Critic):
    """A value head on the policy's own decoder.

    Args:
        policy: whose hidden states are read.
        detach: keep the critic's gradient out of the policy. Without, the critic's loss shapes the policy too, and on
            the scale of CIDEr-D it can drown the policy gradient.
    """

    def __init__(self, policy: Policy, detach: bool = True) -> None:
        super().__init__()
        self.detach = detach
        self.head = ValueHead(policy.hidden_width).to(policy.device)

    def forward(self, rollout: Rollout, foreseen: Foreseen) -> Float[Tensor, "captions length"]:
        values: Tensor = self.head(foreseen.hidden.detach() if self.detach else foreseen.hidden)
        return values


class SeparateCritic(Critic):
    """A network of its own: a copy of the policy's encoder and decoder, with a value head.

    Twice the memory and time of learning; the policy's features are left alone. Stiennon et al. 2020, section 3.4.

    Args:
        policy: what it starts as a copy of.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.network = copy.deepcopy(policy)
        self.head = ValueHead(policy.hidden_width).to(policy.device)
        self._freeze_unused()

    def forward(self, rollout: Rollout, foreseen: Foreseen) -> Float[Tensor, "captions length"]:
        encoded = self.network.encode(rollout.batch).repeat(rollout.captions_per_image)
        values: Tensor = self.head(self._hidden(encoded, rollout.captions))
        return values

    def _hidden(self, encoded: Encoded, captions: Captions) -> Float[Tensor, "captions length width"]:
        no_logits = replace(captions, mask=torch.zeros_like(captions.mask))
        return self.network.score_tokens(encoded, no_logits)[1]

    def _freeze_unused(self) -> None:
        """Stop what values do not depend on, such as the output layer, from learning: no gradient will reach it."""
        network = self.network.eval()
        pixels = network.process_images([Image.new("RGB", (32, 32))]).to(network.device)
        captions = network.tokenize([""], max_length=2).to(network.device)
        with torch.enable_grad():
            hidden = self._hidden(network.encode(Batch(("probe",), ((),), pixel_values=pixels)), captions)
        freeze_unreached(hidden, network)


def explained_variance(
    values: Float[Tensor, "captions length"],
    returns: Float[Tensor, "captions length"],
    mask: Bool[Tensor, "captions length"],
) -> Float[Tensor, ""]:
    """1 - Var(return - value) / Var(return) over tokens: 1 is a perfect critic, 0 one that knows the mean alone.

    0 also where all returns are equal, so that there is nothing to explain.
    """
    kept = returns[mask]
    spread = kept.var(correction=0)
    left = (kept - values[mask]).var(correction=0)
    return torch.where(spread > 1e-8, 1 - left / spread.clamp(min=1e-8), 0.0)


def token_rewards(
    algorithm: PolicyGradient, rollouts: Sequence[Rollout], total: Total, standardize: bool = True
) -> list[Rollout]:
    """The rollouts with the reward of each token: the caption's at its last, less every token's own KL penalty.

    Args:
        algorithm: whose objective says what is penalized, and whether rewards are to be standardized.
        rollouts: of a whole step.
        total: sums over the processes.
        standardize: whether rewards are divided by their standard deviation in the step, if the objective says so.
    """
    objective = algorithm.objective
    each = []
    for rollout in rollouts:
        rewards = at_end(given(rollout.rewards).flatten(), rollout.captions.mask)
        each.append(rewards - algorithm.kl_penalty(rollout) if objective.kl.reward else rewards)
    mean, std = moments(torch.cat([rewards.sum(dim=1) for rewards in each]), total)  # over length
    scale = divisor(mean, std) if standardize and objective.standardize else torch.ones_like(std)
    return [
        replace(rollout, token_rewards=rewards / scale, stats={**rollout.stats, "reward/penalized": float(mean)})
        for rollout, rewards in zip(rollouts, each, strict=True)
    ]
