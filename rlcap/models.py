"""What everything that learns in the loop offers, captioners and reward models alike: images in, a folder out."""

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from rlcap.types import Batch, UserError

BEST_FILE = "best.json"
ProcessImages = Callable[[Sequence[Image.Image]], Float[Tensor, "images channels height width"]]


class Model(nn.Module, ABC):
    """What learns from images in the loop.

    Attributes:
        kind: what the models of a kind are called: in configurations, and as folders of checkpoints.
        needs_images: whether it looks at images; without, nobody opens them for it.
        adapted: whether adapters alone learn, beside weights that stay as they are.
    """

    kind: ClassVar[str]
    needs_images: bool = True
    adapted: bool = False

    # --- what a model implements

    @property
    @abstractmethod
    def process_images(self) -> ProcessImages:
        """The image processor: a function that can be sent to worker processes."""

    @abstractmethod
    def save_files(self, directory: Path) -> None:
        """Write all that ``load_files`` needs into an existing directory: safetensors and JSON."""

    @classmethod
    @abstractmethod
    def load_files(cls, directory: Path) -> "Model":
        """The model that ``save_files`` wrote."""

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Take in the training references before training; a model with a vocabulary of its own builds it here."""

    def measured(self, numbers: Mapping[str, float]) -> None:
        """Told what was measured on the validation split, in every process, before a checkpoint is written."""

    def fold_adapters(self) -> None:
        """Work what adapters have learned into the weights: what the model is now, it is without them from then on."""

    # --- an image encoder that may be frozen

    @property
    def feature_shape(self) -> tuple[int, int] | None:
        """Regions and width of the frozen encoder's features; None when it learns, so that none can be kept."""
        return None

    @property
    def fingerprint(self) -> str:
        """Changes when the frozen encoder or its image processor does: the key of features kept on disk."""
        raise UserError(f"{type(self).__name__} has no frozen encoder whose features could be kept")

    def features(self, pixel_values: Tensor) -> Float[Tensor, "images regions width"]:
        """What the frozen encoder makes of the images: computed once, kept, and given back in ``Batch.features``."""
        raise UserError(f"{type(self).__name__} has no frozen encoder whose features could be kept")

    # --- what all models share

    @torch.no_grad()
    def with_features(self, batch: Batch) -> Batch:
        """The batch with the frozen encoder's features in place of its pixels, so that nobody encodes these again.

        Batches that have them, and those of a model whose encoder learns, stay as they are.
        """
        if self.feature_shape is None or batch.features is not None or batch.pixel_values is None:
            return batch
        return replace(batch, features=self.features(batch.pixel_values), pixel_values=None)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def save(self, directory: Path) -> None:
        """Write the model to a directory that ``load_model`` reads back, the same to the bit."""
        directory.mkdir(parents=True, exist_ok=True)
        self.save_files(directory)
        kind = {"class_path": f"{type(self).__module__}.{type(self).__qualname__}"}
        (directory / _file(self.kind)).write_text(json.dumps(kind) + "\n")


ModelT = TypeVar("ModelT", bound=Model)


def load_model(directory: str, kind: type[ModelT]) -> ModelT:
    """The model saved in a directory: that of a saved model, a checkpoint, or a run folder (its best checkpoint).

    Raises:
        UserError: if the directory holds none of the kind.
    """
    folder = model_folder(Path(directory), kind)
    file = folder / _file(kind.kind)
    class_path = json.loads(file.read_text())["class_path"]
    module, _, name = class_path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise UserError(f"{file} names {class_path}, which is not a {kind.__name__}")
    model = found.load_files(folder)
    assert isinstance(model, kind)
    return model


def model_folder(directory: Path, kind: type[Model]) -> Path:
    """The folder of a model's files, given them, a checkpoint that holds them, or a run folder.

    Of a run folder it is the best checkpoint's, or the latest's where none was measured.
    """
    for folder in (directory, directory / kind.kind, *_of_run(directory / "checkpoints", kind.kind)):
        if (folder / _file(kind.kind)).is_file():
            return folder
    what = kind.kind.replace("_", " ")
    reason = f"holds no saved {what} or finished checkpoint of one" if directory.is_dir() else "does not exist"
    raise UserError(
        f"{directory} {reason}; give a run folder, a checkpoint or a directory written by {kind.__name__}.save"
    )


def kind_of(directory: Path) -> str | None:
    """What kind of model a run folder, a checkpoint or a directory written by ``save`` holds; None if it holds none."""
    places = [directory, *directory.glob("*"), *directory.glob("checkpoints/*/*")]
    kinds = (file.name for place in places for file in place.glob(_file("*")))
    return next((name.removeprefix("rlcap_").removesuffix(".json") for name in kinds), None)


def _file(kind: str) -> str:
    return f"rlcap_{kind}.json"


def _of_run(checkpoints: Path, kind: str) -> list[Path]:
    steps = sorted(int(path.name) for path in checkpoints.glob("[0-9]*"))
    if (checkpoints / BEST_FILE).is_file():
        steps.append(json.loads((checkpoints / BEST_FILE).read_text())["step"])
    return [checkpoints / str(step) / kind for step in reversed(steps)]
