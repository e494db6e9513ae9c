"""Rewards that worker processes can import."""

import os
import signal
import sys
import time
from typing import Any, ClassVar

import numpy as np

from rewards.base import Candidates, Reward


class Letters(Reward):
    """The number of letters, less what it was prepared with."""

    def __init__(self) -> None:
        self.prepared = 0

    def prepare(self, references: Any) -> None:
        self.prepared = len(references)

    def __call__(self, candidates: Candidates) -> Any:
        return np.array([float(len(caption) - self.prepared) for caption in candidates.captions])


class OwnProcess(Reward):
    """The number of the process that scores."""

    def __call__(self, candidates: Candidates) -> Any:
        return np.full(len(candidates), float(os.getpid()))


class Slow(Reward):
    """Sleeps so many seconds for each batch."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, candidates: Candidates) -> Any:
        time.sleep(self.seconds)
        return np.ones(len(candidates))


class Dies(Reward):
    """Its process is killed by the caption "die"."""

    def __call__(self, candidates: Candidates) -> Any:
        if "die" in candidates.captions:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.ones(len(candidates))


class Divides(Reward):
    """Fails for captions without letters."""

    def __call__(self, candidates: Candidates) -> Any:
        return np.array([1 / len(caption) for caption in candidates.captions])


class NanForEmpty(Reward):
    """The number of letters; NaN for captions without any."""

    def __call__(self, candidates: Candidates) -> Any:
        return np.array([float(len(caption)) if caption else np.nan for caption in candidates.captions])


class RefusalError(Exception):
    """An error as of a service's client: it cannot be made again from its message."""

    def __init__(self, *, status: int) -> None:
        super().__init__(f"status {status}")


class Refuses(Reward):
    """Always raises."""

    def __call__(self, candidates: Candidates) -> Any:
        raise RefusalError(status=429)


class Brightness(Reward):
    """The mean brightness of each caption's image."""

    needs_images = True

    def __call__(self, candidates: Candidates) -> Any:
        assert candidates.images is not None
        return np.array([np.asarray(image).mean() for image in candidates.images], np.float64)


class Steps(Reward):
    """The number of steps that were learned from, which it gathers nothing for."""

    def __init__(self) -> None:
        self.steps = np.float64(0)

    def __call__(self, candidates: Candidates) -> Any:
        return np.full(len(candidates), self.steps)

    def learned(self, sums: Any) -> None:
        self.steps += 1

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state(self, state: Any) -> None:
        self.steps = np.float64(state["steps"])


class Unkept(Steps):
    """Has a state that no checkpoint can keep."""

    def state(self) -> dict[str, Any]:
        return {"steps": np.zeros(2)}


class Recording(Reward):
    """The number of letters; writes down when it is begun and when its scores are taken."""

    background = True
    events: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.events.clear()
        self.batches = 0

    def begin(self, candidates: Candidates) -> Any:
        self.batches += 1
        batch = self.batches
        self.events.append(f"begun {batch}")

        def finish() -> Any:
            self.events.append(f"taken {batch}")
            return np.array([float(len(caption)) for caption in candidates.captions])

        return finish

    def __call__(self, candidates: Candidates) -> Any:
        return self.begin(candidates)()


if __name__ == "__main__":  # a program that scores in another process, whose number it tells, and waits to be killed
    from rewards.background import InProcesses

    sys.stdout.write(f"{InProcesses(OwnProcess())(Candidates(['a']))[0]}\n")
    sys.stdout.flush()
    if os.fork():
        time.sleep(60)
    time.sleep(8)  # as a process that reads images, which has what its parent had open, and is left behind
