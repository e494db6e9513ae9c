"""A weighted sum of rewards with every term kept apart.

reward = WeightedSum({"cider_d": Term(CiderD()), "brevity": Term(FunctionReward(brevity), weight=0.1)})
scores = reward.score(candidates)  # scores.total, scores.terms["brevity"]
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Pending, Reward, RewardError, Signature
from rewards.failures import Policy, begun, said_if_slow, settle

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Term:
    """One reward of a sum, its weight, and what to do when it fails for a caption.

    Attributes:
        reward: what scores.
        weight: what its scores are multiplied by.
        on_failure: where it raises or gives no finite number: ``stop``; ``zero``: the caption gets 0; ``skip``: it gets
            the mean of its image's other captions, so that the term says nothing of it.
    """

    reward: Reward
    weight: float = 1.0
    on_failure: Policy = "stop"

    def __post_init__(self) -> None:
        if not np.isfinite(self.weight):
            raise RewardError(f"the weight of a term is {self.weight}: give a finite number")


@dataclass(frozen=True)
class Scores:
    """The weighted sum, and what it is made of.

    Attributes:
        total: the sum.
        terms: every term by name as its reward gave it, unweighted.
        failed: the share of captions that a term failed for, of every term that may fail without stopping the run.
    """

    total: Float64[np.ndarray, " captions"]
    terms: Mapping[str, Float64[np.ndarray, " captions"]]
    failed: Mapping[str, float] = field(default_factory=dict)


class WeightedSum(Reward):
    """The sum of weighted rewards; it needs what any of them needs.

    Rewards that score in the background are begun first, so that the others are computed meanwhile.
    """

    def __init__(self, terms: Mapping[str, Term]) -> None:
        if not terms:
            raise RewardError("a weighted sum has no terms: give at least one reward")
        self.terms = dict(terms)
        self.needs_references = any(reward.needs_references for reward in self._rewards)
        self.needs_images = any(reward.needs_images for reward in self._rewards)
        self.independent = all(reward.independent for reward in self._rewards)
        self.background = any(reward.background for reward in self._rewards)
        self.sums = sum(reward.sums for reward in self._rewards)
        self._reported: set[str] = set()

    @property
    def _rewards(self) -> list[Reward]:
        return [term.reward for term in self.terms.values()]

    # --- scoring

    def score(self, candidates: Candidates) -> Scores:
        """The sum and the terms it is made of."""
        return self.begin_scores(candidates)()

    def begin_scores(self, candidates: Candidates) -> Callable[[], Scores]:
        """Start scoring; what comes back waits for the sum and its terms."""
        names = sorted(self.terms, key=lambda name: not self.terms[name].reward.background)
        with said_if_slow(", ".join(self.terms)):
            pending = {name: begun(self.terms[name].reward, candidates) for name in names}

        def finish() -> Scores:
            total = np.zeros(len(candidates))
            terms, failed = {}, {}
            for name, term in self.terms.items():
                terms[name], lost = settle(
                    name, term.reward, candidates, pending[name], term.on_failure, partial(self._report, name)
                )
                total += term.weight * terms[name]
                if term.on_failure != "stop":
                    failed[name] = float(lost.mean()) if len(lost) else 0.0
            return Scores(total, terms, failed)

        return finish

    def _report(self, name: str, failure: str) -> None:
        """Tell of a term's first failure; how many more there are, ``Scores.failed`` counts."""
        if name not in self._reported:
            self._reported.add(name)
            logger.warning("%s; later failures are counted in reward/%s/failed", failure, name)

    def begin(self, candidates: Candidates) -> Pending:
        """Start scoring by every term."""
        finish = self.begin_scores(candidates)
        return lambda: finish().total

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """The weighted sum for each caption."""
        return self.score(candidates).total

    # --- signature

    @property
    def signature(self) -> Signature:
        """Every term's weight and signature."""
        return self._signature({name: term.reward.signature for name, term in self.terms.items()})

    def signature_of(self, candidates: Candidates) -> Signature:
        """Every term's weight and signature for these captions."""
        return self._signature({name: term.reward.signature_of(candidates) for name, term in self.terms.items()})

    def _signature(self, signatures: Mapping[str, Signature]) -> Signature:
        return Signature(
            "WeightedSum",
            {name: f"{self.terms[name].weight:g}*({signature})" for name, signature in signatures.items()},
        )

    # --- over a run

    def check_prepared(self) -> None:
        """Check every term."""
        for reward in self._rewards:
            reward.check_prepared()

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Let every term take in the training references."""
        for reward in self._rewards:
            reward.prepare(references)

    def to(self, device: str) -> None:
        """Move every term."""
        for reward in self._rewards:
            reward.to(device)

    def close(self) -> None:
        """Close every term."""
        for reward in self._rewards:
            reward.close()

    def seen(self) -> Float64[np.ndarray, " sums"]:
        """What all terms have seen, in their order."""
        return np.concatenate([reward.seen() for reward in self._rewards])

    def learned(self, sums: Float64[np.ndarray, " sums"]) -> None:
        """Give every term its part."""
        for reward in self._rewards:
            reward.learned(sums[: reward.sums])
            sums = sums[reward.sums :]

    def state(self) -> dict[str, Any]:
        """Every term's that has any."""
        states = {name: term.reward.state() for name, term in self.terms.items()}
        return {name: state for name, state in states.items() if state}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Give every term its own back."""
        for name, own in state.items():
            if name in self.terms:
                self.terms[name].reward.load_state(own)
