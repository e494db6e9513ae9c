"""``scripts/compare_baselines.sh``: which runs it makes, and with the code under test from data to table."""

import csv
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from shell import ROOT, environment_of, run_script

SCRIPT = "compare_baselines.sh"
# Keeps to what the script sees of rlcap: arguments, the files of a run, the status. Says what it was called with, and
# how many of it were at work. With PACE=slow a new run waits to be stopped, with TOGETHER=3 for two others at work.
STAND_IN = r"""#!/bin/bash
printf '%s\n' "$*" >> calls
[ "$1" = train ] || exit 0
run=$3
[ "$2" = --resume ] || run=$5
case $run in *broken*) exit 1 ;; esac
mkdir -p "$run/evaluation/test" working
touch "$run/config.yaml" working/$$
trap 'echo saved > "$run/saved"; rm working/$$; kill $nap; exit 130' TERM
echo '{}' > "$run/metrics.jsonl"
if [ "$PACE $2" = "slow --config" ]; then sleep 30 & nap=$!; wait; fi
for turn in {1..100}; do
    count=$(ls working | wc -l)
    echo "$count" >> at_work
    [ "$count" -lt "${TOGETHER:-1}" ] && [ ! -e together ] || break
    sleep 0.05
done
[ -z "$TOGETHER" ] || touch together
sleep 0.2
rm working/$$
touch "$run/evaluation/test/scores.json"
"""


def folder_of(place: Path, *methods: str) -> str:
    """A folder of empty configurations beside that of teacher forcing."""
    (place / "methods").mkdir(exist_ok=True)
    for method in ("teacher_forcing", *methods):
        (place / "methods" / f"{method}.yaml").touch()
    return "methods"


def calls(place: Path) -> list[str]:
    """What rlcap was called with since this was last asked."""
    lines = (place / "calls").read_text().splitlines()
    (place / "calls").unlink()
    return lines


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    usage = run_script(SCRIPT, tmp_path, "folder", status=2)
    assert usage.stderr == "usage: scripts/compare_baselines.sh FOLDER OUTPUT [SEEDS] [OPTION...]\n"
    assert "folder holds no teacher_forcing.yaml" in run_script(SCRIPT, tmp_path, "folder", "out", status=2).stderr
    folder = folder_of(tmp_path)
    assert "got 'all'" in run_script(SCRIPT, tmp_path, folder, "out", status=2, JOBS="all").stderr
    assert not (tmp_path / "out").exists()


def test_every_method_and_seed_starts_from_one_checkpoint(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "a", "b")
    run_script(SCRIPT, tmp_path, folder, "out put", "3 4", "--training.steps", "5", rlcap=STAND_IN)
    start = "--policy.init_args.directory out put/teacher_forcing --training.steps 5"
    assert calls(tmp_path) == [
        "train --config methods/teacher_forcing.yaml --output out put/teacher_forcing --training.steps 5"
        " --training.seed 0",
        *(
            f"train --config methods/{method}.yaml --output out put/{method}-{seed} {start} --training.seed {seed}"
            for seed in (3, 4)
            for method in "ab"
        ),
        "report out put/teacher_forcing out put/a-3 out put/a-4 out put/b-3 out put/b-4 --output out put/report",
    ]


def test_seeds_are_three_unless_given(tmp_path: Path) -> None:
    run_script(SCRIPT, tmp_path, folder_of(tmp_path, "a"), "out", "--training.steps", "5", rlcap=STAND_IN)
    assert calls(tmp_path)[-1] == "report out/teacher_forcing out/a-0 out/a-1 out/a-2 --output out/report"
    run_script(SCRIPT, tmp_path, folder_of(tmp_path, "a"), "out", "3", "4", rlcap=STAND_IN)
    assert [call.partition(" --policy")[0] for call in calls(tmp_path)] == [
        "train --config methods/a.yaml --output out/a-3",
        "train --config methods/a.yaml --output out/a-4",
        "report out/teacher_forcing out/a-0 out/a-1 out/a-2 out/a-3 out/a-4 --output out/report",
    ]


