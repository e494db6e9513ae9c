"""Java programs that answer lines with lines, kept alive between batches; and the answers that are known already.

METEOR and SPICE are programs of their own, under licences of their own: they run as child processes, fed through pipes.
Starting one takes seconds, so it is started once; writing to it and reading from it never wait for one another.
"""

import os
import shutil
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from queue import Empty
from typing import Any, Generic, TypeVar

from rewards.base import RewardError
from rewards.java.worker import GRACE, Crew, Program, closed

# In the C locale Java would read and write ASCII; in the Turkish one it would lower-case I to a dotless i.
ANY_LOCALE = ("-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")

Value = TypeVar("Value")


def java(name: str) -> str:
    """The path of ``java``.

    Raises:
        RewardError: if there is none.
    """
    found = shutil.which("java")
    if found is None:
        raise RewardError(f"{name} runs on Java, and no java is on the PATH: install one, version 11 or newer")
    return found


def of_pycocoevalcap(*parts: str) -> Path:
    """A file or folder of the installed pycocoevalcap, which is not imported.

    Raises:
        RewardError: if it is not there.
    """
    found = find_spec("pycocoevalcap")
    places = found.submodule_search_locations if found else None
    path = Path(next(iter(places or ["pycocoevalcap"])), *parts)
    if not path.exists():
        raise RewardError(f"{'/'.join(parts)} of pycocoevalcap is missing: pip install pycocoevalcap")
    return path


class JavaProcesses:
    """Copies of one program that share the lines to answer. They start when first needed, or at ``start``.

    Several threads may ask at once. A process that dies is started again, once for the lines it was given. All end
    with ``close``, with this object, with the interpreter, and when their standard input ends: with the parent,
    however that ends. Ctrl-C in the terminal does not reach them, so that a run can finish what it has begun.

    Args:
        program: makes the program; called when processes start, and raises RewardError where they cannot.
        processes: how many copies.
    """

    def __init__(self, program: Callable[[], Program], processes: int = 1) -> None:
        if processes < 1:
            raise RewardError(f"processes must be 1 or more, got {processes}")
        self.program = program
        self.processes = processes
        self._lock = threading.Lock()
        self._crew: Crew | None = None

    def start(self) -> None:
        """Start what is not running, and do not wait for it.

        Raises:
            RewardError: without Java or without the program.
        """
        with self._lock:
            self._running()

    def begin(self, lines: Sequence[str]) -> Callable[[], list[str]]:
        """Send lines; what comes back waits for the answer to each.

        What comes back raises RewardError if the program cannot be started, ScoringError if it dies over these lines.
        """
        futures: list[Future[list[str]]] = []
        with self._lock:  # so that close finds all that waits
            crew = self._running()
            for start in range(0, len(lines), crew.program.lines_at_once):
                futures.append(Future())
                crew.work.put((lines[start : start + crew.program.lines_at_once], futures[-1]))
        return lambda: [answer for future in futures for answer in future.result()]

    def close(self) -> None:
        """End the processes; who waits for answers gets an error."""
        with self._lock:
            if self._crew is not None:
                self._ending()
            self._crew = None

    def _running(self) -> "Crew":
        # After a fork the processes are the parent's, and so are the threads that talk to them.
        if self._crew is None or self._crew.owner != os.getpid():
            program = self.program()
            self._crew = Crew(program, java(program.name))
            self._crew.employ(self.processes)
            self._ending = weakref.finalize(self, _end, self._crew)
        return self._crew

    def __getstate__(self) -> dict[str, Any]:
        return {"program": self.program, "processes": self.processes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _end(crew: Crew) -> None:
    if os.getpid() != crew.owner:
        return
    with crew.lock:
        crew.closed = True
        living = list(crew.living)
    try:
        while True:
            item = crew.work.get_nowait()
            if item is not None:
                item[1].set_exception(closed(crew.program))
    except Empty:
        pass
    for _ in crew.threads:
        crew.work.put(None)
    for process in living:
        process.kill()
    for thread in crew.threads:
        if thread is not threading.current_thread():
            thread.join(GRACE)


class Known(Generic[Value]):
    """Results by request, the latest ``size`` remembered; equal requests are made once.

    Args:
        ask: sends requests, and gives what waits for the result of each.
        size: how many results are remembered.
    """

    def __init__(self, ask: Callable[[list[str]], Callable[[], list[Value]]], size: int) -> None:
        if size < 0:
            raise RewardError(f"remembered must be 0 or more, got {size}")
        self.ask = ask
        self.size = size
        self._lock = threading.Lock()
        self._results: dict[str, Value] = {}  # the oldest used comes first

    def begin(self, requests: Sequence[str]) -> Callable[[], list[Value]]:
        """Ask what is not known; what comes back waits for the result of each request."""
        distinct = list(dict.fromkeys(requests))
        with self._lock:
            known = {request: self._results[request] for request in distinct if request in self._results}
        missing = [request for request in distinct if request not in known]
        pending = self.ask(missing) if missing else list

        def finish() -> list[Value]:
            known.update(zip(missing, pending(), strict=True))
            with self._lock:
                for request in distinct:
                    self._results.pop(request, None)
                    self._results[request] = known[request]
                for request in list(islice(self._results, max(0, len(self._results) - self.size))):
                    del self._results[request]
            return [known[request] for request in requests]

        return finish

    def __getstate__(self) -> dict[str, Any]:
        return {"ask": self.ask, "size": self.size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
