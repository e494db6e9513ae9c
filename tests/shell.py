"""Runs the scripts of this repository as a shell does."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNDER_TEST = f'#!/bin/sh\nexec "{sys.executable}" -m rlcap.cli "$@"\n'


def environment_of(place: Path, rlcap: str = UNDER_TEST) -> dict[str, str]:
    """The environment with an ``rlcap`` on the path: the code under test, whatever is installed, or a stand-in."""
    commands = place / "bin"
    commands.mkdir(exist_ok=True)
    (commands / "rlcap").write_text(rlcap)
    (commands / "rlcap").chmod(0o755)
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def run_script(
    name: str, place: Path, *arguments: str, status: int = 0, rlcap: str = UNDER_TEST, **variables: str
) -> subprocess.CompletedProcess[str]:
    """What a script of ``scripts/`` said in a working directory; it must end with the status."""
    command = ["bash", str(ROOT / "scripts" / name), *arguments]
    environment = environment_of(place, rlcap) | variables
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stderr
    return done
