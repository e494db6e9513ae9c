"""One process or many: how they are set up, and how numbers are brought together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list
from torch import Tensor, nn

from rlcap.errors import UserError
from rlcap.training.options import TrainingOptions


def accelerator_of(options: TrainingOptions, folder: Path) -> Accelerator:
    """The accelerator of a run.

    Raises:
        UserError: if the precision or a tracker cannot be had here.
    """
    if options.precision == "fp16" and not torch.cuda.is_available():
        raise UserError("training.precision fp16 needs a GPU: choose bf16 or no")
    # While the main process computes features the others wait, longer than the usual ten minutes if need be.
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=6))
    available = [str(tracker.value) for tracker in get_available_trackers()]
    for tracker in options.trackers:
        if tracker not in available:
            raise UserError(f"training.trackers names {tracker!r}, which is not installed; there are {available}")
    return Accelerator(
        mixed_precision=options.precision,
        log_with=list(options.trackers) or None,
        project_dir=str(folder),
        kwargs_handlers=[patience],
    )


class Processes:
    """What the processes of a run have together; with one process everything is as it is."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator

    @property
    def sharded(self) -> bool:
        """Whether each process holds only a part of the weights, so that they are whole inside a forward alone."""
        return False

    @contextmanager
    def whole(self, module: nn.Module) -> Iterator[None]:
        """The weights put together where they are sharded, to act with or to save; nothing is learned meanwhile."""
        yield

    def sum(self, value: Tensor) -> Tensor:
        """The sum over the processes."""
        if self.accelerator.num_processes == 1:
            return value
        total: Tensor = self.accelerator.reduce(value.to(self.accelerator.device), reduction="sum")
        return total

    def means(self, stats: Sequence[Mapping[str, Tensor | float]]) -> dict[str, float]:
        """Each statistic's mean over the parts of a step and the processes."""
        names = list(stats[0])
        table = torch.tensor([[float(part[name]) for name in names] for part in stats], dtype=torch.float64)
        means = self.sum(table.mean(dim=0)) / self.accelerator.num_processes  # over parts
        return dict(zip(names, means.tolist(), strict=True))

    def any(self, asked: bool) -> bool:
        """Whether it is true in any process."""
        return bool(self.sum(torch.tensor(float(asked))) > 0)

    def from_main(self, value: Any) -> Any:
        """The main process's value."""
        if self.accelerator.num_processes == 1:
            return value
        box = [value]
        broadcast_object_list(box)
        return box[0]
