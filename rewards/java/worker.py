"""A child process that answers lines with lines, and the thread that talks to it: see :mod:`rewards.java.programs`."""

import logging
import os
import selectors
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import IO

from rewards.base import RewardError
from rewards.failures import ScoringError

PIPE = 65536  # bytes read or written at once
LAST_WORDS = 20  # lines a program wrote on standard error that are kept for messages
GRACE = 5.0  # seconds for a killed program to be gone

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Program:
    """A Java program that answers every line with exactly one.

    Attributes:
        name: what messages call it.
        arguments: of ``java``.
        timeout: seconds without a sign of life, while answers are due, after which it is taken for dead.
        remedy: what to do when it cannot be started.
        lines_at_once: how many lines a process takes from those to be answered; the rest is for the others.
    """

    name: str
    arguments: tuple[str, ...]
    timeout: float
    remedy: str
    lines_at_once: int = 1


class DeathError(Exception):
    """A process is gone, or as good as; the message says how."""


@dataclass(eq=False)
class Crew:
    """Processes, each with a thread that talks to it, and the lines they have to answer."""

    program: Program
    java: str
    work: "SimpleQueue[tuple[Sequence[str], Future[list[str]]] | None]" = field(default_factory=SimpleQueue)
    owner: int = field(default_factory=os.getpid)
    closed: bool = False
    # Re-entrant: the collector of garbage may end a crew in any thread, one of its own included.
    lock: threading.RLock = field(default_factory=threading.RLock)
    threads: list[threading.Thread] = field(default_factory=list)
    living: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def employ(self, processes: int) -> None:
        """Start the threads, which start the processes."""
        for number in range(processes):
            name = f"{self.program.name}-{number}"
            self.threads.append(threading.Thread(target=Worker(self).run, daemon=True, name=name))
            self.threads[-1].start()


def closed(program: Program) -> RewardError:
    """What who waits for answers gets when the program is closed."""
    return RewardError(f"{program.name} was closed before it had answered")


class Worker:
    """Talks to one process, starting it when there is none; runs in a thread of its own."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.program = crew.program
        self.process: subprocess.Popen[bytes] | None = None
        self.said: deque[str] = deque(maxlen=LAST_WORDS)
        self.listener: threading.Thread | None = None
        self.proven = False  # whether it has ever answered

    def run(self) -> None:
        """Answer lines until told to stop."""
        try:
            self.begin()
        except DeathError as death:  # whoever asks is told
            logger.debug("%s %s", self.program.name, death)
        while (item := self.crew.work.get()) is not None:
            lines, future = item
            try:
                future.set_result(self.answers(lines))
            except BaseException as error:
                future.set_exception(error)
        self.end()

    def answers(self, lines: Sequence[str]) -> list[str]:
        """The answer to each line."""
        answers: list[str] = []
        for attempt in ("first", "second"):
            try:
                self.begin()
                self.exchange(lines[len(answers) :], answers)
                return answers
            except DeathError as death:
                reason, by_itself = f"{self.program.name} {death}", self.gave_up()
            self.end()
            if self.crew.closed:
                raise closed(self.program)
            if by_itself and not self.proven:
                break  # the next would fare no better
            if attempt == "first":
                logger.warning("%s; it is started again", reason)
        if not self.proven:
            raise RewardError(f"{reason}: {self.program.remedy}")
        raise ScoringError(f"{reason}, and did so again after a new start")

    def gave_up(self) -> bool:
        """Whether the process has ended of its own accord, with a status of failure."""
        return self.process is not None and (self.process.poll() or 0) > 0

    def begin(self) -> None:
        """Start the process unless it runs."""
        if self.process is not None:
            return
        with self.crew.lock:
            if self.crew.closed:
                raise DeathError("was closed")
            try:
                self.process = subprocess.Popen(
                    [self.crew.java, *self.program.arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    # Ctrl-C in the terminal goes to the parent's group alone. No new session, which would do that too:
                    # Linux shares processor time out among sessions, and METEOR ran four times slower in its own.
                    process_group=0,
                )
            except OSError as error:
                raise DeathError(f"could not be started ({error.strerror})") from error
            self.crew.living.append(self.process)
        self.said.clear()
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        os.set_blocking(self.process.stdin.fileno(), False)
        self.listener = threading.Thread(target=_listen, args=(self.process.stderr, self.said), daemon=True)
        self.listener.start()

    def end(self) -> None:
        """Have no process any more."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        process.wait()
        with self.crew.lock:
            self.crew.living.remove(process)
        if self.listener is not None:
            self.listener.join(GRACE)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()

    def exchange(self, lines: Sequence[str], answers: list[str]) -> None:
        """Write lines, and append the answer to each as it comes."""
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        to, since = self.process.stdin.fileno(), self.process.stdout.fileno()
        unsent = memoryview("".join(f"{line}\n" for line in lines).encode(errors="replace"))
        wanted, received = len(answers) + len(lines), b""
        with selectors.DefaultSelector() as selector:
            selector.register(since, selectors.EVENT_READ)
            if selector.select(0):
                raise DeathError("spoke unasked, or ended, while it was idle")
            selector.register(to, selectors.EVENT_WRITE)
            while len(answers) < wanted:
                ready = selector.select(self.program.timeout)
                if not ready:
                    raise DeathError(f"gave no sign of life for {self.program.timeout:g} seconds")
                for key, _ in ready:
                    if key.fd == to:
                        unsent = unsent[self._write(to, unsent[:PIPE]) :]
                        if not unsent:
                            selector.unregister(to)
                    else:
                        *whole, received = (received + self._read(since)).split(b"\n")
                        answers += [line.decode(errors="replace") for line in whole]
                        self.proven = self.proven or bool(answers)
        if received or len(answers) > wanted:
            self.end()  # it would answer the next line with what is too much now
            raise ScoringError(f"{self.program.name} gave more lines than it was asked for")

    def _write(self, to: int, part: memoryview) -> int:
        try:
            return os.write(to, part)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise DeathError(self._how()) from error

    def _read(self, since: int) -> bytes:
        part = os.read(since, PIPE)
        if not part:
            raise DeathError(self._how())
        return part

    def _how(self) -> str:
        """How the process, which has closed its pipes, ended."""
        assert self.process is not None
        self.process.kill()
        status = self.process.wait()
        if self.listener is not None:
            self.listener.join(GRACE)
        # Not the places of a stack, nor what Java says of options in the environment.
        said = [line.strip() for line in self.said if line.strip() and not line.startswith(("\t", "Picked up"))]
        ended = f"ended with status {status}" if status >= 0 else f"was killed by signal {-status}"
        return ended + (f" ({'; '.join(said[-3:])})" if said else "")


def _listen(pipe: IO[bytes], said: deque[str]) -> None:
    """Keep the last lines a process says on standard error, which would block it if nobody read them."""
    for line in pipe:
        said.append(line.decode(errors="replace").rstrip("\n"))
