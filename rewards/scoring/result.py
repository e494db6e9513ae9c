"""Scores of captions by any rewards, each caption's and all together, with bootstrap intervals over images.

    import rewards

    result = rewards.score(["a dog runs"], references=[["the dog runs", "a dog"]], rewards=["CIDEr-D", "my.brevity"])
    result["CIDEr-D"].value, result["CIDEr-D"].interval, result["CIDEr-D"].scores, result["CIDEr-D"].signature

An interval is that of the value itself, also where it is no mean of the captions' scores (BLEU, METEOR). Document
frequencies of CIDEr-D are not drawn again with the images: they stay those of all captions scored.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from PIL import Image, ImageOps

from rewards.base import Candidates, OpenedWhenRead, Reward, RewardError
from rewards.composite import Term, WeightedSum
from rewards.failures import own_errors
from rewards.function import FunctionReward
from rewards.metrics import STANDARD, reward_named
from rewards.scoring.bootstrap import Bootstrap, Interval, bootstrap_interval, image_numbers

CAPTIONS_AT_ONCE = 256  # of rewards whose scores do not depend on the batch; progress is told that often
TOTAL = "total"

Scorable = str | Reward | Term | Callable[..., Any]
"""A reward by its short name or import path, a Reward, a term of a weighted sum, or a function of captions."""


@dataclass(frozen=True)
class Scored:
    """What a reward made of captions.

    Attributes:
        scores: of each caption.
        value: of all together.
        interval: bootstrap interval of the value over images; None where there are fewer than two images.
        signature: how the scores were made.
    """

    scores: Float64[np.ndarray, " captions"]
    value: float
    interval: Interval | None
    signature: str

    def summary(self) -> dict[str, Any]:
        """Value, interval and signature, as JSON can hold them."""
        interval = None if self.interval is None else list(self.interval)
        return {"value": self.value, "interval": interval, "signature": self.signature}


@dataclass(frozen=True)
class Result(Mapping[str, Scored]):
    """Captions, and what each reward made of them, by name.

    Attributes:
        candidates: the captions.
        rewards: every reward's scores; with terms of a weighted sum, their ``total`` as well.
        bootstrap: how the intervals were made.
    """

    candidates: Candidates
    rewards: Mapping[str, Scored]
    bootstrap: Bootstrap

    def __getitem__(self, name: str) -> Scored:
        if name not in self.rewards:
            raise KeyError(f"no reward {name!r} in this result: there are {', '.join(self.rewards)}")
        return self.rewards[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rewards)

    def __len__(self) -> int:
        return len(self.rewards)


def score(
    captions: Sequence[str] | Candidates,
    references: Sequence[Sequence[str]] | None = None,
    images: Sequence[Image.Image | str | Path] | None = None,
    rewards: Sequence[Scorable] | Mapping[str, Scorable] = tuple(STANDARD),
    bootstrap: Bootstrap | None = None,
    progress: Callable[[int], object] = lambda captions: None,
) -> Result:
    """What rewards make of captions.

    Args:
        captions: the captions; or ``Candidates``, which also hold image ids, where an image has several captions.
        references: the reference captions of each caption, for rewards that compare with them.
        images: each caption's image or the path of its file, for rewards that look at it; files are opened when read.
        rewards: short names (``CIDEr-D``, ``METEOR``), import paths, rewards, or functions of captions; or a mapping
            that names them, whose terms with weights (``Term``) are also added up, as ``total``.
        bootstrap: resamples and seed of the intervals.
        progress: told now and then how many more captions a reward has scored.

    Raises:
        RewardError: if a reward fails, or lacks references, images or the training references; the message names it.
    """
    candidates = _candidates(captions, references, images)
    bootstrap = bootstrap or Bootstrap()
    with ExitStack() as made_here:
        terms: dict[str, Term] = {}
        for name, given in _by_name(rewards).items():
            terms[name] = _term(given)
            if isinstance(given, str):
                made_here.callback(terms[name].reward.close)
        refuse_missing({name: term.reward for name, term in terms.items()}, candidates)
        refuse_unprepared({name: term.reward for name, term in terms.items()})
        results = {name: _scored(name, term, candidates, bootstrap, progress) for name, term in terms.items()}
    if isinstance(rewards, Mapping) and _weighted(rewards):
        whole = WeightedSum(terms)
        total = sum((term.weight * results[name].scores for name, term in terms.items()), np.zeros(len(candidates)))
        results[TOTAL] = _summed_up(whole, candidates, total, bootstrap)
    return Result(candidates, results, bootstrap)


def refuse_missing(rewards: Mapping[str, Reward], candidates: Candidates) -> None:
    """Make sure that the references and images are there that rewards need.

    Raises:
        RewardError: naming the first that lacks something.
    """
    for name, reward in rewards.items():
        if reward.needs_references and candidates.references is None:
            raise RewardError(
                f"reward '{name}' compares with references, and there are none: give references (rlcap score: "
                "--references)"
            )
        if reward.needs_images and candidates.images is None:
            raise RewardError(
                f"reward '{name}' looks at images, and there are none: give images (rlcap score: --images)"
            )


def refuse_unprepared(rewards: Mapping[str, Reward]) -> None:
    """Make sure that rewards which count the training references have done so, before anything is scored.

    Raises:
        RewardError: naming the first that has not.
    """
    for name, reward in rewards.items():
        with own_errors(name):
            reward.check_prepared()


FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # no format that starts a program to be read


def open_image(path: Path | str) -> Image.Image:
    """The image of a file in RGB, upright.

    Raises:
        RewardError: if it is missing or no image.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error) if Path(path).exists() else "no such file"
        raise RewardError(f"cannot read image {path}: {reason}") from error


