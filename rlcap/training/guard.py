"""What to do when the held-out metric collapses: stop, or go back to the best checkpoint with a smaller step."""

from rlcap.types import UserError


class Guard:
    """Looks whether the metric on the validation split has fallen too far below its best.

    Args:
        drop: share of the best value that may be lost.

    Attributes:
        rate: factor on the learning rate when the run goes back.
    """

    rate: float = 1.0

    def __init__(self, drop: float = 0.2) -> None:
        if not 0 < drop < 1:
            raise UserError(f"a guard's drop must be a share between 0 and 1, got {drop}")
        self.drop = drop

    def collapsed(self, value: float, best: float) -> bool:
        """Whether a measurement is too far below the best one."""
        return value < best - self.drop * abs(best)

    def rolls_back(self, before: int) -> bool:
        """Whether to go back to the best checkpoint, after so many times, rather than stop."""
        return False


class Stop(Guard):
    """Ends the run at a collapse; its best checkpoint is then measured on the test split, as at the end of any run."""


class RollBack(Guard):
    """Goes back to the best checkpoint at a collapse, and on with a smaller learning rate; stops when that fails.

    Args:
        drop: share of the best value that may be lost.
        rate: factor on the learning rate each time.
        times: how often, before the run is stopped.
    """

    def __init__(self, drop: float = 0.2, rate: float = 0.5, times: int = 3) -> None:
        super().__init__(drop)
        if not 0 < rate <= 1 or times < 1:
            raise UserError(f"rolling back needs a rate in (0, 1] and times of 1 or more, got {rate} and {times}")
        self.rate = rate
        self.times = times

    def rolls_back(self, before: int) -> bool:
        return before < self.times
