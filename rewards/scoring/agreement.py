"""How well scores agree with human judgements: Kendall's tau-b and tau-c, accuracy on pairs, Pearson and Spearman.

Each is a function of how many times a resample holds each row, so that a bootstrap asks for all resamples at once.
Every rating is a row of its own with its caption's score, as in the published results on Flickr8k-Expert (Anderson et
al. 2016; Hessel et al. 2021: 5,664 captions with three ratings each are 16,992 rows).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from rewards.base import RewardError
from rewards.scoring.bootstrap import Bootstrap, Interval, bootstrap_interval, bootstrap_intervals


@dataclass(frozen=True)
class Estimate:
    """A number and its bootstrap interval over images; none where there are fewer than two."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class Agreement:
    """How well scores agree with ratings.

    Attributes:
        tau_b: Kendall's tau-b of scores and ratings, one row per rating.
        tau_c: Kendall's (Stuart's) tau-c of the same.
        accuracy: share of the pairs of captions of one image with different mean ratings that the scores order as the
            ratings do, a tie in score counting half; None where there are no such pairs.
        pearson: linear correlation of scores and ratings.
        spearman: that of their ranks.
    """

    tau_b: Estimate
    tau_c: Estimate
    accuracy: Estimate | None
    pearson: Estimate
    spearman: Estimate


# --- correlations, in every resample


def kendall_taus(
    scores: Float64[np.ndarray, " rows"],
    ratings: Float64[np.ndarray, " rows"],
    times: Float64[np.ndarray, "rows resamples"],
) -> tuple[Float64[np.ndarray, " resamples"], Float64[np.ndarray, " resamples"]]:
    """tau-b and tau-c of each resample, NaN where all scores or all ratings are equal. Kendall 1945, Stuart 1953.

    Concordant less discordant pairs are counted bit by bit of the ranks in the variable with fewer values: two ranks
    first differ in one bit, and among rows that agree in all higher bits each row with a 1 is compared with those with
    a 0 by cumulative sums over the other variable. That is O(rows log rows), and two passes for ratings from 1 to 4.
    """
    outer, inner = sorted((_ranks(scores), _ranks(ratings)), key=lambda ranks: int(ranks.max()))
    resamples = times.shape[1]
    excess = np.zeros(resamples)  # of concordant over discordant pairs
    by_inner = np.argsort(inner, kind="stable")
    for bit in range(int(outer.max()).bit_length()):
        order = by_inner[np.argsort(outer[by_inner] >> bit + 1, kind="stable")]
        higher, one = outer[order] >> bit + 1, (outer[order] >> bit & 1).astype(bool)
        ties = _starts(higher, inner[order])
        rows = times[order]
        ones, zeros = (np.add.reduceat(rows * part[:, None], ties, axis=0) for part in (one, ~one))
        up_to = np.concatenate([np.zeros((1, resamples)), np.cumsum(zeros, axis=0)])
        alike = np.searchsorted(ties, _starts(higher))  # where the groups that agree in the higher bits begin
        ends = np.append(alike[1:], len(ties))
        excess += np.einsum("tr,tr->r", ones, up_to[:-1] + up_to[1:])
        excess -= np.einsum("gr,gr->r", np.add.reduceat(ones, alike, axis=0), up_to[alike] + up_to[ends])

    size = times.sum(axis=0)
    untied, classes = [], []
    for ranks in (outer, inner):
        order = np.argsort(ranks, kind="stable")
        tied = np.add.reduceat(times[order], _starts(ranks[order]), axis=0)
        untied.append((size**2 - (tied**2).sum(axis=0)) / 2)
        classes.append((tied > 0).sum(axis=0))
    fewer = np.minimum(*classes).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Two roots, since the product of two numbers of pairs can pass what a float counts exactly.
        tau_b = np.where(fewer > 1, excess / np.sqrt(untied[0]) / np.sqrt(untied[1]), np.nan)
        tau_c = np.where(fewer > 1, 2 * excess / (size**2 * (fewer - 1) / fewer), np.nan)
    return tau_b, tau_c


def pearsons(
    scores: Float64[np.ndarray, "rows ..."],
    ratings: Float64[np.ndarray, "rows ..."],
    times: Float64[np.ndarray, "rows resamples"],
) -> Float64[np.ndarray, " resamples"]:
    """Pearson's correlation in each resample, NaN where one side is constant; values may differ between resamples."""
    x, y = (values.reshape(len(values), -1) - values.mean() for values in (scores, ratings))
    size = times.sum(axis=0)
    mean_x, mean_y, xx, yy, xy = (_sums(values, times) / size for values in (x, y, x * x, y * y, x * y))
    variances = (xx - mean_x**2, yy - mean_y**2)
    constant = (variances[0] <= 1e-12 * xx) | (variances[1] <= 1e-12 * yy)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(constant, np.nan, (xy - mean_x * mean_y) / np.sqrt(variances[0] * variances[1]))


def _sums(
    values: Float64[np.ndarray, "rows any"], times: Float64[np.ndarray, "rows resamples"]
) -> Float64[np.ndarray, " resamples"]:
    same = values.shape[1] == 1  # in all resamples
    sums: Float64[np.ndarray, " resamples"] = values[:, 0] @ times if same else np.einsum("rk,rk->k", values, times)
    return sums


