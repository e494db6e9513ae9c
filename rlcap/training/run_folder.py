"""A run is a folder: made once, never overwritten."""

import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from rlcap.types import UserError

CONFIG_FILE = "config.yaml"
_PACKAGES = ("rlcap", "torch", "transformers", "accelerate", "numpy", "tokenizers")


def refuse_overwriting(folder: Path) -> None:
    """Make sure that a new run would overwrite nothing.

    Raises:
        UserError: if the folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        remedy = "choose another --output"
        if (folder / CONFIG_FILE).is_file():
            remedy += f", or go on with it: rlcap train --resume {folder}"
        raise UserError(f"{folder} exists and is not empty: {remedy}")


def create_run(folder: Path, config: str) -> None:
    """Make a run folder with its resolved configuration and the environment it was started in.

    Raises:
        UserError: if the folder exists and is not empty.
    """
    refuse_overwriting(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "environment.json").write_text(json.dumps(environment(), indent=2) + "\n")
    (folder / CONFIG_FILE).write_text(config)


def environment() -> dict[str, Any]:
    """Versions, commit and device: what else a number depends on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "device": device,
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """What git says of the working directory; None where that is no repository or git is missing."""
    try:
        answer = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
