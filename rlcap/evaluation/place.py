"""Where an evaluation is written: in the run's folder, under a name that says how it differs from the run's own."""

from pathlib import Path

from rlcap.policies.base import Decoding
from rlcap.types import UserError


def run_and_step(model: Path) -> tuple[Path | None, int | None]:
    """The run and the step of a model saved at ``<run>/checkpoints/<step>/<kind>``; None for one saved elsewhere."""
    checkpoint = model.resolve().parent
    if checkpoint.parent.name == "checkpoints" and checkpoint.name.isdigit():
        return checkpoint.parent.parent, int(checkpoint.name)
    return None, None


def evaluation_folder(asked: Path, model: Path, split: str, dataset: str | None, decoding: Decoding) -> Path:
    """The folder of an evaluation: ``<run>/evaluation/<split>``, then data set, step and decoding where they differ.

    Args:
        asked: what the user named: a run, a checkpoint or a saved model.
        model: the folder of the model's files found there.
        split: the split that is decoded.
        dataset: the name of the data set, unless it is the run's own.
        decoding: how it is decoded.
    """
    run, step = run_and_step(model)
    whole = run is None or asked.resolve() == run
    parts = [split, dataset, None if whole else f"step{step}", f"beam{decoding.beams}" if decoding.beams > 1 else None]
    if decoding.temperature:
        parts.append(f"sampled{decoding.seed}")
    return (asked if whole or run is None else run) / "evaluation" / "-".join(part for part in parts if part)


def refuse_overwriting(folder: Path) -> None:
    """Make sure that an evaluation would overwrite nothing.

    Raises:
        UserError: if the folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        found = "holds an evaluation already" if (folder / "scores.json").is_file() else "exists and is not empty"
        raise UserError(f"{folder} {found}: choose another --output")
