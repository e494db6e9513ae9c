"""What is judged: the captions of run folders, and where their images may lie."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from rewards.scoring.tables import captions_of_json_lines
from rlcap.errors import UserError


def read_captions(folders: Sequence[Path], split: str) -> dict[str, dict[str, str]]:
    """Each run's captions of a split by image id; runs are called by their folders' names.

    Raises:
        UserError: if there are fewer than two runs, or one has no captions.
    """
    if len(folders) < 2:
        raise UserError(f"captions of two runs are compared: name at least two run folders, got {len(folders)}")
    repeated = [path for path, times in Counter(folder.resolve() for folder in folders).items() if times > 1]
    if repeated:
        raise UserError(f"{repeated[0]} is given more than once: name each run folder once")
    return {name: _captions(folder, split) for name, folder in zip(_names(folders), folders, strict=True)}


def _captions(folder: Path, split: str) -> dict[str, str]:
    path = folder / "evaluation" / split / "predictions.jsonl"
    if not path.is_file():
        raise UserError(f"{folder} holds no captions of the split {split!r}: there is no {path}; run rlcap evaluate")
    captions: dict[str, str] = {}
    for caption in captions_of_json_lines(path):
        if caption.image in captions:
            raise UserError(f"{path} names image {caption.image!r} twice: leave one caption of it")
        captions[caption.image] = caption.text
    return captions


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' names, with as many parents before them as it takes to tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def data_settings(folder: Path) -> dict[str, Any]:
    """The run's data set as config.yaml names it; empty where it does not."""
    try:
        settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    data = settings.get("data") if isinstance(settings, dict) else None
    return data if isinstance(data, dict) else {}


def image_folder(folder: Path) -> Path | None:
    """The folder of images that the run's data set names, if it is still there."""
    arguments = data_settings(folder).get("init_args")
    named = arguments.get("images") if isinstance(arguments, dict) else None
    return Path(named) if isinstance(named, str) and Path(named).is_dir() else None
