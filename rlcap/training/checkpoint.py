"""Checkpoints that are complete or absent: written aside, flushed to disk, then renamed.

A checkpoint holds the model (``policy/`` or ``reward_model/``, which ``load_model`` reads), the weights the algorithm
has besides (``algorithm.safetensors``), the optimizer's state (``optimizer.pt``, read without pickled code) and
``state.json``. It holds no generator states: random choices follow from the seed and the step.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlcap.algorithms.base import Algorithm
from rlcap.models import BEST_FILE, load_model
from rlcap.types import UserError


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        step: optimizer steps taken.
        images: images seen.
        captions: captions decoded.
        best: the best validation score so far; None before the first.
        best_step: when it was reached.
        rate: factor on the learning rate, lowered when a guard rolls the run back.
        rollbacks: how often one did.
        collapsed: whether a guard stopped the run.
    """

    step: int = 0
    images: int = 0
    captions: int = 0
    best: float | None = None
    best_step: int | None = None
    rate: float = 1.0
    rollbacks: int = 0
    collapsed: bool = False


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: ``<run>/checkpoints``.
        keep: how many of the latest stay, besides the best.
    """

    def __init__(self, folder: Path, keep: int = 1) -> None:
        self.folder = folder
        self.keep = keep

    def steps(self) -> list[int]:
        """The steps there are checkpoints of, ascending."""
        return sorted(int(path.name) for path in self.folder.glob("[0-9]*") if (path / "state.json").is_file())

    def latest(self) -> Path | None:
        """The folder of the latest checkpoint."""
        steps = self.steps()
        return self.folder / str(steps[-1]) if steps else None

    def save(self, progress: Progress, algorithm: Algorithm, optimizer: Mapping[str, Any]) -> None:
        """Write a checkpoint; then point to the best and remove those that are no longer needed."""
        target = self.folder / str(progress.step)
        if not (target / "state.json").is_file():
            aside = self.folder / f".writing-{progress.step}"
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            algorithm.model.save(aside / algorithm.model.kind)
            save_file(_own_weights(algorithm), aside / "algorithm.safetensors")
            torch.save(optimizer, aside / "optimizer.pt")
            (aside / "state.json").write_text(json.dumps(asdict(progress)) + "\n")
            for path in [*aside.rglob("*"), aside]:
                _flush(path)
            aside.rename(target)
            _flush(self.folder)
        self.tidy(progress)

    def tidy(self, progress: Progress) -> None:
        """Point to the best checkpoint and remove those no longer needed: what a killed run may have left undone."""
        if progress.best_step is not None:
            self._point_to_best(progress)
        keep = {*self.steps()[-self.keep :], progress.best_step}
        for step in self.steps():
            if step not in keep:  # renamed first, so that no half-removed checkpoint bears a number
                (self.folder / str(step)).rename(self.folder / f".removing-{step}")
        for unfinished in (*self.folder.glob(".removing-*"), *self.folder.glob(".writing-*")):
            shutil.rmtree(unfinished)

    def _point_to_best(self, progress: Progress) -> None:
        aside = self.folder / f".{BEST_FILE}"
        aside.write_text(json.dumps({"step": progress.best_step, "value": progress.best}) + "\n")
        _flush(aside)
        aside.replace(self.folder / BEST_FILE)


def read_progress(checkpoint: Path) -> Progress:
    """How far the run had come at a checkpoint."""
    return Progress(**json.loads((checkpoint / "state.json").read_text()))


def read_weights(checkpoint: Path, algorithm: Algorithm) -> dict[str, Tensor]:
    """The weights of an algorithm at a checkpoint: its model's and its own; of those that are one, one or all.

    Raises:
        UserError: if they are another algorithm's.
    """
    saved = load_model(str(checkpoint), algorithm.learns)
    model = {f"model.{name}": value for name, value in saved.state_dict().items()}
    own: dict[str, Tensor] = load_file(checkpoint / "algorithm.safetensors")
    expected = [name for name in algorithm.state_dict() if name.startswith("model.")]
    if sorted(own) != sorted(_own_names(algorithm)) or sorted(model) != sorted(expected):
        raise UserError(f"{checkpoint} was written by another algorithm: it holds the weights {sorted(own)}")
    return model | own


def read_optimizer(checkpoint: Path) -> dict[str, Any]:
    """The optimizer's state; tensors and plain values only."""
    state: dict[str, Any] = torch.load(checkpoint / "optimizer.pt", map_location="cpu", weights_only=True)
    return state


def _own_weights(algorithm: Algorithm) -> dict[str, Tensor]:
    """Those that are not the model's."""
    state = algorithm.state_dict()
    return {name: state[name].detach().contiguous() for name in _own_names(algorithm)}


def _own_names(algorithm: Algorithm) -> list[str]:
    """Of the weights that are not the model's; of those that are one, as a decoder's embeddings may be, the first."""
    once = {name for name, _ in (*algorithm.named_parameters(), *algorithm.named_buffers())}
    return [name for name in algorithm.state_dict() if name in once and not name.startswith("model.")]


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
