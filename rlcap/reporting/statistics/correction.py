"""P-values of several comparisons, corrected for their number."""

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values: rejecting those below 5 % errs anywhere at most 5 % of the time. Holm 1979.

    The smallest of m is multiplied by m, the next by m - 1, and so on, none below one before it and none above 1. It
    asks nothing of how the comparisons depend on one another. A comparison without a p-value (None) is not counted.
    """
    for p in p_values:
        if p is not None and not 0 <= p <= 1:
            raise ValueError(f"a p-value lies between 0 and 1, got {p}")
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for before, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - before) * p))
        adjusted[place] = largest
    return adjusted
