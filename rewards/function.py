"""Plain functions lent as rewards.

A function of all captions of a batch, and of whatever else it names among its parameters::

    def brevity(captions, references):
        return [len(own[0].split()) - len(caption.split()) for caption, own in zip(captions, references)]

or of one caption, when its first parameter is called ``caption``; several of them then run at once if it is ``async``::

    async def judge(caption, image):
        return await my_service.rate(image, caption)
"""

import asyncio
import functools
import inspect
import os
import threading
from collections.abc import Callable, Coroutine, Mapping
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Pending, Reward, RewardError, Signature
from rewards.failures import TRIED_ALONE, ScoringError, checked, partly

COLUMNS = {name: name for name in ("references", "images", "image_ids", "metadata", "ended")}
"""What a function of a batch may take besides its captions."""

OWN_COLUMNS = {
    "references": "references",
    "image": "images",
    "image_id": "image_ids",
    "metadata": "metadata",
    "ended": "ended",
}
"""What a function of one caption may take besides it, and the columns these are entries of."""


class FunctionReward(Reward):
    """A plain function as a reward.

    Args:
        function: takes a list of captions and gives one number for each, or takes one ``caption`` and gives its number.
            By parameters of these names it gets ``references``, ``images``, ``image_ids``, ``metadata`` and ``ended``,
            each with one entry per caption; a function of one caption gets ``references``, ``image``, ``image_id``,
            ``metadata`` and ``ended`` of its own. A parameter without a default is required. Or its import path, such
            as ``my_rewards.brevity``. Functions that are ``async`` run while the next captions are decoded.
        together: how many captions an ``async`` function of one caption is asked for at once.
        timeout: seconds after which waiting for an ``async`` function is given up, counted from when the scores of a
            batch are asked for; None waits for ever. Of one caption, those that have an answer by then keep it.
        arguments: values of the function's other parameters, by name.
        independent: whether a caption's number depends on nothing else in the batch. Say False of a function that
            compares the captions of a batch with one another: it is then never given a part of them.
    """

    partial = True

    def __init__(
        self,
        function: str | Callable[..., Any],
        together: int = 16,
        timeout: float | None = None,
        independent: bool = True,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        if together < 1:
            raise RewardError(f"together must be at least 1, got {together}")
        if timeout is not None and timeout <= 0:
            raise RewardError(f"timeout must be above 0 seconds, got {timeout}")
        self.function = imported(function) if isinstance(function, str) else function
        self.arguments = dict(arguments or {})
        self.together = together
        self.timeout = timeout
        self.independent = independent
        self.name = _name(self.function)
        self.one = _first_parameter(self.function, self.name) == "caption"
        self.columns = _columns(self.function, self.name, OWN_COLUMNS if self.one else COLUMNS, self.arguments)
        self.needs_references = "references" in self.columns
        self.needs_images = "images" in self.columns or "image" in self.columns
        self.background = inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(
            getattr(self.function, "__call__", None)  # noqa: B004 - an object with an async __call__
        )

    @property
    def signature(self) -> Signature:
        """The function's name, and what other arguments it is given."""
        return Signature("FunctionReward", {"function": self.name, **{k: str(v) for k, v in self.arguments.items()}})

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """The function's number for each caption."""
        return self.begin(candidates)()

    def begin(self, candidates: Candidates) -> Pending:
        """Call the function; one that is ``async`` is only begun."""
        columns = self._given(candidates)
        captions = list(candidates.captions)
        if self.background and self.one:
            return self._begin_each(candidates, captions, columns)
        if self.background:
            wait = begin_coroutine(self.function(captions, **columns, **self.arguments))
            return lambda: self._checked(wait(self.timeout), candidates)
        if self.one:
            values = self._each(candidates, captions, columns)
        else:
            values = self._checked(self.function(captions, **columns, **self.arguments), candidates)
        return lambda: values

    def _of(self, row: int, captions: list[str], columns: Mapping[str, Any]) -> Any:
        """What the function of one caption says of this one: its number, or a coroutine that gives it."""
        return self.function(captions[row], **{name: column[row] for name, column in columns.items()}, **self.arguments)

    def _each(
        self, candidates: Candidates, captions: list[str], columns: Mapping[str, Any]
    ) -> Float64[np.ndarray, " captions"]:
        """Ask a function of one caption for all of them; keep what it answers."""
        answers: dict[int, Any] = {}
        errors: dict[int, Exception] = {}
        for row in range(len(captions)):
            try:
                answers[row] = self._of(row, captions, columns)
            except Exception as error:
                errors[row] = error
            if len(errors) >= TRIED_ALONE and not answers:
                break  # it fails for all
        return self._answered(candidates, answers, errors)

    def _answered(
        self, candidates: Candidates, answers: Mapping[int, Any], errors: Mapping[int, Exception]
    ) -> Float64[np.ndarray, " captions"]:
        """The answers as scores.

        Raises:
            ScoringError: with those there are, if some captions have none; it names the first.
        """
        rows = range(len(candidates))
        if not errors:
            return self._checked([answers[row] for row in rows], candidates)
        values, _ = partly(lambda: self._checked([answers.get(row) for row in rows], candidates))
        row = min(errors)
        raise ScoringError(
            f"function {self.name} failed: {type(errors[row]).__name__}: {errors[row]}, for caption "
            f"{candidates.captions[row]!r}",
            values,
        ) from errors[row]

    def _begin_each(self, candidates: Candidates, captions: list[str], columns: Mapping[str, Any]) -> Pending:
        """Ask an ``async`` function of one caption for all of them, a limited number at once; keep what it answers."""
        rows = range(len(captions))
        answers: dict[int, Any] = {}
        errors: dict[int, Exception] = {}

        async def one(row: int, free: asyncio.Semaphore) -> None:
            async with free:
                if len(errors) >= TRIED_ALONE and not answers:
                    return  # it fails for all
                try:
                    answers[row] = await self._of(row, captions, columns)
                except Exception as error:
                    errors[row] = error

        async def each() -> None:
            free = asyncio.Semaphore(self.together)
            await asyncio.gather(*(one(row, free) for row in rows))

        wait = begin_coroutine(each())

        def finish() -> Float64[np.ndarray, " captions"]:
            late: dict[int, Exception] = {}
            try:
                wait(self.timeout)
            except TimeoutError as error:
                late = dict.fromkeys(rows, error)
            answered = dict(answers)
            failed = {row: error for row, error in (late | errors).items() if row not in answered}
            return self._answered(candidates, answered, failed)

        return finish

    def _given(self, candidates: Candidates) -> dict[str, Any]:
        """The columns that the function takes and the candidates have."""
        names = OWN_COLUMNS if self.one else COLUMNS
        given = {}
        for parameter, required in self.columns.items():
            column = names[parameter]
            value = getattr(candidates, column)
            if value is not None:
                given[parameter] = value
            elif required:
                raise RewardError(
                    f"function {self.name} takes {parameter}, and Candidates.{column} is None: give them, or give the "
                    "parameter a default"
                )
        return given

    def _checked(self, scores: object, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        what = f"function {self.name}"
        if not self.one and isinstance(scores, (int, float)):
            raise ScoringError(
                f"{what} gave the one number {scores} for {len(candidates)} captions: give one for each, or name its "
                "first parameter caption to be asked for one at a time"
            )
        return checked(what, scores, candidates)


# --- functions


def imported(path: str) -> Callable[..., Any]:
    """The function of an import path.

    Raises:
        RewardError: if there is none.
    """
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


def _name(function: Callable[..., Any]) -> str:
    """Where a function is defined, and what it is called; of a partial, with the arguments it binds."""
    if isinstance(function, functools.partial):
        bound = [*map(repr, function.args), *(f"{name}={value!r}" for name, value in function.keywords.items())]
        return f"{_name(function.func)}({', '.join(bound)})"
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"


def _first_parameter(function: Callable[..., Any], name: str) -> str:
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        raise RewardError(f"function {name} takes no captions: its first parameter is the list of them, or a caption")
    return first.name


def _columns(
    function: Callable[..., Any], name: str, known: Mapping[str, str], arguments: Mapping[str, Any]
) -> dict[str, bool]:
    """What a function of captions takes besides them and its arguments, and whether it cannot do without."""
    columns = {}
    parameters = inspect.signature(function).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    strangers = [argument for argument in arguments if argument in known or not (argument in parameters or takes_any)]
    if strangers:
        raise RewardError(
            f"function {name} is given the argument {strangers[0]!r}, which is none of its own parameters: "
            f"{', '.join(list(parameters)[1:]) or 'it has none'}"
        )
    for parameter in list(parameters.values())[1:]:
        if parameter.name in arguments:
            continue
        required = parameter.default is parameter.empty
        if parameter.name in known:
            columns[parameter.name] = required
        elif required and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise RewardError(
                f"function {name} has a parameter {parameter.name!r} that captions cannot fill: it may take captions, "
                f"{', '.join(known)} (what else the data set knows is in metadata), or a value under arguments"
            )
    return columns


# --- coroutines

_LOOPS: dict[
    int, asyncio.AbstractEventLoop
] = {}  # one in each process: a forked process has none of its parent's threads


def begin_coroutine(work: Coroutine[Any, Any, Any]) -> Callable[[float | None], Any]:
    """Start a coroutine in the thread of an event loop; what comes back waits so many seconds for its result."""
    loop = _LOOPS.get(os.getpid())
    if loop is None:
        loop = _LOOPS[os.getpid()] = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name="async rewards", daemon=True).start()
    future = asyncio.run_coroutine_threadsafe(work, loop)

    def wait(timeout: float | None) -> Any:
        try:
            return future.result(timeout)
        except TimeoutError:
            if future.cancel():
                raise TimeoutError(f"no answer within {timeout:g} seconds") from None
            raise

    return wait
