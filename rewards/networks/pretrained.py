"""What rewards that run a neural network share: loading, device and precision, and a name that tells weights apart."""

import hashlib
import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Int64
from safetensors import SafetensorError
from torch import nn
from transformers import AutoImageProcessor
from transformers.utils import logging

from rewards.base import Candidates, OpenedWhenRead, Reward, RewardError

Precision = Literal["float32", "bfloat16", "float16"]

# What transformers raises where there is no such checkpoint, or another kind of one, or a broken file.
WRONG_CHECKPOINT = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ImportError,
    RuntimeError,
    SafetensorError,
)

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


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
        with _no_progress_bars():
            return loader.from_pretrained(checkpoint, **settings)
    except WRONG_CHECKPOINT as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RewardError(
            f"cannot load {checkpoint!r} as {loader.__name__} ({lines[0]}): give a hub name or the directory of a "
            "checkpoint that save_pretrained wrote"
        ) from error


def load_model(loader: Any, checkpoint: str, precision: Precision, whole: bool = False) -> Any:
    """A model ready to judge: in its precision, without dropout and without gradients.

    Args:
        loader: a transformers model class.
        checkpoint: hub name or local directory.
        precision: of its weights.
        whole: refuse a checkpoint that lacks some of the model's weights. transformers draws those at random, as when
            a captioner is loaded as a matcher. Leave it False where a part that goes unused may be missing, such as
            BERT's pooler.

    Raises:
        RewardError: if there is no such checkpoint, or if it is of another kind.
    """
    with _errors_only() if whole else nullcontext():  # what transformers would tell is an error here
        model, loading = load(
            *(loader, checkpoint),
            use_safetensors=True,
            dtype=getattr(torch, precision),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    absent = {key[0] for key in loading["mismatched_keys"]} | (loading["missing_keys"] if whole else set())
    if absent:
        raise RewardError(
            f"{checkpoint!r} lacks {len(absent)} weights of a {type(model).__name__}, such as {min(absent)}: it is a "
            f"checkpoint of another kind, give one of {type(model).__name__}"
        )
    return model.eval().requires_grad_(False)


def load_image_processor(checkpoint: str) -> Any:
    """The image processor of a checkpoint: the one on Pillow where there is one, the same on every machine."""
    return load(AutoImageProcessor, checkpoint, backend="pil")


def fingerprint(model: nn.Module, settings: Mapping[str, object] | None = None) -> str:
    """Eight hexadecimal digits that differ between models: of every tensor's name, shape and first 64 values.

    Args:
        model: whose state it is of.
        settings: what else makes the score, such as an image processor's ``to_dict()``.
    """
    digest = hashlib.blake2b(digest_size=4)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().flatten()[:64].cpu().double().numpy().tobytes())
    if settings is not None:
        digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def distinct_images(candidates: Candidates) -> tuple[list[int], Int64[np.ndarray, " captions"]]:
    """A row of each distinct image, and the place of every caption's image among them.

    Images are told apart by their ids; without ids, by being the same object or opened by the same one.

    Raises:
        RewardError: if there are no images.
    """
    if candidates.images is None:
        raise RewardError("this reward looks at images, and Candidates.images is None: give one for each caption")
    keys: Sequence[Hashable]
    if candidates.image_ids is not None:
        keys = candidates.image_ids
    elif isinstance(candidates.images, OpenedWhenRead):
        keys = [id(opener) for opener in candidates.images.openers]
    elif isinstance(candidates.images, list | tuple):
        keys = [id(image) for image in candidates.images]
    else:  # another sequence may open its images too, and they need not fit into memory
        keys = range(len(candidates))
    rows: dict[Hashable, int] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, row)
    places = {key: place for place, key in enumerate(rows)}
    return list(rows.values()), np.array([places[key] for key in keys], np.int64)


class Kept(Generic[Key, Value]):
    """The latest ``size`` results of a costly computation, by key."""

    def __init__(self, size: int) -> None:
        if size < 0:
            raise RewardError(f"cannot remember {size} results: give 0 or more")
        self.size = size
        self.known: dict[Key, Value] = {}  # the oldest used comes first

    def __call__(self, keys: Sequence[Key], make: Callable[[list[int]], Sequence[Value]]) -> list[Value]:
        """The result of each distinct key; ``make`` gives those of the places among them that are not known."""
        missing = [place for place, key in enumerate(keys) if key not in self.known]
        new = dict(zip(missing, make(missing), strict=True)) if missing else {}
        results = [new[place] if place in new else self.known.pop(key) for place, key in enumerate(keys)]
        self.known.update(zip(keys, results, strict=True))
        for key in list(islice(self.known, max(0, len(self.known) - self.size))):
            del self.known[key]
        return results


class ModelReward(Reward):
    """A reward that runs a neural network.

    Args:
        checkpoint: hub name or local directory.
        model: what was loaded from it, by ``load_model``.
        batch_size: how many images or captions run together.
        settings: what else of the checkpoint makes the score, such as its image processor's ``to_dict()``.
    """

    def __init__(
        self, checkpoint: str, model: nn.Module, batch_size: int, settings: Mapping[str, object] | None = None
    ) -> None:
        if batch_size < 1:
            raise RewardError(f"batch_size must be 1 or more, got {batch_size}")
        self.model = model
        self.batch_size = batch_size
        self.device = torch.device("cpu")
        # in signatures: the same on every machine
        self.called = f"{Path(checkpoint).resolve().name}@{fingerprint(model, settings)}"

    def to(self, device: str) -> None:
        self.device = torch.device(device)
        self.model.to(self.device)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights, which pixel values must have too; some models keep a few in float32."""
        return min(
            {weights.dtype for weights in self.model.parameters() if weights.is_floating_point()},
            key=lambda dtype: (torch.finfo(dtype).bits, str(dtype)),
        )

    @property
    def precision(self) -> str:
        """The precision by name, for signatures."""
        return str(self.dtype).removeprefix("torch.")

    @contextmanager
    def judging(self) -> Iterator[None]:
        """Without gradients, and in the model's own precision whatever the policy's: scores are the same in any run."""
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            yield

    def inputs(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """A processor's tensors on the model's device, pixel values in its precision."""
        return {
            name: value.to(self.device, self.dtype if value.is_floating_point() else None)
            if isinstance(value, torch.Tensor)
            else value
            for name, value in tensors.items()
        }


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Silence for transformers' bars while a model is loaded."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def _errors_only() -> Iterator[None]:
    """Silence for transformers' notices."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
