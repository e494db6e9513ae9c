"""Rewards that score in the background, while the next captions are decoded.

``InThreads`` suits rewards that wait (a service, a disk) or compute outside Python's lock; ``InProcesses`` suits slow
Python. A training step waits for scores where it needs them; ``training.overlap_rewards`` gives them a whole step.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import Any

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Pending, Resampled, Reward, RewardError
from rewards.failures import ScoringError, checked, partly, scored
from rewards.wrapper import Wrapper

Scorer = Callable[[Candidates], object]


class _Background(Wrapper):
    """A reward whose batches are shared out among workers.

    Args:
        reward: what scores in the background.
        workers: how many batches, or parts of one, are scored at once.
        timeout: seconds after which waiting for scores is given up; None waits for ever.
    """

    def __init__(self, reward: Reward, workers: int = 1, timeout: float | None = None) -> None:
        super().__init__(reward)
        if workers < 1:
            raise RewardError(f"workers must be at least 1, got {workers}")
        if timeout is not None and timeout <= 0:
            raise RewardError(f"timeout must be above 0 seconds, got {timeout}")
        if reward.sums:
            raise RewardError(
                f"{type(reward).__name__} keeps running statistics, which workers cannot: put it around "
                f"{type(self).__name__}, not within"
            )
        self.workers = workers
        self.timeout = timeout
        self.background = True
        self._pool: Executor | None = None

    @property
    def signature(self) -> Any:
        """That of the reward within: where it is computed changes no number."""
        return self.reward.signature

    def signature_of(self, candidates: Candidates) -> Any:
        """That of the reward within."""
        return self.reward.signature_of(candidates)

    def aggregate(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> float:
        return self.reward.aggregate(candidates, scores)

    def resampled(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> Resampled:
        return self.reward.resampled(candidates, scores)

    def change(self, scores: Float64[np.ndarray, " captions"]) -> Float64[np.ndarray, " captions"]:
        return scores

    def begin(self, candidates: Candidates) -> Pending:
        """Hand the captions to the workers, in equal parts if their scores do not depend on one another."""
        count = min(self.workers, len(candidates)) if self.independent else 1
        parts = [candidates.select(rows.tolist()) for rows in np.array_split(np.arange(len(candidates)), max(1, count))]
        futures = [self.submit(part) for part in parts]
        pool = self._pool  # which may be another's turn when these are waited for

        def result(number: int, until: float | None) -> Float64[np.ndarray, " captions"]:
            left = None if until is None else max(0.0, until - monotonic())
            return checked("it", self.result(futures[number], left, pool), parts[number])

        def finish() -> Float64[np.ndarray, " captions"]:
            until = None if self.timeout is None else monotonic() + self.timeout
            each = [partly(partial(result, number, until)) for number in range(len(parts))]
            scores = np.concatenate([own for own, _ in each])
            errors = [error for _, error in each if error is not None]
            if errors:
                errors[0].values = scores
                raise errors[0]
            return scores

        return finish

    @abstractmethod
    def submit(self, candidates: Candidates) -> "Future[object]":
        """Hand a part to a worker."""

    def result(self, future: "Future[object]", seconds: float | None, pool: Executor | None) -> object:
        """What a worker of the pool gave, waited for so long."""
        try:
            return future.result(seconds)
        except CancelledError:
            raise ScoringError("its workers were given up before they came to these captions") from None
        except TimeoutError:
            if future.done():
                raise
            future.cancel()
            self.give_up(pool)
            raise ScoringError(f"no scores within the timeout of {self.timeout:g} seconds") from None

    def give_up(self, pool: Executor | None) -> None:
        """Leave workers that do not answer; those that have come in their place stay."""
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        if pool is self._pool:
            self._pool = None

    def close(self) -> None:
        self.give_up(self._pool)
        self.reward.close()


class _DaemonThreads(Executor):
    """Threads that do not keep the program from ending, as those of ThreadPoolExecutor do when one of them hangs."""

    def __init__(self, workers: int) -> None:
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._workers = workers
        for _ in range(workers):
            threading.Thread(target=self._run, daemon=True, name="reward").start()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)
            del item, future, call  # with the images that it was given

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self._work.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end once they have done what they were given."""
        for _ in range(self._workers):
            self._work.put(None)


