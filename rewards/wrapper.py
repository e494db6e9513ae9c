"""What rewards around a reward share."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Pending, Reward, Signature
from rewards.failures import begun, partly, scored


class Wrapper(Reward):
    """A reward that changes another's scores, and is in everything else what that one is."""

    partial = True

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.needs_references = reward.needs_references
        self.needs_images = reward.needs_images
        self.independent = reward.independent
        self.background = reward.background
        self.sums = reward.sums

    @abstractmethod
    def change(self, scores: Float64[np.ndarray, " captions"]) -> Float64[np.ndarray, " captions"]:
        """The scores as this reward gives them; NaN, where the reward within failed, stays NaN."""

    @property
    def settings(self) -> Mapping[str, str]:
        """What its signature says of it."""
        return {}

    def begin(self, candidates: Candidates) -> Pending:
        """Start the reward within; its scores are changed when they are waited for."""
        pending = begun(self.reward, candidates)

        def finish() -> Float64[np.ndarray, " captions"]:
            scores, error = partly(lambda: scored(self.reward, pending))
            changed = self.change(scores)
            if error is not None:
                error.values = changed
                raise error
            return changed

        return finish

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """The changed score of each caption."""
        return self.begin(candidates)()

    @property
    def signature(self) -> Signature:
        """Its settings, and the signature of the reward within."""
        return Signature(type(self).__name__, {**self.settings, "of": f"({self.reward.signature})"})

    def signature_of(self, candidates: Candidates) -> Signature:
        """The same with what the data shows."""
        of = f"({self.reward.signature_of(candidates)})"
        return replace(self.signature, settings={**self.signature.settings, "of": of})

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        self.reward.prepare(references)

    def check_prepared(self) -> None:
        self.reward.check_prepared()

    def to(self, device: str) -> None:
        self.reward.to(device)

    def close(self) -> None:
        self.reward.close()

    def seen(self) -> Float64[np.ndarray, " sums"]:
        return self.reward.seen()

    def learned(self, sums: Float64[np.ndarray, " sums"]) -> None:
        self.reward.learned(sums)

    def state(self) -> dict[str, Any]:
        return self.reward.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.reward.load_state(state)