def spearmans(
    scores: Float64[np.ndarray, " rows"],
    ratings: Float64[np.ndarray, " rows"],
    times: Float64[np.ndarray, "rows resamples"],
) -> Float64[np.ndarray, " resamples"]:
    """Spearman's correlation in each resample: Pearson's of the ranks there, equal values sharing their mean rank."""
    return pearsons(_mid_ranks(scores, times), _mid_ranks(ratings, times), times)


def _ranks(values: Float64[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
    """0 for the smallest value, 1 for the next."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _starts(*columns: Int64[np.ndarray, " rows"]) -> Int64[np.ndarray, " runs"]:
    """Where rows begin that are equal in all columns."""
    changes = np.any([np.diff(column) != 0 for column in columns], axis=0)
    starts: Int64[np.ndarray, " runs"] = np.concatenate([[0], np.flatnonzero(changes) + 1])
    return starts


def _mid_ranks(
    values: Float64[np.ndarray, " rows"], times: Float64[np.ndarray, "rows resamples"]
) -> Float64[np.ndarray, "rows resamples"]:
    ranks = _ranks(values)
    order = np.argsort(ranks, kind="stable")
    tied = np.add.reduceat(times[order], _starts(ranks[order]), axis=0)
    middle: Float64[np.ndarray, "values resamples"] = np.cumsum(tied, axis=0) - tied / 2
    own: Float64[np.ndarray, "rows resamples"] = middle[ranks]
    return own


# --- pairs of captions of one image


def rated_pairs(
    image: Int64[np.ndarray, " captions"], ratings: Float64[np.ndarray, " captions"]
) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
    """The pairs of captions of one image with different ratings: the better ones, and the worse ones."""
    order = np.argsort(image, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(image[order])) + 1)
    firsts, seconds = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for rows in groups:
        first, second = np.triu_indices(len(rows), k=1)
        firsts.append(rows[first])
        seconds.append(rows[second])
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    swapped = ratings[first] < ratings[second]
    better, worse = np.where(swapped, second, first), np.where(swapped, first, second)
    different = ratings[first] != ratings[second]
    return better[different], worse[different]


def pair_accuracy(
    scores: Float64[np.ndarray, " captions"],
    image: Int64[np.ndarray, " captions"],
    ratings: Float64[np.ndarray, " captions"],
    options: Bootstrap,
) -> Estimate | None:
    """Share of the pairs of ``rated_pairs`` that the scores order rightly, a tie counting half; None without pairs."""
    better, worse = rated_pairs(image, ratings)
    if not len(better):
        return None
    right = (np.sign(scores[better] - scores[worse]) + 1) / 2
    images = int(image.max()) + 1
    rights = np.bincount(image[better], right, minlength=images)
    pairs = np.bincount(image[better], minlength=images).astype(np.float64)

    def accuracies(times: Float64[np.ndarray, "images resamples"]) -> Float64[np.ndarray, " resamples"]:
        with np.errstate(invalid="ignore"):
            shares: Float64[np.ndarray, " resamples"] = rights @ times / (pairs @ times)
        return shares

    return Estimate(float(right.mean()), bootstrap_interval(accuracies, np.arange(images), options))


# --- all of them


def kendall_tau(scores: Float64[np.ndarray, " rows"], ratings: Float64[np.ndarray, " rows"]) -> tuple[float, float]:
    """tau-b and tau-c, as ``scipy.stats.kendalltau`` has them.

    Raises:
        RewardError: if one side is constant, or holds what is no number.
    """
    _refuse_constant("scores", scores)
    _refuse_constant("ratings", ratings)
    tau_b, tau_c = kendall_taus(scores, ratings, np.ones((len(scores), 1)))
    return float(tau_b[0]), float(tau_c[0])


def agreement(
    scores: Float64[np.ndarray, " captions"],
    image: Int64[np.ndarray, " captions"],
    ratings: Sequence[Sequence[float]],
    options: Bootstrap | None = None,
) -> Agreement:
    """How well the scores of captions agree with their ratings.

    Args:
        scores: of each caption.
        image: the number of each caption's image, from 0 without gaps.
        ratings: one or more of each caption.
        options: of the bootstrap over images.

    Raises:
        RewardError: if all scores, or all ratings, are equal.
    """
    options = options or Bootstrap()
    row = np.repeat(np.arange(len(scores)), [len(own) for own in ratings])
    x, y = scores[row], np.concatenate([np.asarray(own, np.float64) for own in ratings])
    _refuse_constant("scores", x)
    _refuse_constant("ratings", y)

    def all_four(times: Float64[np.ndarray, "rows resamples"]) -> Float64[np.ndarray, "4 resamples"]:
        return np.stack([*kendall_taus(x, y, times), pearsons(x, y, times), spearmans(x, y, times)])

    values = all_four(np.ones((len(x), 1)))[:, 0].tolist()
    intervals = bootstrap_intervals(all_four, image[row], options)
    tau_b, tau_c, pearson, spearman = map(Estimate, values, intervals or (None,) * len(values))
    accuracy = pair_accuracy(scores, image, np.array([np.mean(own) for own in ratings]), options)
    return Agreement(tau_b, tau_c, accuracy, pearson, spearman)


def _refuse_constant(what: str, values: Float64[np.ndarray, " rows"]) -> None:
    if len(values) < 2:
        raise RewardError(f"a correlation needs at least 2 rows, got {len(values)}")
    if not np.isfinite(values).all():
        raise RewardError(f"the {what} hold {values[~np.isfinite(values)][0]}: leave out what is no number")
    if (values == values[0]).all():
        raise RewardError(f"all {len(values)} {what} are {values[0]:g}: nothing is ranked, so nothing can agree")
