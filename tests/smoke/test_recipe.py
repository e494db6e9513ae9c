"""``scripts/scst.sh`` from data to report, run by a shell: finished stages are left alone, a stopped one goes on."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from shell import ROOT, run_script

STAGES = ("teacher_forcing", "self_critical")
CONFIGS = [str(ROOT / "configs" / "smoke" / f"{stage}.yaml") for stage in STAGES]
OPTIONS = ["--training.steps", "4", "--training.seed", "5"]


def run_recipe(place: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """What the recipe said."""
    return run_script("scst.sh", place, *arguments, status=status)


def state(output: Path) -> dict[str, int]:
    """When each file of the runs was last written; reports are made anew."""
    return {
        str(path.relative_to(output)): path.stat().st_mtime_ns
        for stage in STAGES
        for path in (output / stage).rglob("*")
        if path.is_file()
    }


def test_without_arguments_it_says_its_usage(tmp_path: Path) -> None:
    done = run_recipe(tmp_path, status=2)
    assert done.stdout == ""
    assert done.stderr == "usage: scripts/scst.sh TEACHER_FORCING.yaml SELF_CRITICAL.yaml OUTPUT [OPTION...]\n"


@pytest.mark.slow
def test_recipe(tmp_path: Path) -> None:
    output = tmp_path / "out put"
    arguments = [*CONFIGS, str(output), *OPTIONS]

    run_recipe(tmp_path, *arguments)
    for stage in STAGES:
        settings = yaml.safe_load((output / stage / "config.yaml").read_text())
        assert (settings["training"]["steps"], settings["training"]["seed"]) == (4, 5)
        assert (output / stage / "evaluation" / "test" / "scores.json").is_file()
    assert settings["policy"]["init_args"]["directory"] == str(output / "teacher_forcing")
    page = (output / "report" / "report.html").read_text()
    assert all(stage in page for stage in STAGES)

    first = state(output)
    shutil.rmtree(output / "report")
    done = run_recipe(tmp_path, *arguments)
    assert [line for line in done.stderr.splitlines() if line.endswith("is finished")] == [
        f"{output / stage} is finished" for stage in STAGES
    ]
    assert state(output) == first
    assert (output / "report" / "report.html").read_text() == page

    learned = (output / "self_critical" / "metrics.jsonl").read_bytes()
    shutil.rmtree(output / "self_critical" / "evaluation" / "test")  # as if stopped before the end
    done = run_recipe(tmp_path, *arguments)
    assert f"{output / 'teacher_forcing'} is finished" in done.stderr
    assert f"{output / 'self_critical'} is finished" not in done.stderr
    assert (output / "self_critical" / "metrics.jsonl").read_bytes() == learned
    assert state(output).keys() == first.keys()
    assert (output / "report" / "report.html").read_text() == page
