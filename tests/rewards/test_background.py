"""Rewards in threads and processes: the same numbers, begun before they are waited for, and workers that fail."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import own_rewards
import pytest
from own_rewards import Dies, Divides, Letters, NanForEmpty, OwnProcess, Refuses, Slow

from rewards.background import InProcesses, InThreads
from rewards.base import Candidates, RewardError
from rewards.bleu import Bleu
from rewards.composite import Term, WeightedSum
from rewards.failures import ScoringError
from rewards.function import FunctionReward
from rewards.normalization import RunningStandardized, Standardized

FOUR = Candidates(["a", "bb", "ccc", "dddd"], [["a b"]] * 4)


@pytest.mark.parametrize("kind", [InThreads, InProcesses])
def test_the_numbers_are_those_of_the_reward_within(kind: type[InThreads] | type[InProcesses]) -> None:
    reward = kind(Letters(), workers=2)
    reward.prepare([["x"], ["y"]])
    assert reward.background
    try:
        assert reward(FOUR).tolist() == [-1, 0, 1, 2]
        first, second = reward.begin(FOUR), reward.begin(Candidates(["eeeee"]))
        assert second().tolist() == [3]
        assert first().tolist() == [-1, 0, 1, 2]
        assert reward(Candidates([])).shape == (0,)
        assert reward.signature == Letters().signature
        reward.close()
        assert reward(FOUR).tolist() == [-1, 0, 1, 2]  # starts workers anew
        with pytest.raises(ScoringError, match="'own' failed: ZeroDivisionError: division by zero, for caption ''"):
            WeightedSum({"own": Term(kind(Divides()))})(Candidates(["a", ""]))
    finally:
        reward.close()


def test_processes_are_others() -> None:
    reward = InProcesses(OwnProcess(), workers=2)
    try:
        assert os.getpid() not in reward(FOUR).tolist()
    finally:
        reward.close()


def test_threads_overlap_with_other_terms_and_with_one_another() -> None:
    slow = {name: Term(InThreads(Slow(0.3))) for name in "abc"}
    began = time.monotonic()
    pending = WeightedSum(slow).begin(FOUR)
    begun = time.monotonic() - began
    assert pending().tolist() == [3] * 4
    assert begun < 0.2
    assert time.monotonic() - began < 0.8  # one after another takes 0.9


def test_no_answer_is_given_up() -> None:
    began = time.monotonic()
    for reward in (InThreads(Slow(60), timeout=0.1), InProcesses(Slow(60), timeout=5.0)):
        with pytest.raises(ScoringError, match=r"no scores within the timeout of [\d.]+ seconds"):
            reward(FOUR)
    assert time.monotonic() - began < 50


def test_a_process_that_dies_is_named_and_replaced() -> None:
    reward = InProcesses(Dies())
    try:
        with pytest.raises(ScoringError, match="a worker process died"):
            reward(Candidates(["a dog", "die"]))
        assert reward(Candidates(["a dog"])).tolist() == [1]
    finally:
        reward.close()


@pytest.mark.parametrize("kind", [InThreads, InProcesses])
def test_what_fails_in_one_worker_leaves_the_scores_of_the_others(kind: type[InThreads] | type[InProcesses]) -> None:
    reward = kind(NanForEmpty(), workers=3)
    try:
        scores = WeightedSum({"own": Term(reward, on_failure="zero")}).score(Candidates(["a", "", "ccc", "", "eeeee"]))
        assert scores.terms["own"].tolist() == [1, 0, 3, 0, 5]
        with pytest.raises(ScoringError, match="'own': it gave nan for caption ''"):
            WeightedSum({"own": Term(reward)})(Candidates(["a", "b", "", "c"]))
    finally:
        reward.close()


def test_new_workers_are_not_ended_with_old_ones() -> None:
    """The first two batches are lost with a process; the third, already with another, is not."""
    reward = InProcesses(Dies())
    try:
        first, second = reward.begin(Candidates(["die"])), reward.begin(Candidates(["a dog"]))
        with pytest.raises(ScoringError, match="a worker process died"):
            first()
        third = reward.begin(Candidates(["a cat"]))
        with pytest.raises(ScoringError, match=r"a worker process died|were given up"):
            second()
        assert third().tolist() == [1]
    finally:
        reward.close()


def test_processes_survive_the_signals_that_ask_the_run_to_stop() -> None:
    """A scheduler sends SIGTERM to every process of a job; the run still learns from what is being scored."""
    reward = InProcesses(OwnProcess())
    try:
        (process,) = {int(number) for number in reward(FOUR)}
        for kind in (signal.SIGINT, signal.SIGTERM):
            os.kill(process, kind)
        assert set(reward(FOUR).tolist()) == {process}
    finally:
        reward.close()


def test_processes_end_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, own_rewards.__file__], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(float(parent.stdout.readline()))
    os.kill(worker, 0)  # is there
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 5  # the one that it forked is still there
    while _runs(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _runs(worker)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_worker_raises_is_named_even_if_it_cannot_be_sent() -> None:
    """The errors of many services cannot be unpickled, which must not pass for a process that died."""
    reward = InProcesses(Refuses())
    try:
        with pytest.raises(ScoringError, match="'own' failed: RuntimeError: RefusalError: status 429, for caption 'a'"):
            WeightedSum({"own": Term(reward)})(Candidates(["a"]))
    finally:
        reward.close()


def test_what_is_prepared_later_reaches_the_processes() -> None:
    reward = InProcesses(Letters())
    try:
        assert reward(FOUR).tolist() == [1, 2, 3, 4]
        reward.prepare([["x"]])
        assert reward(FOUR).tolist() == [0, 1, 2, 3]
    finally:
        reward.close()


def test_what_cannot_be_sent_is_refused() -> None:
    with pytest.raises(RewardError, match=r"FunctionReward cannot be sent to another process .*at the top of a module"):
        InProcesses(FunctionReward(lambda captions: [1.0 for _ in captions]))(FOUR)
    with pytest.raises(RewardError, match=r"RunningStandardized keeps running statistics.*put it around InThreads"):
        InThreads(RunningStandardized(Letters()))
    for settings, message in [({"workers": 0}, "workers must be"), ({"timeout": 0.0}, "timeout must be")]:
        with pytest.raises(RewardError, match=message):
            InThreads(Letters(), **settings)  # type: ignore[arg-type]


def test_captions_that_depend_on_one_another_stay_together() -> None:
    reward = InThreads(Standardized(Letters()), workers=4)
    assert reward(FOUR).tolist() == Standardized(Letters())(FOUR).tolist()


def test_bleu_of_all_captions_stays_that_of_the_corpus() -> None:
    assert InThreads(Bleu(1)).corpus(FOUR) == Bleu(1).corpus(FOUR)


def test_a_script_without_a_main_guard_is_told_of_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from own_rewards import Letters\nfrom rewards import Candidates, InProcesses\n"
        "InProcesses(Letters())(Candidates(['a']))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "InProcesses: begin the script's work under if __name__ == '__main__':" in done.stderr
    assert "a worker process died: of too little memory, or in a script that does not begin" in done.stderr
