"""Direct preference optimisation (Rafailov et al. 2023): learning from comparisons of captions without a reward model.

With the policy pi and the policy the run started from, pi_ref, a caption w has the implicit reward

    r(w) = beta (log pi(w | image) - log pi_ref(w | image))

and of two captions of an image, of which people prefer the first, the loss is that of Bradley and Terry:

    L = - E[ log sigmoid(r(chosen) - r(rejected)) ]

It says nothing of how probable the chosen caption is: often both lose probability, to captions that nobody judged. A
share of teacher forcing on the chosen caption w of length |w| holds against that (Pang et al. 2024, eq. 1):

    L + teacher_forcing * E[ -log pi(w | image) / |w| ]

The data set is one of judged captions, :class:`rlcap.data.judgements.JudgedCaptions`; nothing is decoded or scored.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rlcap.algorithms.base import Algorithm, Scorer, Total
from rlcap.algorithms.policy_gradient import given
from rlcap.data.judged import Comparison, Judged, comparisons_of
from rlcap.data.judgements import JUDGED
from rlcap.functional.preferences import dpo, implicit_reward, ipo
from rlcap.functional.sampling import image_generator
from rlcap.policies.base import Policy
from rlcap.types import Batch, Loss, Rollout, UserError

_LEAST = torch.finfo(torch.float32).tiny


class DPO(Algorithm):
    """DPO on comparisons, rankings and ratings of captions. Dropout is off, as it was for the policy of the start.

    Args:
        policy: the captioner, trained by teacher forcing before.
        beta: how dear it is to leave the policy of the start: small goes far.
        smoothing: the share of comparisons taken to be the wrong way round (Mitchell 2023).
        comparisons_per_image: comparisons of each image in a step, drawn anew each time where there are more. An image
            with fewer repeats some; one with none, such as with ties alone, teaches nothing.
        margin: two rated captions are a comparison when their mean ratings differ by as much.
        max_length: captions are cut at so many tokens.
        teacher_forcing: weight of the cross-entropy of the chosen captions, of each the mean over its tokens.
    """

    rewarded: ClassVar[bool] = False

    def __init__(
        self,
        policy: Policy,
        beta: float = 0.1,
        smoothing: float = 0.0,
        comparisons_per_image: int = 4,
        margin: float = 0.5,
        max_length: int = 30,
        teacher_forcing: float = 0.0,
    ) -> None:
        super().__init__(policy)
        if teacher_forcing < 0:
            raise UserError(f"teacher_forcing must be 0 (off) or more, got {teacher_forcing}")
        if beta <= 0:
            raise UserError(f"beta must be above 0, got {beta}")
        if not 0 <= smoothing < 0.5:
            raise UserError(f"smoothing must be in [0, 0.5), got {smoothing}")
        if comparisons_per_image < 1:
            raise UserError(f"comparisons_per_image must be at least 1, got {comparisons_per_image}")
        if margin <= 0:
            raise UserError(f"margin must be above 0, got {margin}: captions rated alike are no comparison")
        self.beta = beta
        self.smoothing = smoothing
        self.comparisons_per_image = comparisons_per_image
        self.margin = margin
        self.max_length = max_length
        self.teacher_forcing = teacher_forcing

    @property
    def needs_reference(self) -> bool:
        return True

    # --- acting

    def act(self, batch: Batch, scorer: Scorer, key: tuple[int, ...]) -> Rollout:
        """Draw comparisons of each image: pairs of captions, the preferred one first, its weight as its reward."""
        texts: list[str] = []
        weights: list[float] = []
        for judged, comparison in self._drawn(batch, key):
            texts += [judged.captions[comparison.winner], judged.captions[comparison.loser]]
            weights += [comparison.weight, 0.0]
        captions = self.policy.tokenize(texts, self.max_length).to(self.policy.device)
        if self.reference is None:
            raise UserError("DPO compares with a reference policy: set the algorithm's reference first")
        return Rollout(
            batch,
            captions,
            rewards=torch.tensor(weights, device=self.policy.device).reshape(len(batch), -1),
            reference_logprobs=self.reference.logprobs(batch, captions, None),
            stats={"caption/length": float(captions.mask.sum(dim=1).float().mean())},  # over length
        )

    def _drawn(self, batch: Batch, key: tuple[int, ...]) -> list[tuple[Judged, Comparison]]:
        """So many comparisons of each image."""
        drawn = []
        for image_id, metadata in zip(batch.image_ids, batch.metadata or [{}] * len(batch), strict=True):
            judged = metadata.get(JUDGED)
            if not isinstance(judged, Judged):
                raise UserError(
                    f"nobody judged captions of image {image_id}: take rlcap.data.judgements.JudgedCaptions"
                )
            known = comparisons_of(judged, self.margin) or [Comparison(0, 0, weight=0.0)]  # which teaches nothing
            order = image_generator(image_id, key).permutation(len(known))
            drawn += [(judged, known[order[turn % len(order)]]) for turn in range(self.comparisons_per_image)]
        return drawn

    def weigh(self, rollouts: Sequence[Rollout], total: Total) -> Sequence[Rollout]:
        """The rollouts as they are.

        Raises:
            UserError: if there is nothing to learn in the whole step.
        """
        if not float(total(torch.stack([given(rollout.rewards).sum() for rollout in rollouts]).sum())):
            raise UserError(
                f"of no image of a step, such as {rollouts[0].batch.image_ids[0]}, are two captions told apart by "
                f"{self.margin} or more: lower margin, or take more images_per_batch"
            )
        return rollouts

    # --- learning

    def units(self, rollout: Rollout) -> Mapping[str, float]:
        weight = float(given(rollout.rewards).sum())
        return {"policy": weight, "teacher_forcing": weight} if self.teacher_forcing else {"policy": weight}

    def counts(self, rollout: Rollout) -> Mapping[str, float]:
        pairs = float((given(rollout.rewards) > 0).sum())
        names = ("accuracy", "margin", "chosen", "rejected")
        return {**super().counts(rollout), **{f"preference/{name}": pairs for name in names}}

    def loss(self, rollout: Rollout) -> Loss:
        """The weighted loss of the comparisons; accuracy and margin of the implicit rewards."""
        encoded = self.encode(rollout).repeat(rollout.captions_per_image)
        policy = self._whole(self.policy.logprobs(encoded, rollout.captions))
        reference = self._whole(given(rollout.reference_logprobs))
        weights = given(rollout.rewards).reshape(-1, 2)[:, 0]
        judged = weights > 0
        totals = {"policy": (weights * self.of_pairs(policy, reference)).sum()}
        if self.teacher_forcing:
            lengths = rollout.captions.mask.sum(dim=1).reshape(-1, 2)[:, 0]
            totals["teacher_forcing"] = -self.teacher_forcing * (weights * policy[:, 0] / lengths).sum()
        means = {f"loss/{name}": total.detach() / weights.sum().clamp(min=_LEAST) for name, total in totals.items()}
        implied = implicit_reward(policy.detach().flatten(), reference.flatten(), self.beta)
        chosen, rejected = implied[::2][judged], implied[1::2][judged]
        pairs = judged.sum().clamp(min=1)  # a micro-batch may have none
        return Loss(
            totals,
            {
                **means,
                "preference/accuracy": (chosen > rejected).float().sum() / pairs,
                "preference/margin": (chosen - rejected).sum() / pairs,
                "preference/chosen": chosen.sum() / pairs,
                "preference/rejected": rejected.sum() / pairs,
            },
        )

    def of_pairs(
        self, policy: Float[Tensor, "pairs 2"], reference: Float[Tensor, "pairs 2"]
    ) -> Float[Tensor, " pairs"]:
        """The loss of each comparison, given the log-probabilities of its captions."""
        loss: Tensor = dpo(policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1], self.beta, self.smoothing)
        return loss

    def _whole(self, logprobs: Float[Tensor, "captions length"]) -> Float[Tensor, "pairs 2"]:
        """The log-probability of each caption, the two of a comparison in a row."""
        return logprobs.sum(dim=1).reshape(-1, 2)  # over length


class IPO(DPO):
    """Identity preference optimisation (Azar et al. 2024): stops once a preference has its margin.

        L = E[ (h - 1 / (2 beta))^2 ],   h = log-ratio of the chosen caption less that of the rejected

    Args:
        policy: the captioner, trained by teacher forcing before.
        beta: tau of the paper: the margin is 1 / (2 beta) nats.
        comparisons_per_image: as for DPO.
        margin: as for DPO.
        max_length: captions are cut at so many tokens.
        teacher_forcing: as for DPO.
    """

    def __init__(
        self,
        policy: Policy,
        beta: float = 0.1,
        comparisons_per_image: int = 4,
        margin: float = 0.5,
        max_length: int = 30,
        teacher_forcing: float = 0.0,
    ) -> None:
        super().__init__(policy, beta, 0.0, comparisons_per_image, margin, max_length, teacher_forcing)

    def of_pairs(
        self, policy: Float[Tensor, "pairs 2"], reference: Float[Tensor, "pairs 2"]
    ) -> Float[Tensor, " pairs"]:
        loss: Tensor = ipo(policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1], self.beta)
        return loss
