"""What rewards that run a neural network share: loading, device and precision, and a name that tells weights apart."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from rewards.base import Reward, RewardError

Precision = Literal["float32", "bfloat16", "float16"]


def load(loader: Any, checkpoint: str, **settings: Any) -> Any:
    """What a transformers class makes of a hub name or a local directory.

    Weights are read from safetensors files only, and no code that lies beside them is run.

    Args:
        loader: a class with ``from_pretrained``: a model, a processor or a tokenizer.
        checkpoint: the hub name or directory.
        settings: more arguments of ``from_pretrained``.

    Raises:
        RewardError: if there is no such checkpoint, or if it is of another kind.
    """
    try:
        return loader.from_pretrained(checkpoint, **settings)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RewardError(
            f"cannot load {checkpoint!r} as {loader.__name__} ({lines[0]}): give a hub name or the directory of a "
            "checkpoint that save_pretrained wrote"
        ) from error


def load_model(loader: Any, checkpoint: str, precision: Precision) -> Any:
    """A model ready to judge: in its precision, without dropout and without gradients."""
    model = load(loader, checkpoint, use_safetensors=True, dtype=getattr(torch, precision))
    return model.eval().requires_grad_(False)


def fingerprint(model: nn.Module) -> str:
    """Eight hexadecimal digits that differ between models: of every tensor's name, shape and first 64 values."""
    digest = hashlib.blake2b(digest_size=4)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().flatten()[:64].cpu().double().numpy().tobytes())
    return digest.hexdigest()


class ModelReward(Reward):
    """A reward that runs a neural network.

    Args:
        checkpoint: hub name or local directory.
        model: what was loaded from it, by ``load_model``.
        batch_size: how many images or captions run together.
    """

    def __init__(self, checkpoint: str, model: nn.Module, batch_size: int) -> None:
        if batch_size < 1:
            raise RewardError(f"batch_size must be 1 or more, got {batch_size}")
        self.model = model
        self.batch_size = batch_size
        self.device = torch.device("cpu")
        self.called = f"{Path(checkpoint).name}@{fingerprint(model)}"  # in signatures: the same on every machine

    def to(self, device: str) -> None:
        self.device = torch.device(device)
        self.model.to(self.device)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights, which pixel values must have too."""
        return next(self.model.parameters()).dtype

    @contextmanager
    def judging(self) -> Iterator[None]:
        """Without gradients, and in the model's own precision whatever the policy's: scores are the same in any run."""
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            yield