class InThreads(_Background):
    """A reward computed in threads of this process.

    Args:
        reward: what scores; with several workers it must bear being called by several threads at once.
        workers: how many threads.
        timeout: seconds after which waiting for scores is given up; None waits for ever. A thread cannot be stopped,
            and goes on by itself.
    """

    def submit(self, candidates: Candidates) -> "Future[object]":
        if self._pool is None:
            self._pool = _DaemonThreads(self.workers)
        return self._pool.submit(scored, self.reward, partial(self.reward, candidates))


class InProcesses(_Background):
    """A reward computed in processes of its own.

    They are started anew with the reward as it is after ``prepare``, so it and what it is made of must be importable
    (no lambdas, nothing defined in a notebook), and a script of your own must begin its work under ``if __name__ ==
    "__main__":``, since they import it. One that dies is named, and replaced at the next batch.

    Args:
        reward: what scores.
        workers: how many processes.
        timeout: seconds after which waiting for scores is given up and the processes are ended; None waits for ever.
            They include the start of the processes, so give it time to load a model.
    """

    def submit(self, candidates: Candidates) -> "Future[object]":
        if self._pool is None:
            self._pool = self._started()
        try:
            return self._pool.submit(_score, candidates)
        except BrokenProcessPool as error:
            failed: Future[object] = Future()
            failed.set_exception(error)
            return failed

    def result(self, future: "Future[object]", seconds: float | None, pool: Executor | None) -> object:
        try:
            return super().result(future, seconds, pool)
        except BrokenProcessPool:
            self.give_up(pool)
            raise ScoringError(
                "a worker process died: of too little memory, or in a script that does not begin its work under "
                "if __name__ == '__main__':, or with an earlier batch; the next batch gets new ones"
            ) from None

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        self.give_up(self._pool)  # the processes have the reward as it was
        super().prepare(references)

    def to(self, device: str) -> None:
        self.give_up(self._pool)
        super().to(device)

    def give_up(self, pool: Executor | None) -> None:
        """End the processes, whatever they are doing."""
        if isinstance(pool, ProcessPoolExecutor):
            for process in list((pool._processes or {}).values()):
                process.kill()
        super().give_up(pool)

    def _started(self) -> ProcessPoolExecutor:
        if getattr(multiprocessing.current_process(), "_inheriting", False):  # a worker that imports the script
            sys.exit("InProcesses: begin the script's work under if __name__ == '__main__':, since workers import it")
        try:
            reward = pickle.dumps(self.reward)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise RewardError(
                f"{type(self.reward).__name__} cannot be sent to another process ({error}): define it, and the "
                "functions it uses, at the top of a module"
            ) from error
        # Not forked: a fork copies locks that threads of this process may hold, torch's among them.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.workers, context, initializer=_begin_worker, initargs=(reward,))


_reward: Reward | None = None


def _begin_worker(reward: bytes) -> None:
    """Take in the reward; leave Ctrl-C and SIGTERM to the parent, which decides when to stop; end when it has."""
    global _reward
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _reward = pickle.loads(reward)  # noqa: S301 - made by the parent


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    # Processes forked from the parent, such as those that read images, hold open what it waits for, and may outlive it.
    while parent.is_alive() and os.getppid() == parent.pid:
        parent.join(1.0)
    os._exit(1)


def _score(candidates: Candidates) -> object:
    assert _reward is not None
    try:
        return scored(_reward, partial(_reward, candidates))
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
        except Exception:  # the errors of many services; one that cannot be read would end the parent's pool
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise
