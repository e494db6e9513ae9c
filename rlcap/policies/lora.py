"""Low-rank adapters beside the weights of any policy, which stay as they are. Hu et al. 2021, arXiv 2106.09685."""

import copy
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from rlcap.errors import UserError
from rlcap.policies.base import Policy, ProcessImages, load_policy
from rlcap.policies.freezing import some_names
from rlcap.types import Batch, Captions, Encoded

ADAPTER = "default"  # peft's name for the only one
BASE_FOLDER = "base"
ADAPTERS_FILE = "adapters.safetensors"
SETTINGS_FILE = "settings.json"


class Lora(Policy):
    """A policy in which adapters alone learn.

    An adapted linear layer W gives W x + (alpha / rank) B A x, with thin matrices A and B that learn; B starts at zero,
    so that the policy starts as the one it is made of. Adapters are made by ``prepare``.

    Adapted are, if no targets are named, all linear layers that learn in the policy itself and that captions depend on,
    but not the output layer. So a policy with a frozen encoder gets adapters in its decoder alone, and the encoder's
    features may be kept.

    Args:
        policy: what is adapted. One with adapters already gets them merged into its weights first.
        rank: rows of A and columns of B.
        alpha: what the adapters' share is multiplied by, times the rank.
        dropout: on what the adapters read, while teacher forcing.
        targets: which linear layers to adapt, each named by the end of its name (``query``, ``attn.c_attn``) or by a
            pattern of the whole name (``*.decoder.*``); of those only that learn in the policy itself.
    """

    adapted = True

    def __init__(
        self,
        policy: Policy,
        rank: int = 16,
        alpha: float = 32.0,
        dropout: float = 0.0,
        targets: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        if rank < 1 or alpha <= 0 or not 0 <= dropout < 1:
            raise UserError(
                f"adapters need a rank of at least 1, alpha above 0 and dropout in [0, 1), "
                f"got {rank}, {alpha} and {dropout}"
            )
        self.policy = policy.merge() if isinstance(policy, Lora) else policy
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.targets = tuple(targets)
        self._learning: frozenset[str] = frozenset()  # the parameters that learn in the policy itself

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Prepare the policy, then make its adapters, unless they were loaded."""
        self.policy.prepare(references)
        if not self._learning:
            self._inject(chosen_layers(self.policy, self.targets))

    def _inject(self, layers: Sequence[str]) -> None:
        policy = self.policy
        self.eos_id, self.pad_id, self.suppressed = policy.eos_id, policy.pad_id, policy.suppressed
        self._learning = frozenset(name for name, parameter in policy.named_parameters() if parameter.requires_grad)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules="|".join(map(re.escape, layers)),
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "fan_in_fan_out")  # it finds out itself which way round weights are
            inject_adapter_in_model(config, policy)
        del policy.peft_config  # or a policy merged from this one would still have it
        policy.train(policy.training)

    def adapters(self) -> dict[str, Any]:
        """The adapted layers by name: peft's, around the policy's own."""
        return {name: module for name, module in self.policy.named_modules() if isinstance(module, LoraLayer)}

    @contextmanager
    def without_adapters(self) -> Iterator[None]:
        """Inside it the policy's own layers stand in their places: same modules, same names, same numbers."""
        adapters = self.adapters()
        for name, layer in adapters.items():
            self.policy.set_submodule(name, layer.base_layer)
        try:
            yield
        finally:
            for name, layer in adapters.items():
                self.policy.set_submodule(name, layer)

    @torch.no_grad()
    def fold_adapters(self) -> None:
        """Add to the weights what the adapters have learned, W + (alpha / rank) B A, and let these start anew."""
        for layer in self.adapters().values():
            layer.base_layer.weight.add_(layer.get_delta_weight(ADAPTER))
            layer.lora_B[ADAPTER].weight.zero_()

    def merge(self) -> Policy:
        """The policy itself with what its adapters have learned in its weights: a copy, without adapters."""
        merged = copy.deepcopy(self)
        merged.fold_adapters()
        for name, layer in merged.adapters().items():
            merged.policy.set_submodule(name, layer.base_layer)
        if self._learning:
            for name, parameter in merged.policy.named_parameters():
                parameter.requires_grad_(name in self._learning)
        return merged.policy

    # --- on disk

    def save_files(self, directory: Path) -> None:
        if not self._learning:
            raise UserError("the policy has no adapters yet: call prepare with the training references first")
        adapters = self.adapters()
        with self.without_adapters():
            self.policy.save(directory / BASE_FOLDER)
        weights = {
            f"{name}.{matrix}": weight.detach().contiguous()
            for name, layer in adapters.items()
            for matrix, weight in _matrices(layer).items()
        }
        save_file(weights, directory / ADAPTERS_FILE)
        settings = {"rank": self.rank, "alpha": self.alpha, "dropout": self.dropout, "targets": self.targets}
        (directory / SETTINGS_FILE).write_text(json.dumps({**settings, "layers": list(adapters)}, indent=2) + "\n")

    @classmethod
    def load_files(cls, directory: Path) -> "Lora":
        settings = json.loads((directory / SETTINGS_FILE).read_text())
        layers = settings.pop("layers")
        policy = cls(load_policy(str(directory / BASE_FOLDER)), **{**settings, "targets": tuple(settings["targets"])})
        policy._inject(layers)
        weights = load_file(directory / ADAPTERS_FILE)
        with torch.no_grad():
            for name, layer in policy.adapters().items():
                for matrix, weight in _matrices(layer).items():
                    weight.copy_(weights[f"{name}.{matrix}"])
        return policy

    # --- the policy's own

    @property
    def process_images(self) -> ProcessImages:
        return self.policy.process_images

    def encode(self, batch: Batch) -> Encoded:
        return self.policy.encode(batch)

    def encode_grid(
        self, pixel_values: Float[Tensor, "images channels height width"]
    ) -> tuple[Encoded, tuple[int, int]]:
        return self.policy.encode_grid(pixel_values)

    def tokenize(self, captions: Sequence[str], max_length: int) -> Captions:
        return self.policy.tokenize(captions, max_length)

    def detokenize(self, captions: Captions) -> list[str]:
        return self.policy.detokenize(captions)

    def score_tokens(
        self, encoded: Encoded, captions: Captions
    ) -> tuple[Float[Tensor, "tokens vocabulary"], Float[Tensor, "captions length width"]]:
        return self.policy.score_tokens(encoded, captions)

    def generate_tokens(
        self, encoded: Encoded, config: GenerationConfig, processors: LogitsProcessorList
    ) -> Int[Tensor, "captions length"]:
        return self.policy.generate_tokens(encoded, config, processors)

    @property
    def feature_shape(self) -> tuple[int, int] | None:
        return self.policy.feature_shape

    @property
    def fingerprint(self) -> str:
        return self.policy.fingerprint

    def features(self, pixel_values: Tensor) -> Float[Tensor, "images regions width"]:
        return self.policy.features(pixel_values)

    @property
    def hidden_width(self) -> int:
        return self.policy.hidden_width


def _matrices(layer: Any) -> dict[str, nn.Parameter]:
    return {"A": layer.lora_A[ADAPTER].weight, "B": layer.lora_B[ADAPTER].weight}


# --- which layers


def chosen_layers(policy: Policy, targets: Sequence[str]) -> list[str]:
    """The names of the linear layers to adapt.

    Raises:
        UserError: if a target names none.
    """
    adaptable = adaptable_layers(policy)
    if not adaptable:
        raise UserError(f"{type(policy).__name__} has no linear layer that learns: there is nothing to adapt")
    if not targets:
        outputs = [module.get_output_embeddings() for module in policy.modules() if isinstance(module, PreTrainedModel)]
        return [name for name, layer in adaptable.items() if not any(layer is output for output in outputs)]
    for target in targets:
        if not any(_targets(target, name) for name in adaptable):
            raise UserError(
                f"adapters are wanted in {target!r}, but no linear layer that learns, with weights of its own, is "
                f"called so; there are {some_names(adaptable)}"
            )
    return [name for name in adaptable if any(_targets(target, name) for target in targets)]


def _targets(target: str, name: str) -> bool:
    return name == target or name.endswith(f".{target}") or fnmatchcase(name, target)


def adaptable_layers(policy: Policy) -> dict[str, nn.Module]:
    """The linear layers that learn, whose weights are nobody else's, and that captions depend on, by name.

    A subclass of a linear layer may do anything with its weights, so it is none of them. Data-parallel training waits
    for the gradient of every parameter that learns, so no adapter may stand in a layer that captions do not depend on.
    """
    shared = Counter(id(parameter) for _, parameter in policy.named_parameters(remove_duplicate=False))
    linear = {
        name: module
        for name, module in policy.named_modules()
        if type(module) in (nn.Linear, Conv1D) and module.weight.requires_grad and shared[id(module.weight)] == 1
    }
    if not linear:
        return {}
    training = policy.training
    policy.eval()
    pixels = policy.process_images([Image.new("RGB", (32, 32))]).to(policy.device)
    captions = policy.tokenize([""], max_length=2).to(policy.device)
    with torch.enable_grad():
        total = policy.logprobs(policy.encode(Batch(("probe",), ((),), pixel_values=pixels)), captions).sum()
    gradients = torch.autograd.grad(total, [layer.weight for layer in linear.values()], allow_unused=True)
    policy.train(training)
    return {
        name: layer for (name, layer), gradient in zip(linear.items(), gradients, strict=True) if gradient is not None
    }
