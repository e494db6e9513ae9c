"""The transport of lines to Java programs, with a small program of the tests that dies, hangs and shouts on demand."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from rewards.base import RewardError
from rewards.failures import ScoringError
from rewards.java.programs import ANY_LOCALE, JavaProcesses, Known, java, of_pycocoevalcap
from rewards.java.worker import Program

needs_java = pytest.mark.skipif(shutil.which("javac") is None, reason="there is no JDK")
REMEDY = "feed it better"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the compiled program."""
    folder = tmp_path_factory.mktemp("classes")
    source = str(Path(__file__).with_name("Answerer.java"))
    subprocess.run(["javac", "-d", str(folder), source], check=True, capture_output=True, timeout=120)
    return folder


def answerer(compiled: Path, *options: str, timeout: float = 60.0, lines_at_once: int = 16) -> Program:
    arguments = (*ANY_LOCALE, *options, "-XX:TieredStopAtLevel=1", "-cp", str(compiled), "Answerer")
    return Program("answerer", arguments, timeout, REMEDY, lines_at_once)


@pytest.fixture
def processes(compiled: Path) -> Iterator[Callable[..., JavaProcesses]]:
    made: list[JavaProcesses] = []

    def make(count: int = 1, **settings: float) -> JavaProcesses:
        made.append(JavaProcesses(lambda: answerer(compiled, **settings), count))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


