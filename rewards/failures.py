"""What happens when a reward fails: the culprit is named, and a run may go on without the captions it failed for."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from numbers import Real
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64

from rewards.base import Candidates, Reward, RewardError

Policy = Literal["stop", "zero", "skip"]
"""``stop`` raises; ``zero`` gives the captions it failed for 0; ``skip`` gives them the mean of the others of their
image (or, where none is left, of all), so that they are neither rewarded nor punished."""

SLOW = 60.0  # seconds of waiting after which it is said what is waited for
TRIED_ALONE = 3  # a reward that fails for so many captions one by one, and for none does not, fails for all

logger = logging.getLogger(__name__)


class ScoringError(RewardError):
    """A reward failed for some of the captions, as opposed to being set up wrongly.

    Attributes:
        values: what it gave, NaN where that is no finite number; None if it gave nothing of use.
    """

    def __init__(self, message: str, values: Float64[np.ndarray, " captions"] | None = None) -> None:
        super().__init__(message)
        self.values = values


@contextmanager
def own_errors(name: str) -> Iterator[None]:
    """Name the reward in whatever goes wrong in it; the cause is what the reward itself raised."""
    try:
        yield
    except ScoringError as error:
        raise ScoringError(f"reward '{name}': {error}", error.values) from (error.__cause__ or error)
    except RewardError as error:
        raise RewardError(f"reward '{name}': {error}") from (error.__cause__ or error)
    except Exception as error:
        raise ScoringError(f"reward '{name}' failed: {type(error).__name__}: {error}") from error


def checked(what: str, scores: object, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
    """The scores as float64, one finite number per caption.

    Raises:
        ScoringError: naming what gave them and the first offending caption.
    """
    try:
        values = np.asarray(scores)
    except ValueError as error:  # ragged
        raise ScoringError(f"{what} gave no flat sequence of numbers ({error}): give one per caption") from error
    if values.shape != (len(candidates),):
        raise ScoringError(
            f"{what} gave shape {values.shape} for {len(candidates)} captions: give one number per caption"
        )
    if not len(candidates):
        return np.zeros(0)
    if values.dtype.kind not in "fiu":
        given = values.tolist()
        numbers = [isinstance(value, Real) and not isinstance(value, bool) for value in given]
        row = 0 if all(numbers) else numbers.index(False)
        raise ScoringError(
            f"{what} gave {given[row]!r} ({values.dtype}) for caption {candidates.captions[row]!r}: give real numbers",
            np.array([value if number else np.nan for value, number in zip(given, numbers, strict=True)], np.float64),
        )
    values = values.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite))
        raise ScoringError(
            f"{what} gave {values[row]} for caption {candidates.captions[row]!r}: give finite numbers",
            np.where(finite, values, np.nan),
        )
    return values


@contextmanager
def said_if_slow(name: str) -> Iterator[None]:
    """Say what is being waited for, if it takes long."""
    timer = threading.Timer(SLOW, logger.warning, ("still waiting for reward '%s' after %g seconds", name, SLOW))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def begun(reward: Reward, candidates: Candidates) -> Callable[[], object]:
    """What waits for the scores of a reward that is started here; what goes wrong at the start is raised there too."""
    try:
        return reward.begin(candidates)
    except Exception as caught:
        error = caught

        def fail() -> object:
            raise error

        return fail


def scored(reward: Reward, pending: Callable[[], object]) -> object:
    """What a reward gives; what it raises keeps no scores but its own, since those of a reward within mean another."""
    try:
        return pending()
    except ScoringError as error:
        if not reward.partial:
            error.values = None
        raise


def partly(pending: Callable[[], object]) -> tuple[Float64[np.ndarray, " captions"], ScoringError | None]:
    """What a reward within another gives: NaN where it failed for single captions, and then the error to raise again.

    Raises:
        ScoringError: if it gives nothing of use.
    """
    try:
        return np.asarray(pending(), np.float64), None
    except ScoringError as error:
        if error.values is None:
            raise
        return error.values, error


def settle(
    name: str,
    reward: Reward,
    candidates: Candidates,
    pending: Callable[[], object],
    policy: Policy,
    report: Callable[[str], None] = logger.warning,
) -> tuple[Float64[np.ndarray, " captions"], Bool[np.ndarray, " captions"]]:
    """The scores that a reward has begun to make, and which of them stand in for failures, which are reported.

    Raises:
        ScoringError: if it fails and the policy is to stop; it names the first caption that it fails for.
        RewardError: if it is set up wrongly, whatever the policy.
    """
    try:
        with own_errors(name), said_if_slow(name):
            scores = scored(reward, pending)
        return checked(f"reward '{name}'", scores, candidates), np.zeros(len(candidates), np.bool_)
    except ScoringError as error:
        if policy == "stop":
            raise _with_caption(name, reward, candidates, error) from error.__cause__
        values = _apart(reward, candidates) if error.values is None else error.values
        failed = ~np.isfinite(values)
        first = f", first {candidates.captions[int(np.argmax(failed))]!r}" if failed.any() else ""
        report(f"{error} ({failed.sum()} of {len(candidates)} captions{first}; {policy})")
        return (np.where(failed, 0.0, values) if policy == "zero" else _filled(values, candidates)), failed


def _with_caption(name: str, reward: Reward, candidates: Candidates, error: ScoringError) -> ScoringError:
    """The error with the first caption that the reward fails for, looked for if it may be scored alone."""
    if error.values is not None or error.__cause__ is None:
        return error  # it names the caption, or speaks of all
    rows = list(range(len(candidates))) if reward.independent and len(candidates) > 1 else []
    size = 1  # first one alone, since most often all fail; then halves
    while rows:
        part = rows[:size]
        alone = _failure(name, reward, candidates.select(part))
        if alone is not None and len(part) == 1:
            found = ScoringError(f"{alone}, for caption {candidates.captions[part[0]]!r}")
            found.__cause__ = alone.__cause__
            return found
        rows = rows[size:] if alone is None else part
        size = max(1, len(rows) // 2)
    others = f" and {len(candidates) - 1} others" if len(candidates) > 1 else ""
    found = ScoringError(f"{error}, for caption {candidates.captions[0]!r}{others}")
    found.__cause__ = error.__cause__
    return found


def _failure(name: str, reward: Reward, candidates: Candidates) -> RewardError | None:
    """What goes wrong when these are scored."""
    try:
        with own_errors(name):
            reward(candidates)
    except RewardError as error:
        return error
    return None


def _apart(reward: Reward, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
    """The score of each caption that has one when scored with fewer others, NaN where it fails alone too."""
    values = np.full(len(candidates), np.nan)
    if not reward.independent:
        return values
    rows = list(range(len(candidates)))
    for row in rows[:TRIED_ALONE]:
        values[row] = _halved(reward, candidates.select([row]))[0]
    if np.isfinite(values).any() and rows[TRIED_ALONE:]:
        values[TRIED_ALONE:] = _halved(reward, candidates.select(rows[TRIED_ALONE:]))
    return values


def _halved(reward: Reward, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
    """The scores, asked for in halves where that fails, so that few failures cost few calls."""
    try:
        with own_errors("in parts"):
            return checked("it", scored(reward, partial(reward, candidates)), candidates)
    except ScoringError as error:
        if error.values is not None:
            return error.values
    if len(candidates) == 1:
        return np.full(1, np.nan)
    rows, middle = list(range(len(candidates))), len(candidates) // 2
    return np.concatenate([_halved(reward, candidates.select(part)) for part in (rows[:middle], rows[middle:])])


def _filled(values: Float64[np.ndarray, " captions"], candidates: Candidates) -> Float64[np.ndarray, " captions"]:
    """NaN replaced by the mean of the image's other captions, or of all; 0 where there is none."""
    ids = list(candidates.image_ids or range(len(values)))
    known = values[np.isfinite(values)]
    overall = float(known.mean()) if len(known) else 0.0
    filled = values.copy()
    for row in np.flatnonzero(np.isnan(values)):
        own = values[[other == ids[row] for other in ids]]
        own = own[np.isfinite(own)]
        filled[row] = own.mean() if len(own) else overall
    return filled
