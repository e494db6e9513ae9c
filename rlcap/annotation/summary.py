"""What judgements say of runs: who wins how often, and how sure that is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt
from statistics import NormalDist

from rlcap.annotation.pairs import Question, plain
from rlcap.annotation.store import Judgement

_RECENT = 20


@dataclass(frozen=True)
class WinRate:
    """How two runs fared against one another.

    Attributes:
        first: one run; ``second`` the other.
        second: see ``first``.
        wins: judgements that prefer the first; ``losses`` the second, ``ties`` neither.
        losses: see ``wins``.
        ties: see ``wins``.
    """

    first: str
    second: str
    wins: int
    losses: int
    ties: int

    def __str__(self) -> str:
        decided = self.wins + self.losses
        if not decided:
            return f"{self.first} over {self.second}: none decided, {self.ties} tied"
        low, high = wilson_interval(self.wins, decided)
        return (
            f"{self.first} over {self.second}: {self.wins} of {decided} decided, {self.wins / decided:.1%} "
            f"[{low:.1%}, {high:.1%}], {self.ties} tied"
        )


def wilson_interval(wins: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a proportion, which keeps its coverage where trials are few. Wilson 1927."""
    if not 0 <= wins <= trials or not trials:
        raise ValueError(f"a proportion needs 0 to {trials} wins of at least 1 trial, got {wins}")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = wins / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def win_rates(
    runs: Sequence[str], questions: Iterable[Question], judgements: Iterable[Judgement]
) -> tuple[WinRate, ...]:
    """Each pair of runs that was judged, the later run first; a judgement counts for all runs that say the same.

    Judgements are matched by image and captions, so that renaming a run folder loses none.
    """
    known = {question.key: question for question in questions}
    outcomes: dict[tuple[str, str], list[float]] = {}
    for judgement in judgements:
        question = known.get(judgement.key[1])
        if question is None:
            continue
        sides = question.left_runs, question.right_runs
        chosen, rejected = sides if plain(judgement.first) == plain(question.left) else sides[::-1]
        for better, worse in product(chosen, rejected):
            later = runs.index(better) > runs.index(worse)
            pair = (better, worse) if later else (worse, better)
            outcomes.setdefault(pair, []).append(0.5 if judgement.tied else float(later))
    return tuple(
        WinRate(*pair, wins=of_pair.count(1.0), losses=of_pair.count(0.0), ties=of_pair.count(0.5))
        for pair, of_pair in sorted(outcomes.items(), key=lambda item: [runs.index(run) for run in item[0][::-1]])
    )


def seconds_each(seconds: Sequence[float | None]) -> float | None:
    """What a judgement took of late, on average; None while there is no telling."""
    known = [value for value in seconds if value is not None][-_RECENT:]
    return sum(known) / len(known) if sum(known) > 0 else None
