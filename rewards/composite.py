"""Rewards made of rewards: a weighted sum with every term kept apart, and plain functions lent as rewards.

A custom reward is a function of captions and of whatever else it names among its parameters, such as references::

    def brevity(captions):
        return [1.0 / (1 + len(caption.split())) for caption in captions]

    reward = WeightedSum({"cider_d": Term(CiderD()), "brevity": Term(FunctionReward(brevity), weight=0.1)})
    scores = reward.score(candidates)  # scores.total, scores.terms["brevity"]
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Reward, RewardError, Signature

COLUMNS = ("references", "images", "image_ids", "metadata", "ended")


@dataclass(frozen=True)
class Term:
    """One reward of a sum and its weight."""

    reward: Reward
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not np.isfinite(self.weight):
            raise RewardError(f"the weight of a term is {self.weight}: give a finite number")


@dataclass(frozen=True)
class Scores:
    """The weighted sum, and every term by name as its reward gave it, unweighted."""

    total: Float64[np.ndarray, " captions"]
    terms: Mapping[str, Float64[np.ndarray, " captions"]]


@contextmanager
def own_errors(name: str) -> Iterator[None]:
    """Name the reward in whatever goes wrong in it; the cause is what the reward itself raised."""
    try:
        yield
    except RewardError as error:
        raise RewardError(f"reward '{name}': {error}") from (error.__cause__ or error)
    except Exception as error:
        raise RewardError(f"reward '{name}' failed: {type(error).__name__}: {error}") from error


def checked(what: str, scores: object, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
    """The scores as float64, one finite number per caption; an error names what gave them and the first offender."""
    try:
        values = np.asarray(scores)
    except ValueError as error:  # ragged
        raise RewardError(f"{what} gave no flat sequence of numbers ({error}): give one per caption") from error
    if values.shape != (len(candidates),):
        raise RewardError(
            f"{what} gave shape {values.shape} for {len(candidates)} captions: give one number per caption"
        )
    if not len(candidates):
        return np.zeros(0)
    if values.dtype.kind not in "fiu":
        numbers = [isinstance(value, (int, float)) and not isinstance(value, bool) for value in values.tolist()]
        row = 0 if all(numbers) else numbers.index(False)
        raise RewardError(
            f"{what} gave {values.tolist()[row]!r} ({values.dtype}) for caption {candidates.captions[row]!r}: "
            "give real numbers"
        )
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite))
        raise RewardError(f"{what} gave {values[row]} for caption {candidates.captions[row]!r}: give finite numbers")
    return values.astype(np.float64)


class WeightedSum(Reward):
    """The sum of weighted rewards; it needs what any of them needs."""

    def __init__(self, terms: Mapping[str, Term]) -> None:
        if not terms:
            raise RewardError("a weighted sum has no terms: give at least one reward")
        self.terms = dict(terms)
        self.needs_references = any(term.reward.needs_references for term in self.terms.values())
        self.needs_images = any(term.reward.needs_images for term in self.terms.values())

    @property
    def signature(self) -> Signature:
        """Every term's weight and signature."""
        return self._signature({name: term.reward.signature for name, term in self.terms.items()})

    def signature_of(self, candidates: Candidates) -> Signature:
        """Every term's weight and signature for these captions."""
        return self._signature({name: term.reward.signature_of(candidates) for name, term in self.terms.items()})

    def _signature(self, signatures: Mapping[str, Signature]) -> Signature:
        return Signature(
            "WeightedSum",
            {name: f"{self.terms[name].weight:g}*({signature})" for name, signature in signatures.items()},
        )

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Let every term take in the training references."""
        for term in self.terms.values():
            term.reward.prepare(references)

    def score(self, candidates: Candidates) -> Scores:
        """The sum and the terms it is made of."""
        raw = {name: self._raw(name, candidates) for name in self.terms}
        total = np.zeros(len(candidates))
        for name, term in self.terms.items():
            total += term.weight * raw[name]
        return Scores(total, raw)

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """The weighted sum for each caption."""
        return self.score(candidates).total

    def _raw(self, name: str, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        with own_errors(name):
            scores = self.terms[name].reward(candidates)
        return checked(f"reward '{name}'", scores, candidates)


class FunctionReward(Reward):
    """A plain function as a reward: captions in, one number per caption out.

    Args:
        function: takes a list of captions and, by parameters of these names, ``references``, ``images``,
            ``image_ids``, ``metadata`` and ``ended``, each with one entry per caption; or its import path, such as
            ``my_rewards.brevity``. A column is required when its parameter has no default.
    """

    def __init__(self, function: str | Callable[..., Any]) -> None:
        self.function = _imported(function) if isinstance(function, str) else function
        self.name = f"{self.function.__module__}.{getattr(self.function, '__qualname__', type(self.function).__name__)}"
        self.columns = _columns(self.function, self.name)
        self.needs_references = "references" in self.columns
        self.needs_images = "images" in self.columns

    @property
    def signature(self) -> Signature:
        """The function's name."""
        return Signature("FunctionReward", {"function": self.name})

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """The function's number for each caption."""
        columns = {}
        for column, required in self.columns.items():
            value = getattr(candidates, column)
            if value is not None:
                columns[column] = value
            elif required:
                raise RewardError(
                    f"function {self.name} takes {column}, and Candidates.{column} is None: give them, or give the "
                    "parameter a default"
                )
        return checked(f"function {self.name}", self.function(list(candidates.captions), **columns), candidates)


def _imported(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition(".")
    if not module:
        raise RewardError(f"{path!r} is no import path of a function: write module.function")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise RewardError(f"cannot import the reward function {path!r}: {error}") from error
    if not callable(function):
        raise RewardError(f"{path!r} is a {type(function).__name__}: name a function")
    return function  # type: ignore[no-any-return]


def _columns(function: Callable[..., Any], name: str) -> dict[str, bool]:
    """The columns a function of captions takes besides them, and whether it cannot do without."""
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        raise RewardError(f"function {name} takes no captions: its first parameter is the list of them")
    columns = {}
    for parameter in parameters[1:]:
        required = parameter.default is parameter.empty
        if parameter.name in COLUMNS:
            columns[parameter.name] = required
        elif required and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise RewardError(
                f"function {name} has a parameter {parameter.name!r} that captions cannot fill: it may take captions, "
                f"{', '.join(COLUMNS)}"
            )
    return columns
