"""One process or many: how they are set up, and how numbers are brought together."""

import atexit
import gc
import importlib.util
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import DistributedType, InitProcessGroupKwargs, broadcast_object_list
from torch import Tensor, nn

from rlcap.algorithms.base import Total
from rlcap.errors import UserError
from rlcap.training.options import TrainingOptions
from rlcap.training.sharding import FullySharded, Replicated
from rlcap.training.zero import ZeRO, ZeRO3


def accelerator_of(options: TrainingOptions, folder: Path) -> Accelerator:
    """The accelerator of a run.

    Raises:
        UserError: if the precision, a tracker or what accelerate's configuration asks for cannot be had here.
    """
    if options.precision == "fp16" and not torch.cuda.is_available():
        raise UserError("training.precision fp16 needs a GPU: choose bf16 or no")
    # While the main process computes features the others wait, longer than the usual ten minutes if need be.
    patience = InitProcessGroupKwargs(timeout=timedelta(hours=6))
    available = [str(tracker.value) for tracker in get_available_trackers()]
    for tracker in options.trackers:
        if tracker not in available:
            raise UserError(f"training.trackers names {tracker!r}, which is not installed; there are {available}")
    if _asked("DEEPSPEED") and importlib.util.find_spec("deepspeed") is None:
        raise UserError("accelerate's configuration asks for DeepSpeed, which is not installed: pip install deepspeed")
    accelerator = Accelerator(
        # Under DeepSpeed this would turn the weights themselves into bf16; see rlcap.training.zero for what is done.
        mixed_precision="no" if _asked("DEEPSPEED") else options.precision,
        log_with=list(options.trackers) or None,
        project_dir=str(folder),
        kwargs_handlers=[patience],
    )
    for name in ("FSDP", "DEEPSPEED"):
        if _asked(name) and accelerator.distributed_type != DistributedType[name]:
            raise UserError(
                f"accelerate's configuration asks for {name}, but here it is {accelerator.distributed_type.name}: "
                "start 2 processes or more, each with a GPU"
            )
    if accelerator.num_processes > 1:
        atexit.register(_part)
    if accelerator.gradient_accumulation_steps != 1:
        raise UserError(
            f"accelerate's configuration sets gradient_accumulation_steps {accelerator.gradient_accumulation_steps}: "
            "set it to 1, and training.accumulate to what you want"
        )
    return accelerator


def _part() -> None:
    """Leave the other processes in order: the threads that talk to them may crash an interpreter that ends first.

    Wrapped modules hold on to those threads, and are freed only when garbage is collected.
    """
    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.destroy_process_group()


def _asked(name: str) -> bool:
    """Whether accelerate's configuration asks for it; ``accelerate launch`` says so in the environment."""
    return os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true"


def sharding_of(accelerator: Accelerator) -> Replicated:
    """How the weights of a run lie.

    Raises:
        UserError: if accelerate's configuration asks for an arrangement that is not supported.
    """
    kind = accelerator.distributed_type
    if kind == DistributedType.MEGATRON_LM or accelerator.parallelism_config is not None:
        raise UserError(
            "accelerate's configuration asks for Megatron or another model parallelism: rlcap has DDP, FSDP and ZeRO"
        )
    if kind == DistributedType.FSDP:
        return FullySharded(accelerator)
    if kind == DistributedType.DEEPSPEED:
        return ZeRO3(accelerator) if accelerator.state.deepspeed_plugin.zero_stage == 3 else ZeRO(accelerator)
    return Replicated(accelerator)


class Processes:
    """What the processes of a run have together; with one process everything is as it is.

    Attributes:
        sharding: how the weights lie in them.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.sharding = sharding_of(accelerator)

    @property
    def sharded(self) -> bool:
        """Whether each process holds only a part of the weights, so that they are whole inside a forward alone."""
        return self.sharding.sharded

    def whole(self, module: nn.Module) -> AbstractContextManager[None]:
        """The weights put together where they are sharded, to act or measure with; nothing is learned meanwhile.

        All processes must come here together.
        """
        return self.sharding.whole(module)

    def sum(self, value: Tensor) -> Tensor:
        """The sum over the processes."""
        if self.accelerator.num_processes == 1:
            return value
        total: Tensor = self.accelerator.reduce(value.to(self.accelerator.device), reduction="sum")
        return total

    @property
    def total(self) -> Total:
        """The sum over the processes, for algorithms."""
        return Total(self.sum, self.accelerator.num_processes, self.accelerator.process_index)

    def means(
        self, stats: Sequence[Mapping[str, Tensor | float]], counts: Sequence[Mapping[str, float]]
    ) -> dict[str, float]:
        """Each statistic's mean over the parts of a step and the processes; a mean over nothing is left out.

        Args:
            stats: of each part, means themselves.
            counts: how many things each of them is a mean over: what it is weighed by, so that the mean is over all.
        """
        names = list(stats[0])
        values = torch.tensor([[float(part[name]) for name in names] for part in stats], dtype=torch.float64)
        weights = torch.tensor([[float(part[name]) for name in names] for part in counts], dtype=torch.float64)
        counted = self.sum(weights.sum(dim=0)).cpu()  # over parts
        means = self.sum((values * (weights / counted)).sum(dim=0))  # over parts
        return {name: mean for name, mean, any_ in zip(names, means.tolist(), counted.tolist(), strict=True) if any_}

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
