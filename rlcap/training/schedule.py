"""The learning rate as a function of the step alone, so that a resumed run needs no state for it."""

import math
from abc import ABC, abstractmethod

from rlcap.types import UserError


class Schedule(ABC):
    """A factor on the optimizer's learning rate, rising linearly over the first steps.

    Args:
        warmup: steps over which it rises from near 0 to 1.
    """

    def __init__(self, warmup: int = 0) -> None:
        if warmup < 0:
            raise UserError(f"schedule warmup must be 0 or more steps, got {warmup}")
        self.warmup = warmup

    def factor(self, step: int, steps: int) -> float:
        """The factor at a step, counted from 1, of so many."""
        if step <= self.warmup:
            return step / self.warmup
        return self.after_warmup((step - self.warmup) / max(1, steps - self.warmup))

    @abstractmethod
    def after_warmup(self, progress: float) -> float:
        """The factor when so much of the time after the warm-up has passed, from 0 to 1."""


class Constant(Schedule):
    """Stays at the optimizer's learning rate."""

    def after_warmup(self, progress: float) -> float:
        return 1.0


class Linear(Schedule):
    """Falls evenly to ``end`` times the learning rate."""

    def __init__(self, warmup: int = 0, end: float = 0.0) -> None:
        super().__init__(warmup)
        self.end = end

    def after_warmup(self, progress: float) -> float:
        return 1 - (1 - self.end) * progress


class Cosine(Schedule):
    """Falls along half a cosine to ``end`` times the learning rate. Loshchilov & Hutter 2017, eq. 5."""

    def __init__(self, warmup: int = 0, end: float = 0.0) -> None:
        super().__init__(warmup)
        self.end = end

    def after_warmup(self, progress: float) -> float:
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * progress)) / 2
