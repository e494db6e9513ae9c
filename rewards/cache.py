"""A reward that remembers what it has scored."""

from collections.abc import Hashable
from itertools import islice

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Pending, Resampled, Reward, RewardError
from rewards.failures import begun, checked, partly, scored
from rewards.wrapper import Wrapper


class Cached(Wrapper):
    """A reward that scores equal captions of an image once, and remembers the latest.

    Worth it for rewards that cost more than a dictionary: a service that is paid by the call, a large model. A policy
    that sharpens says the same again: late in training a third of its samples and more are known. It goes around
    ``InThreads`` and ``InProcesses``, so that all workers share what is remembered.

    Args:
        reward: what is remembered; its scores must not depend on the rest of the batch.
        size: how many captions are remembered.
    """

    def __init__(self, reward: Reward, size: int = 100_000) -> None:
        super().__init__(reward)
        if not reward.independent:
            raise RewardError(
                f"{type(reward).__name__} cannot be cached: its scores depend on the other captions of the batch"
            )
        if reward.sums:
            raise RewardError(
                f"{type(reward).__name__} keeps running statistics, with which its scores change: put it around "
                "Cached, not within"
            )
        if size < 1:
            raise RewardError(f"size must be at least 1, got {size}")
        self.size = size
        self.known: dict[Hashable, float] = {}  # the oldest used comes first

    def change(self, scores: Float64[np.ndarray, " captions"]) -> Float64[np.ndarray, " captions"]:
        return scores

    def begin(self, candidates: Candidates) -> Pending:
        """Start scoring the captions that are not known."""
        keys = self._keys(candidates)
        rows: dict[Hashable, int] = {}
        for row, key in enumerate(keys):
            if key not in self.known:
                rows.setdefault(key, row)
        new = candidates.select(list(rows.values()))
        pending = begun(self.reward, new) if rows else lambda: np.zeros(0)
        known = {key: self.known[key] for key in keys if key in self.known}  # which may be forgotten meanwhile

        def finish() -> Float64[np.ndarray, " captions"]:
            scores, error = partly(lambda: checked(type(self.reward).__name__, scored(self.reward, pending), new))
            known.update(zip(rows, scores.tolist(), strict=True))
            for key in dict.fromkeys(keys):
                self.known.pop(key, None)
                if np.isfinite(known[key]):  # what failed is asked for again
                    self.known[key] = known[key]
            for key in list(islice(self.known, max(0, len(self.known) - self.size))):
                del self.known[key]
            values = np.array([known[key] for key in keys], np.float64)
            if error is not None:
                error.values = values
                raise error
            return values

        return finish

    def aggregate(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> float:
        return self.reward.aggregate(candidates, scores)

    def resampled(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> Resampled:
        return self.reward.resampled(candidates, scores)

    def _keys(self, candidates: Candidates) -> list[Hashable]:
        """What tells captions apart: text, image, references where they count, and whether they were ended."""
        if candidates.image_ids is None and (self.needs_images or candidates.metadata is not None):
            raise RewardError("Cached tells images apart by their ids, and Candidates.image_ids is None: give them")
        none = [None] * len(candidates)
        references = candidates.reference_tuples() if self.needs_references else none
        columns = (candidates.captions, candidates.image_ids or none, references, candidates.ended or none)
        return list(zip(*columns, strict=True))
