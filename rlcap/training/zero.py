"""DeepSpeed's ZeRO: Rajbhandari et al. 2020. DeepSpeed steps the optimizer by itself at the end of a backward pass."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from rlcap.algorithms.base import Algorithm
from rlcap.training.options import TrainingOptions
from rlcap.training.sharding import Replicated, blank_of, filled, refuse_what_needs_whole_weights
from rlcap.types import UserError


class ZeRO(Replicated):
    """Stages 1 and 2: optimizer state and gradients in parts, weights whole in every process."""

    def __init__(self, accelerator: Accelerator) -> None:
        super().__init__(accelerator)
        self._bf16 = False
        self._parameters: list[nn.Parameter] = []
        self._sizes: list[int] = []

    def prepare(
        self, algorithm: Algorithm, optimizer: Optimizer, options: TrainingOptions
    ) -> tuple[nn.Module, Optimizer]:
        if options.precision == "fp16":
            raise UserError("training.precision fp16 is not supported under DeepSpeed: choose bf16 or no")
        if next(iter(algorithm.resting(1)), None) is not None:
            raise UserError("DeepSpeed cannot rest a part of the parameters: set the algorithm's values.warmup to 0")
        if options.gradient_samples:
            raise UserError(
                f"training.gradient_samples {options.gradient_samples} is not supported under DeepSpeed: set it to 0"
            )
        plugin = self.accelerator.state.deepspeed_plugin
        config = plugin.deepspeed_config
        for key in ("optimizer", "scheduler", "fp16", "bf16"):
            if key in config and config[key].get("enabled", True):
                raise UserError(f"the DeepSpeed configuration sets {key}, which rlcap's own does: take it out there")
        accumulated = config.get("gradient_accumulation_steps")
        if accumulated not in (1, "auto", None):
            raise UserError(
                f"the DeepSpeed configuration sets gradient_accumulation_steps {accumulated}: "
                "set it to 1, and training.accumulate to what you want"
            )
        config["train_batch_size"] = "auto"
        config["train_micro_batch_size_per_gpu"] = options.images_per_batch
        config["gradient_clipping"] = options.clip_gradients
        self._bf16 = options.precision == "bf16"
        if self._bf16:  # weights stay in float32, as under DDP, and travel so
            config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": []}
        self._sizes = [len(group["params"]) for group in optimizer.param_groups]
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        # While it lives, transformers parts the weights of any model loaded, and lets processes wait for one another
        # at every word that they generate.
        plugin.dschf = None
        return super().prepare(algorithm, optimizer, options)

    def autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.accelerator.device.type, torch.bfloat16) if self._bf16 else nullcontext()

    def accumulating(self, module: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()

    def backward(self, loss: Tensor, last: bool) -> None:
        self.accelerator.deepspeed_engine_wrapped.backward(loss, sync_gradients=last)

    def step(self, optimizer: Optimizer, limit: float) -> float:
        return float(self.accelerator.deepspeed_engine_wrapped.get_global_grad_norm())

    @torch.no_grad()
    def load(self, algorithm: Algorithm, weights: Mapping[str, Tensor]) -> None:
        super().load(algorithm, weights)
        self._load_masters(algorithm, weights)

    def _load_masters(self, algorithm: Algorithm, weights: Mapping[str, Tensor]) -> None:
        """Give the optimizer, which keeps weights of its own, the same ones."""
        for name, parameter in algorithm.named_parameters():
            if name in weights and parameter.requires_grad:
                self._set(parameter, weights[name].to(self.accelerator.device))

    def _set(self, parameter: nn.Parameter, value: Tensor, key: str | None = None) -> None:
        """Give the optimizer the part that is its own of a parameter's weights, or of its state of them by that key."""
        theirs: Any = parameter  # DeepSpeed gave it the method
        theirs.set_full_hp_param(value, key)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        from deepspeed.utils import safe_get_full_optimizer_state

        base, shards = _inside(optimizer)
        _link(optimizer)  # which DeepSpeed did when the first group had stepped, before the others had any state
        state: dict[int, dict[str, Any]] = {}
        for number, parameter in enumerate(self._parameters if shards[0] in base.state else []):
            state[number] = {
                key: safe_get_full_optimizer_state(parameter, key).cpu() if _is_of_weights(key, value) else value
                for key, value in base.state[shards[0]].items()
            }
        numbers = iter(range(len(self._parameters)))
        groups = [
            {**group, "params": list(islice(numbers, size))}
            for group, size in zip(base.param_groups, self._sizes, strict=True)
        ]
        return {"state": state, "param_groups": groups}

    def load_optimizer_state(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        base, shards = _inside(optimizer)
        for group, saved in zip(base.param_groups, state["param_groups"], strict=True):
            group.update({key: value for key, value in saved.items() if key != "params"})
        base.state.clear()
        for shard in shards if state["state"] else []:  # as its first step would make it
            base.state[shard] = {
                key: torch.zeros_like(shard) if _is_of_weights(key, value) else copy.deepcopy(value)
                for key, value in state["state"][0].items()
            }
        _link(optimizer)
        for number, parameter in enumerate(self._parameters):
            for key, value in state["state"].get(number, {}).items():
                if _is_of_weights(key, value):
                    self._set(parameter, value.to(self.accelerator.device), key)


class ZeRO3(ZeRO):
    """Stage 3: weights in parts too."""

    sharded = True

    def prepare(
        self, algorithm: Algorithm, optimizer: Optimizer, options: TrainingOptions
    ) -> tuple[nn.Module, Optimizer]:
        refuse_what_needs_whole_weights(options)
        self._blank = blank_of(algorithm)
        return super().prepare(algorithm, optimizer, options)

    @contextmanager
    def whole(self, module: nn.Module) -> Iterator[None]:
        from deepspeed.runtime.zero import GatheredParameters

        # DeepSpeed's hooks would part the weights again after each module's forward, and gather them at the next word.
        hooks = _hooks(module)
        for parameter in module.parameters():
            vars(parameter)["ds_active_sub_modules"].clear()
        for hook in (*hooks.forward_hooks, *hooks.backward_hooks):
            hook.remove()
        hooks.forward_hooks, hooks.backward_hooks = [], []
        try:
            with GatheredParameters(list(module.parameters())):
                yield
        finally:
            hooks._register_deepspeed_module(hooks.module)

    def plain(self, algorithm: Algorithm) -> Algorithm | None:
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters(list(algorithm.parameters())):
            if not self.accelerator.is_main_process:
                return None
            weights = {name: value.detach().cpu().clone() for name, value in algorithm.state_dict().items()}
        return filled(self._blank, weights)

    @torch.no_grad()
    def load(self, algorithm: Algorithm, weights: Mapping[str, Tensor]) -> None:
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters(list(algorithm.parameters()), modifier_rank=0):
            Replicated.load(self, algorithm, weights)
        self._load_masters(algorithm, weights)

    def _set(self, parameter: nn.Parameter, value: Tensor, key: str | None = None) -> None:
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        size = vars(parameter)["ds_tensor"].numel()
        padded = value.new_zeros(size * self.accelerator.num_processes)
        padded[: value.numel()] = value.flatten()
        own = padded.narrow(0, size * self.accelerator.process_index, size)
        if key is None:
            safe_set_local_fp32_param(parameter, own)
        else:
            safe_set_local_optimizer_state(parameter, own, key)


def _inside(optimizer: Any) -> tuple[Optimizer, list[Tensor]]:
    """The optimizer that DeepSpeed's wraps, and the parts of the weights, each as one vector, that it has state of."""
    zero = optimizer.optimizer
    shards = getattr(zero, "single_partition_of_fp32_groups", None) or zero.fp32_partitioned_groups_flat
    return zero.optimizer, list(shards)


def _link(optimizer: Any) -> None:
    """Tell stages 1 and 2 anew which part of the optimizer's state is of which parameter; stage 3 needs no telling."""
    zero = optimizer.optimizer
    if hasattr(zero, "_hp_optimizer_states_linked"):
        zero._hp_optimizer_states_linked = False
        if zero.optimizer.state:
            zero._lazy_init_hp_params_optimizer_state()


def _hooks(module: Any) -> Any:
    """What has put hooks on every part of a module at stage 3, and keeps them."""
    return module.optimizer.parameter_offload


def _is_of_weights(key: str, value: Any) -> bool:
    """Whether a part of an optimizer's state has a number for every weight."""
    return isinstance(value, Tensor) and key != "step"
