"""The same reward for every caption: the control that shows what training changes without being told anything."""

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Reward, Signature


class Constant(Reward):
    """A reward that does not depend on the caption.

    Choshen et al. 2020 (arXiv 1907.01752) found that part of what reinforcement learning seemed to gain remains with
    it: the policy becomes more peaked, whatever it is told. A baseline made of rewards takes it away altogether.

    Args:
        value: the reward.
    """

    def __init__(self, value: float = 1.0) -> None:
        self.value = value

    @property
    def signature(self) -> Signature:
        """The value."""
        return Signature("Constant", {"value": f"{self.value:g}"})

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """The value for each caption."""
        return np.full(len(candidates), float(self.value))