def _candidates(
    captions: Sequence[str] | Candidates,
    references: Sequence[Sequence[str]] | None,
    images: Sequence[Image.Image | str | Path] | None,
) -> Candidates:
    if isinstance(captions, Candidates):
        if references is not None or images is not None:
            raise RewardError("references and images are given twice: Candidates hold them")
        candidates = captions
    else:
        if isinstance(captions, str):
            raise RewardError(f"captions is the text {captions!r}: give a list of captions")
        for own in references or ():
            if isinstance(own, str):
                raise RewardError(f"references hold the text {own!r} for a caption: give a list of them for each")
        opened = None if images is None else OpenedWhenRead([partial(_opened, image) for image in images])
        candidates = Candidates(list(captions), references=references, images=opened)
    if not len(candidates):
        raise RewardError("there are no captions to score: give at least one")
    return candidates


def _opened(image: Image.Image | str | Path) -> Image.Image:
    return image if isinstance(image, Image.Image) else open_image(image)


def _by_name(rewards: Sequence[Scorable] | Mapping[str, Scorable]) -> dict[str, Scorable]:
    if isinstance(rewards, Mapping):
        named = dict(rewards)
    elif isinstance(rewards, str):
        named = {rewards: rewards}
    else:
        named = {}
        for reward in rewards:
            name = _name(reward)
            if name in named:
                raise RewardError(f"two rewards are called {name!r}: give a mapping of names to rewards")
            named[name] = reward
    if not named:
        raise RewardError("there are no rewards to score by: give at least one")
    return named


def _name(reward: Scorable) -> str:
    if isinstance(reward, str):
        return reward
    if isinstance(reward, Term):
        reward = reward.reward
    return reward.signature.name if isinstance(reward, Reward) else FunctionReward(reward).name


def _term(given: Scorable) -> Term:
    if isinstance(given, Term):
        return given
    if isinstance(given, str):
        return Term(reward_named(given))
    return Term(given if isinstance(given, Reward) else FunctionReward(given))


def _weighted(rewards: Mapping[str, Scorable]) -> bool:
    """Whether the sum of the terms says something that the terms do not."""
    terms = [given for given in rewards.values() if isinstance(given, Term)]
    return len(terms) == len(rewards) and TOTAL not in rewards and (len(terms) > 1 or terms[0].weight != 1)


def _scored(
    name: str, term: Term, candidates: Candidates, bootstrap: Bootstrap, progress: Callable[[int], object]
) -> Scored:
    alone = WeightedSum({name: term})  # which names the reward in what goes wrong
    rows = range(len(candidates))
    size = CAPTIONS_AT_ONCE if _apart(term.reward) else len(rows)
    scores = []
    for start in rows[::size]:
        part = rows[start : start + size]
        scores.append(alone.score(candidates.select(part) if len(part) < len(rows) else candidates).terms[name])
        progress(len(part))
    with own_errors(name):
        return _summed_up(term.reward, candidates, np.concatenate(scores), bootstrap)


def _apart(reward: Reward) -> bool:
    """Whether captions may be scored in parts; what a plain function does with those of a batch, nobody knows."""
    return reward.independent and (not isinstance(reward, FunctionReward) or reward.one)


def _summed_up(
    reward: Reward, candidates: Candidates, scores: Float64[np.ndarray, " captions"], bootstrap: Bootstrap
) -> Scored:
    image = image_numbers(candidates.image_ids, len(candidates))
    several = bool(image.max() > 0)  # images: without, a metric's statistics need not be gathered
    interval = bootstrap_interval(reward.resampled(candidates, scores), image, bootstrap) if several else None
    return Scored(scores, float(reward.aggregate(candidates, scores)), interval, str(reward.signature_of(candidates)))