def test_what_is_finished_stays_and_what_failed_is_named_while_the_others_go_on(tmp_path: Path) -> None:
    arguments = (folder_of(tmp_path, "a", "broken", "c"), "out", "0")
    done = run_script(SCRIPT, tmp_path, *arguments, status=1, rlcap=STAND_IN)
    assert done.stderr.splitlines() == ["broken-0 failed", "failed: broken-0"]
    assert calls(tmp_path)[-1] == "report out/teacher_forcing out/a-0 out/c-0 --output out/report"

    (tmp_path / "out/c-0/evaluation/test/scores.json").unlink()  # as if stopped
    (tmp_path / "methods/broken.yaml").rename(tmp_path / "methods/mended.yaml")
    done = run_script(SCRIPT, tmp_path, *arguments, rlcap=STAND_IN)
    assert done.stderr.splitlines() == ["out/teacher_forcing is finished", "out/a-0 is finished"]
    assert [call.split(" --policy")[0] for call in calls(tmp_path)] == [
        "train --resume out/c-0",
        "train --config methods/mended.yaml --output out/mended-0",
        "report out/teacher_forcing out/a-0 out/c-0 out/mended-0 --output out/report",
    ]


def test_without_the_checkpoint_nothing_starts(tmp_path: Path) -> None:
    done = run_script(SCRIPT, tmp_path, folder_of(tmp_path, "a"), "broken", status=1, rlcap=STAND_IN)
    assert done.stderr.splitlines()[-1] == "without broken/teacher_forcing no other run can start"
    assert len(calls(tmp_path)) == 1


@pytest.mark.parametrize("jobs", [1, 3])
def test_as_many_train_at_once_as_asked(tmp_path: Path, jobs: int) -> None:
    run_script(SCRIPT, tmp_path, folder_of(tmp_path), "out", rlcap=STAND_IN)  # teacher forcing, on which all wait
    folder = folder_of(tmp_path, "a", "b", "c")
    run_script(SCRIPT, tmp_path, folder, "out", "0 1", rlcap=STAND_IN, JOBS=str(jobs), TOGETHER=str(jobs))
    assert max(int(line) for line in (tmp_path / "at_work").read_text().split()) == jobs
    assert len(list(tmp_path.glob("out/*-*/evaluation/test/scores.json"))) == 6
    assert (tmp_path / "out" / "logs").exists() == (jobs > 1)
    assert "logs" not in calls(tmp_path)[-1]


def test_a_stop_reaches_every_run_once_and_the_same_command_goes_on(tmp_path: Path) -> None:
    run_script(SCRIPT, tmp_path, folder_of(tmp_path), "out", "0", rlcap=STAND_IN)  # teacher forcing alone
    folder = folder_of(tmp_path, "a", "b", "c")
    environment = environment_of(tmp_path, STAND_IN) | {"JOBS": "2", "PACE": "slow"}
    command = ["bash", str(ROOT / "scripts" / SCRIPT), folder, "out", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 20
        while len(list(tmp_path.glob("out/?-0/metrics.jsonl"))) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "stopped; the same command goes on"
    assert sorted(path.parent.name for path in tmp_path.glob("out/*/saved")) == ["a-0", "b-0"]
    assert not any((tmp_path / "working").iterdir())

    calls(tmp_path)
    run_script(SCRIPT, tmp_path, folder, "out", "0", rlcap=STAND_IN)
    assert calls(tmp_path)[:2] == ["train --resume out/a-0", "train --resume out/b-0"]


@pytest.mark.slow
def test_from_data_to_the_table_of_methods(tmp_path: Path) -> None:
    methods = tmp_path / "methods"
    methods.mkdir()
    for config in ("teacher_forcing", "self_critical"):
        shutil.copy(ROOT / "configs" / "smoke" / f"{config}.yaml", methods)
    arguments = ("methods", "out", "0 1", "--training.steps", "2", "--training.evaluate_every", "2")

    run_script(SCRIPT, tmp_path, *arguments, JOBS="2")
    for seed in (0, 1):
        settings = yaml.safe_load((tmp_path / f"out/self_critical-{seed}/config.yaml").read_text())
        assert (settings["training"]["seed"], settings["training"]["steps"]) == (seed, 2)
        assert settings["policy"]["init_args"]["directory"] == "out/teacher_forcing"
    with (tmp_path / "out/report/tables/scores.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "CIDEr-D"]
    assert [(row["method"], row["seeds"]) for row in rows] == [("teacher_forcing", "1"), ("self_critical", "2")]
    report = (tmp_path / "out/report/report.md").read_text()
    assert "| self_critical | 2 (0, 1) |" in report

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*_*/**/*")}
    done = run_script(SCRIPT, tmp_path, *arguments)
    assert [line for line in done.stderr.splitlines() if line.startswith("out/")] == [
        f"out/{run} is finished" for run in ("teacher_forcing", "self_critical-0", "self_critical-1")
    ]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*_*/**/*")} == before
    assert (tmp_path / "out/report/report.md").read_text() == report
