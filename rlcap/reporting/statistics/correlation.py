"""How far two quantities go together."""

import numpy as np
from jaxtyping import Float


def pearson(one: Float[np.ndarray, " points"], other: Float[np.ndarray, " points"]) -> float | None:
    """The correlation of the values; None where one of them never changes or there are fewer than two."""
    if len(one) < 2:
        return None
    one, other = (values / (np.abs(values).max() or 1.0) for values in (one, other))  # whose squares are finite
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt((one**2).sum()) * np.sqrt((other**2).sum()))
    return float(np.clip((one * other).sum() / size, -1.0, 1.0)) if size > 0 else None


def spearman(one: Float[np.ndarray, " points"], other: Float[np.ndarray, " points"]) -> float | None:
    """The correlation of the ranks, equal values sharing the mean of theirs; None as in :func:`pearson`."""
    return pearson(_ranks(one), _ranks(other))


def _ranks(values: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    _, place, times = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(times)
    return np.asarray((last - (times - 1) / 2)[place.reshape(values.shape)])