def gone(pid: int) -> bool:
    """Whether a process ends within 10 seconds."""
    for _ in range(1000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if (
            Path(f"/proc/{pid}/stat").exists()
            and Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        ):
            return True  # ended, and waits for whoever adopted it
        time.sleep(0.01)
    return False


@pytest.mark.java
@needs_java
class TestLines:
    def test_far_more_than_a_pipe_holds_comes_back_in_order(self, processes: Callable[..., JavaProcesses]) -> None:
        lines = [f"{row} {'è' * 500}" for row in range(4000)]  # 4 MB each way; a pipe holds 64 kB
        assert processes(2, lines_at_once=1000).begin(lines)() == [f"<{line}>" for line in lines]

    def test_begin_does_not_wait(self, processes: Callable[..., JavaProcesses]) -> None:
        pending = (one := processes()).begin(["sleep 1500"])
        began = time.monotonic()
        later = one.begin(["a", "b"])
        assert time.monotonic() - began < 0.5
        assert later() == ["<a>", "<b>"]
        assert pending() == pending() == ["slept"]

    def test_several_threads_ask_at_once(self, processes: Callable[..., JavaProcesses]) -> None:
        one, results = processes(2), dict[int, list[str]]()

        def ask(thread: int) -> None:
            for turn in range(20):
                lines = [f"{thread} {turn} {row}" for row in range(50)]
                results[thread * 20 + turn] = [line.strip("<>") for line in one.begin(lines)()]
                assert results[thread * 20 + turn] == lines

        threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 80

    def test_noise_on_standard_error_does_not_block(self, processes: Callable[..., JavaProcesses]) -> None:
        assert processes().begin(["noise", "x"])() == ["was loud", "<x>"]

    def test_text_that_is_no_unicode(self, processes: Callable[..., JavaProcesses]) -> None:
        assert processes().begin(["a\ud800b", "x"])() == ["<a?b>", "<x>"]


@pytest.mark.java
@needs_java
class TestDeath:
    def test_it_is_started_again_and_only_the_rest_is_asked(
        self, processes: Callable[..., JavaProcesses], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        one = processes()
        first = one.begin(["pid"])()
        lines = ["a", "b", f"die-once {tmp_path / 'died'}", "c"]
        with caplog.at_level(logging.WARNING):
            assert one.begin(lines)() == ["<a>", "<b>", "alive", "<c>"]
        assert caplog.messages == ["answerer ended with status 4; it is started again"]
        assert one.begin(["pid"])() != first

    def test_a_line_that_always_kills_is_an_error_of_those_lines_alone(
        self, processes: Callable[..., JavaProcesses]
    ) -> None:
        one = processes(lines_at_once=1)
        fatal, fine = one.begin(["a", "die"]), one.begin(["b"])
        with pytest.raises(ScoringError, match=r"answerer ended with status 3 \(Exception: told to die\), and did so"):
            fatal()
        assert fine() == ["<b>"]

    def test_killed_while_idle(self, processes: Callable[..., JavaProcesses]) -> None:
        one = processes()
        os.kill(int(one.begin(["pid"])()[0]), signal.SIGKILL)
        assert one.begin(["a"])() == ["<a>"]

    def test_killed_at_work(self, processes: Callable[..., JavaProcesses], caplog: pytest.LogCaptureFixture) -> None:
        one = processes()
        pid = int(one.begin(["pid"])()[0])
        pending = one.begin(["a", "sleep 300", "b"])
        time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        assert pending() == ["<a>", "slept", "<b>"]
        assert "was killed by signal 9" in caplog.text

    def test_one_that_hangs_is_ended(self, processes: Callable[..., JavaProcesses]) -> None:
        one = processes(timeout=0.7, lines_at_once=1)
        pid, stuck = one.begin(["pid"]), one.begin(["hang"])
        with pytest.raises(ScoringError, match=r"answerer gave no sign of life for 0\.7 seconds"):
            stuck()
        assert gone(int(pid()[0]))
        assert one.begin(["a"])() == ["<a>"]

    def test_more_lines_than_asked_for_do_not_shift_the_answers(self, processes: Callable[..., JavaProcesses]) -> None:
        one = processes(lines_at_once=1)
        both = one.begin(["a", "twice"])
        with pytest.raises(ScoringError, match="more lines than it was asked for"):
            both()
        assert one.begin(["b", "c"])() == ["<b>", "<c>"]

    def test_one_that_cannot_start_says_why(self, compiled: Path) -> None:
        one = JavaProcesses(lambda: answerer(compiled, "--no-such-option"))
        one.start()
        with pytest.raises(
            RewardError, match=rf"answerer ended with status 1 \(Unrecognized option.*\): {REMEDY}"
        ) as failed:
            one.begin(["a"])()
        assert not isinstance(failed.value, ScoringError)
        one.close()


@pytest.mark.java
@needs_java
class TestEnd:
    def test_close_fails_who_waits_and_it_may_be_used_again(self, processes: Callable[..., JavaProcesses]) -> None:
        one = processes(lines_at_once=1)
        pid = int(one.begin(["pid"])()[0])
        pending = [one.begin(["hang"]), one.begin(["a"])]
        time.sleep(0.05)
        one.close()
        assert gone(pid)
        for waits in pending:
            with pytest.raises(RewardError, match="answerer was closed before it had answered"):
                waits()
        assert one.begin(["a"])() == ["<a>"]

    def test_it_ends_with_the_last_reference(self, compiled: Path) -> None:
        one = JavaProcesses(lambda: answerer(compiled))
        pid = int(one.begin(["pid"])()[0])
        del one
        assert gone(pid)

    def test_it_ends_with_the_interpreter(self, compiled: Path) -> None:
        done = run(compiled, "say(*one.begin(['pid'])()); pending = one.begin(['hang'])")
        said, error = done.communicate(timeout=30)
        assert (done.returncode, error) == (0, "")
        assert gone(int(said))

    def test_it_ends_when_the_parent_is_killed(self, compiled: Path) -> None:
        parent = run(compiled, "say(*one.begin(['pid'])()); time.sleep(60)")
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        assert gone(pid)
        parent.communicate()

    def test_it_outlives_ctrl_c_in_the_terminal(self, compiled: Path) -> None:
        lines = """
            try:
                say(*one.begin(['pid'])())
                time.sleep(60)
            except KeyboardInterrupt:
                say(*one.begin(['pid'])())
        """
        parent = run(compiled, lines)
        assert parent.stdout is not None
        pid = parent.stdout.readline()
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does to its foreground group
        said, error = parent.communicate(timeout=30)
        assert (said, error) == (pid, "")

    def test_a_fork_has_a_process_of_its_own(self, compiled: Path) -> None:
        lines = """
            say(*one.begin(['pid'])())
            if os.fork() == 0:
                say(*one.begin(['pid'])())
                one.close()
                os._exit(0)
            os.wait()
            say(*one.begin(['pid'])())
        """
        parent = run(compiled, lines)
        said, error = parent.communicate(timeout=30)
        before, child, after = said.splitlines()
        assert (error, before) == ("", after)
        assert child != before


def run(compiled: Path, lines: str) -> "subprocess.Popen[str]":
    """A Python process, leader of a group of its own, in which ``one`` is the program's processes."""
    indented = [line[12:] if line.startswith(" " * 12) else line for line in lines.splitlines()]
    script = "\n".join(
        [
            "import os, time",
            "from rewards.java.programs import JavaProcesses; from rewards.java.worker import Program",
            f"one = JavaProcesses(lambda: Program('answerer', {answerer(compiled).arguments!r}, 30.0, ''))",
            "say = lambda text: print(text, flush=True)",
            *indented,
        ]
    )
    return subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RewardError, match="METEOR runs on Java, and no java is on the PATH: install"):
        java("METEOR")


def test_what_pycocoevalcap_lacks_is_named() -> None:
    assert of_pycocoevalcap("meteor", "meteor-1.5.jar").is_file()
    with pytest.raises(RewardError, match=r"meteor/meteor-9\.jar of pycocoevalcap is missing: pip install"):
        of_pycocoevalcap("meteor", "meteor-9.jar")


def test_at_least_one_process() -> None:
    with pytest.raises(RewardError, match="processes must be 1 or more, got 0"):
        JavaProcesses(lambda: Program("x", (), 1.0, ""), 0)


class TestKnown:
    def test_equal_requests_are_made_once_and_remembered(self) -> None:
        asked: list[list[str]] = []

        def ask(requests: list[str]) -> Callable[[], list[int]]:
            asked.append(requests)
            return lambda: list(map(len, requests))

        known = Known(ask, 2)
        assert known.begin(["aa", "b", "aa"])() == [2, 1, 2]
        assert known.begin(["b", "ccc"])() == [1, 3]
        assert known.begin(["aa"])() == [2]  # the oldest of three had to go
        assert known.begin(["ccc", "aa"])() == [3, 2]
        assert known.begin([])() == []
        assert asked == [["aa", "b"], ["ccc"], ["aa"]]

    def test_a_result_known_at_begin_is_not_lost_to_others(self) -> None:
        known = Known(lambda requests: lambda: list(map(len, requests)), 1)
        known.begin(["aa"])()
        pending = known.begin(["aa"])
        known.begin(["b"])()
        assert pending() == [2]

    def test_a_failure_is_not_remembered(self) -> None:
        answers: SimpleQueue[list[int]] = SimpleQueue()

        def fail_without(requests: list[str]) -> Callable[[], list[int]]:
            return lambda: answers.get(block=False)

        known = Known(fail_without, 5)
        with pytest.raises(Exception):  # noqa: B017, PT011 - the queue's own
            known.begin(["a"])()
        answers.put([7])
        assert known.begin(["a"])() == [7]
