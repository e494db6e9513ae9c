"""Rewards on another scale, so that terms of different units can be weighed against one another.

They wrap a reward and one another::

    brevity: {reward: {class_path: rewards.Clipped, init_args: {low: -1, high: 1, reward: {class_path: ...}}}}
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float64

from rewards.base import Reward, RewardError
from rewards.wrapper import Wrapper

NO_SPREAD = 1e-6  # of the mean: what rounding alone may spread, the root of its share of a mean square
LARGEST = 1e150  # whose square is still a number


class Clipped(Wrapper):
    """A reward no lower and no higher than two limits.

    Args:
        reward: what is clipped.
        low: lower limit; None for none.
        high: upper limit; None for none.
    """

    def __init__(self, reward: Reward, low: float | None = None, high: float | None = None) -> None:
        super().__init__(reward)
        if low is None and high is None:
            raise RewardError("Clipped has neither low nor high: give one at least")
        if low is not None and high is not None and low >= high:
            raise RewardError(f"low {low} must be below high {high}")
        self.low = low
        self.high = high

    @property
    def settings(self) -> Mapping[str, str]:
        """The limits."""
        return {"range": f"{_shown(self.low)}..{_shown(self.high)}"}

    def change(self, scores: Float64[np.ndarray, " captions"]) -> Float64[np.ndarray, " captions"]:
        clipped: Float64[np.ndarray, " captions"] = np.clip(scores, self.low, self.high)
        return clipped


class Standardized(Wrapper):
    """A reward less its mean over the batch, over its standard deviation there; 0 where it does not vary.

    The batch is what is scored at once: the captions of one process's micro-batch, greedy ones included. Numbers of two
    batches cannot be compared; for a scale that stays take :class:`RunningStandardized`.

    Args:
        reward: what is standardized.
    """

    def __init__(self, reward: Reward) -> None:
        super().__init__(reward)
        self.independent = False

    def change(self, scores: Float64[np.ndarray, " captions"]) -> Float64[np.ndarray, " captions"]:
        known = scores[np.isfinite(scores)]
        if not len(known):
            return scores
        return standardized(scores, float(known.mean()), float(known.std()))


class RunningStandardized(Wrapper):
    """A reward less its running mean, over its running standard deviation: of all captions of all steps before.

    The statistics are those of all processes, move when a step is done, and are kept in checkpoints. The first step,
    before which nothing was seen, gets 0.

    Args:
        reward: what is standardized.
        decay: how much the past counts after each step; with 0.99 the last hundred steps or so count, with 1 all do
            alike.
    """

    def __init__(self, reward: Reward, decay: float = 0.99) -> None:
        super().__init__(reward)
        if not 0 < decay <= 1:
            raise RewardError(f"decay must be in (0, 1], got {decay}")
        self.decay = decay
        self.sums = 3 + reward.sums
        self._past = np.zeros(3)  # captions, and the sums of their scores and of the scores' squares
        self._seen = np.zeros(3)

    @property
    def settings(self) -> Mapping[str, str]:
        """The decay."""
        return {"decay": f"{self.decay:g}"}

    def change(self, scores: Float64[np.ndarray, " captions"]) -> Float64[np.ndarray, " captions"]:
        known = scores[np.abs(scores) < LARGEST]  # one number that is none would spoil all later ones
        self._seen += np.array([len(known), known.sum(), np.square(known).sum()])
        count, total, squares = self._past
        if not count:
            return standardized(scores, 0.0, 0.0)
        mean = total / count
        return standardized(scores, mean, float(np.sqrt(max(0.0, squares / count - mean**2))))

    def seen(self) -> Float64[np.ndarray, " sums"]:
        seen, self._seen = self._seen, np.zeros(3)
        return np.concatenate([seen, self.reward.seen()])

    def learned(self, sums: Float64[np.ndarray, " sums"]) -> None:
        self._past = self.decay * self._past + sums[:3]
        self.reward.learned(sums[3:])

    def state(self) -> dict[str, Any]:
        return {"past": self._past.tolist(), "reward": self.reward.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._past = np.array(state["past"], np.float64)
        self.reward.load_state(state["reward"])


def standardized(scores: Float64[np.ndarray, " captions"], mean: float, std: float) -> Float64[np.ndarray, " captions"]:
    """(score - mean) / std; 0 where the standard deviation is no more than rounding."""
    if std <= NO_SPREAD * abs(mean):
        return np.where(np.isfinite(scores), 0.0, scores)
    return (scores - mean) / std


def _shown(limit: float | None) -> str:
    return "" if limit is None else f"{limit:g}"
