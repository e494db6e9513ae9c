"""What people said of the captions of one image: choices between two, ties, ratings and rankings."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from rlcap.types import UserError

ROUNDING = 1e-9  # means of ratings that differ by a margin may miss it by this much: 7/3 - 4/3 is not quite 1


class Comparison(NamedTuple):
    """Someone found one caption better than another; captions are told by their place in ``Judged.captions``."""

    winner: int
    loser: int
    weight: float = 1.0
    rater: str = ""


class Tie(NamedTuple):
    """Someone found two captions equally good."""

    first: int
    second: int
    weight: float = 1.0
    rater: str = ""


class Rating(NamedTuple):
    """What someone, or the mean of several, gave a caption."""

    caption: int
    value: float
    weight: float = 1.0
    rater: str = ""


class Ranking(NamedTuple):
    """Captions in someone's order, the best first."""

    captions: tuple[int, ...]
    weight: float = 1.0
    rater: str = ""


@dataclass(frozen=True)
class Judged:
    """Captions of one image and what people said of them.

    Attributes:
        captions: each different caption once.
        comparisons: of two captions the better and the worse.
        ties: two captions that are equally good.
        ratings: numbers given to captions; a caption may have several.
        rankings: of two captions or more, the best first.
    """

    captions: tuple[str, ...]
    comparisons: tuple[Comparison, ...] = ()
    ties: tuple[Tie, ...] = ()
    ratings: tuple[Rating, ...] = ()
    rankings: tuple[Ranking, ...] = ()

    def __post_init__(self) -> None:
        keys = [caption_key(caption) for caption in self.captions]
        for place, key in enumerate(keys):
            if not key:
                raise UserError("a judged caption is empty: leave its judgements out")
            if key in keys[:place]:
                raise UserError(f"caption {self.captions[place]!r} is there twice: a caption is not judged by itself")
        told: list[tuple[Comparison | Tie | Rating | Ranking, tuple[int, ...]]] = [
            *((own, (own.winner, own.loser)) for own in self.comparisons),
            *((own, (own.first, own.second)) for own in self.ties),
            *((own, (own.caption,)) for own in self.ratings),
            *((own, own.captions) for own in self.rankings),
        ]
        if not told:
            raise UserError("there are captions without a judgement: give a comparison, tie, rating or ranking")
        for judgement, places in told:
            if any(not 0 <= place < len(self.captions) for place in places):
                raise UserError(f"{judgement} names a caption that is not there: there are {len(self.captions)}")
            if len(set(places)) < len(places) or (not isinstance(judgement, Rating) and len(places) < 2):
                raise UserError(f"{judgement} compares a caption with itself or with none: name two different ones")
            if not (math.isfinite(judgement.weight) and judgement.weight > 0):
                raise UserError(f"weight must be a number above 0, got {judgement.weight!r}")
            if isinstance(judgement, Rating) and not math.isfinite(judgement.value):
                raise UserError(f"a rating must be a finite number, got {judgement.value!r}")

    def __len__(self) -> int:
        """How many judgements there are."""
        return len(self.comparisons) + len(self.ties) + len(self.ratings) + len(self.rankings)

    def mean_ratings(self) -> tuple[float | None, ...]:
        """The weighted mean rating of each caption; None where nobody rated it."""
        sums, weights = [0.0] * len(self.captions), [0.0] * len(self.captions)
        for rating in self.ratings:
            sums[rating.caption] += rating.weight * rating.value
            weights[rating.caption] += rating.weight
        return tuple(total / weight if weight else None for total, weight in zip(sums, weights, strict=True))

    def rated_comparisons(self, margin: float = 0.0) -> tuple[Comparison, ...]:
        """Comparisons of captions whose mean ratings differ, by ``margin`` or more."""
        means = [(place, mean) for place, mean in enumerate(self.mean_ratings()) if mean is not None]
        pairs = [sorted(pair, key=lambda item: -item[1]) for pair in combinations(means, 2)]
        return tuple(
            Comparison(winner, loser)
            for (winner, high), (loser, low) in pairs
            if high - low > ROUNDING and high - low >= margin - ROUNDING
        )

    def ranked_comparisons(self) -> tuple[Comparison, ...]:
        """Every two captions of a ranking, with its weight and rater."""
        return tuple(
            Comparison(winner, loser, ranking.weight, ranking.rater)
            for ranking in self.rankings
            for winner, loser in combinations(ranking.captions, 2)
        )


def comparisons_of(judged: Judged, margin: float) -> Sequence[Comparison]:
    """All that was said of two captions, the better first: in choices, rankings, and ratings ``margin`` apart."""
    return [*judged.comparisons, *judged.ranked_comparisons(), *judged.rated_comparisons(margin)]


def merged(parts: Iterable[Judged]) -> Judged:
    """All that is said of one image in one; captions of the same text, spaces aside, are one."""
    places: dict[str, int] = {}
    captions: list[str] = []
    comparisons: list[Comparison] = []
    ties: list[Tie] = []
    ratings: list[Rating] = []
    rankings: list[Ranking] = []
    for part in parts:
        at = []
        for caption in part.captions:
            place = places.setdefault(caption_key(caption), len(captions))
            if place == len(captions):
                captions.append(caption)
            at.append(place)
        _add(part, at, (comparisons, ties, ratings, rankings))
    return Judged(tuple(captions), tuple(comparisons), tuple(ties), tuple(ratings), tuple(rankings))


def restricted(judged: Judged, keep: Callable[[str], bool]) -> Judged | None:
    """What is said of the captions to keep alone; None where that is nothing. Rankings close up."""
    kept = [caption for caption in judged.captions if keep(caption)]
    at = [kept.index(caption) if caption in kept else -1 for caption in judged.captions]
    lists: _Lists = ([], [], [], [])
    _add(judged, at, lists)
    if not any(lists):
        return None
    comparisons, ties, ratings, rankings = lists
    named = {place for own in (*comparisons, *ties) for place in own[:2]} | {rating.caption for rating in ratings}
    named |= {place for ranking in rankings for place in ranking.captions}
    found = Judged(tuple(kept), tuple(comparisons), tuple(ties), tuple(ratings), tuple(rankings))
    return found if len(named) == len(kept) else restricted(found, lambda caption: kept.index(caption) in named)


_Lists = tuple[list[Comparison], list[Tie], list[Rating], list[Ranking]]


def _add(part: Judged, at: Sequence[int], lists: _Lists) -> None:
    """Adds judgements to those so far, with each caption's new place; -1 leaves out what is said of it."""
    comparisons, ties, ratings, rankings = lists
    comparisons += [
        own._replace(winner=at[own.winner], loser=at[own.loser])
        for own in part.comparisons
        if min(at[own.winner], at[own.loser]) >= 0
    ]
    ties += [
        own._replace(first=at[own.first], second=at[own.second])
        for own in part.ties
        if min(at[own.first], at[own.second]) >= 0
    ]
    ratings += [own._replace(caption=at[own.caption]) for own in part.ratings if at[own.caption] >= 0]
    for own in part.rankings:
        left = tuple(at[place] for place in own.captions if at[place] >= 0)
        rankings += [own._replace(captions=left)] if len(left) > 1 else []


def caption_key(caption: str) -> str:
    """What tells captions apart: the text, spaces aside."""
    return " ".join(caption.split())
