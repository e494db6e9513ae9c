"""Where the weights of a run lie: whole in every process, or a part of them in each.

Learning goes through the wrapped module's forward, which puts together what it needs. Acting, measuring and saving do
not, and need the weights whole: all processes come together for it. Checkpoints are the same whatever the arrangement,
so that a run may go on under another one.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from rlcap.algorithms.base import Algorithm
from rlcap.training.options import TrainingOptions
from rlcap.types import UserError


class Replicated:
    """Whole weights in every process: one process, or several that average their gradients (DDP).

    Args:
        accelerator: of the run.

    Attributes:
        sharded: whether a process holds only a part of the weights.
    """

    sharded: ClassVar[bool] = False

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator

    def prepare(
        self, algorithm: Algorithm, optimizer: Optimizer, options: TrainingOptions
    ) -> tuple[nn.Module, Optimizer]:
        """The module to learn through and its optimizer.

        Raises:
            UserError: if the run asks for what cannot be done under this arrangement.
        """
        module, prepared = self.accelerator.prepare(algorithm, optimizer)
        return module, prepared

    def autocast(self) -> AbstractContextManager[None]:
        """Mixed precision, where it is switched on."""
        context: AbstractContextManager[None] = self.accelerator.autocast()
        return context

    def whole(self, module: nn.Module) -> AbstractContextManager[None]:
        """Inside it the weights are whole, to act or measure with; nothing is learned meanwhile."""
        return nullcontext()

    # --- learning

    def accumulating(self, module: nn.Module) -> AbstractContextManager[None]:
        """Inside it gradients are added up in each process alone."""
        context: AbstractContextManager[None] = self.accelerator.no_sync(module)
        return context

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradient of a part of the loss; at the last part it is that of all processes."""
        self.accelerator.backward(loss)

    def step(self, optimizer: Optimizer, limit: float) -> float:
        """Descend along the gradient, cut to a length if that is not 0; its length before."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = self.accelerator.clip_grad_norm_(parameters, limit or float("inf"))
        optimizer.step()
        optimizer.zero_grad()
        return float(_whole(norm))

    # --- keeping

    def plain(self, algorithm: Algorithm) -> Algorithm | None:
        """The algorithm with whole weights, to be saved by the main process; elsewhere it may be None."""
        return algorithm

    def load(self, algorithm: Algorithm, weights: Mapping[str, Tensor]) -> None:
        """Give the algorithm back weights that were whole."""
        algorithm.load_state_dict(weights, strict=False)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimizer's state with whole tensors, as one process would have it."""
        state: dict[str, Any] = optimizer.state_dict()
        return state

    def load_optimizer_state(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Give the optimizer back a state that was whole."""
        optimizer.load_state_dict(state)


class FullySharded(Replicated):
    """A part of every weight in each process (FSDP, version 2): Zhao et al. 2023."""

    sharded = True

    def prepare(
        self, algorithm: Algorithm, optimizer: Optimizer, options: TrainingOptions
    ) -> tuple[nn.Module, Optimizer]:
        refuse_what_needs_whole_weights(options)
        for name, parameter in algorithm.named_parameters():
            if parameter.dim() == 0:
                raise UserError(f"FSDP cannot share out a single number, such as {name}: take DDP or DeepSpeed's ZeRO")
        plugin = self.accelerator.state.fsdp_plugin
        if plugin.fsdp_version != 2:
            raise UserError(f"FSDP version {plugin.fsdp_version} is not supported: set fsdp_version: 2")
        if plugin.cpu_ram_efficient_loading:  # would leave the reference policy empty in all processes but the main
            raise UserError("fsdp_cpu_ram_efficient_loading is not supported: set it to false")
        if plugin.activation_checkpointing:
            raise UserError("fsdp_activation_checkpointing is not supported: set it to false")
        # Acting needs room for the whole weights anyway; kept after each module's forward, they are not gathered anew
        # at every word, for which processes whose captions differ in length would wait for one another for ever.
        plugin.reshard_after_forward = False
        # Weights and gradients travel in float32, as under DDP; autocast computes in the lower precision.
        plugin.mixed_precision_policy = None
        self._blank = blank_of(algorithm)
        return super().prepare(algorithm, optimizer, options)

    @contextmanager
    def whole(self, module: nn.Module) -> Iterator[None]:
        shards = [part for part in module.modules() if isinstance(part, FSDPModule)]
        shards[0]._get_fsdp_state()._lazy_init()  # else the first part that acts would take itself for the root
        for shard in shards:
            shard.unshard()
        try:
            yield
        finally:
            for shard in shards:
                shard.reshard()

    def plain(self, algorithm: Algorithm) -> Algorithm | None:
        weights = {name: _whole(value).cpu() for name, value in algorithm.state_dict().items()}
        return filled(self._blank, weights) if self.accelerator.is_main_process else None

    @torch.no_grad()
    def load(self, algorithm: Algorithm, weights: Mapping[str, Tensor]) -> None:
        targets = algorithm.state_dict()
        for name, value in weights.items():
            targets[name].copy_(_placed_like(targets[name], value))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        state = optimizer.state_dict()
        of_parameters = {
            number: {key: _whole(value).cpu() if isinstance(value, Tensor) else value for key, value in each.items()}
            for number, each in state["state"].items()
        }
        return {**state, "state": of_parameters}

    def load_optimizer_state(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        of_parameters = {
            number: {
                key: _placed_like(parameters[number], value) if isinstance(value, Tensor) and key != "step" else value
                for key, value in each.items()
            }
            for number, each in state["state"].items()
        }
        optimizer.load_state_dict({**state, "state": of_parameters})


def refuse_what_needs_whole_weights(options: TrainingOptions) -> None:
    """Make sure that nothing is wanted that one process does alone with whole weights.

    Raises:
        UserError: if something is.
    """
    if options.features is not None:
        raise UserError("training.features needs whole weights in every process: leave it out under FSDP and ZeRO-3")
    if options.gradient_samples:
        raise UserError(
            f"training.gradient_samples {options.gradient_samples} needs whole weights in every process: "
            "set it to 0 under FSDP and ZeRO-3"
        )


def blank_of(algorithm: Algorithm) -> Algorithm:
    """A copy without memory for its parameters, weights that are one staying one, and without its reference policy."""
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad)
        for parameter in algorithm.parameters()
    }
    if algorithm.reference is not None:
        memo[id(algorithm.reference)] = None
    return copy.deepcopy(algorithm, memo)


def filled(blank: Algorithm, weights: Mapping[str, Tensor]) -> Algorithm:
    """A copy of a blank one with these weights."""
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(weights[name], requires_grad=parameter.requires_grad)
        for name, parameter in blank.named_parameters()
    }
    algorithm = copy.deepcopy(blank, memo)
    algorithm.load_state_dict(weights)  # the buffers too
    return algorithm


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _placed_like(target: Tensor, value: Tensor) -> Tensor:
    """A tensor that every process has whole, lying as the target does."""
    if not isinstance(target, DTensor):
        return value
    return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)
