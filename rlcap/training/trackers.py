"""What accelerate's trackers are told of a run: its numbers, its settings, and sample captions with their images."""

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.tracking import TensorBoardTracker, WandBTracker
from PIL import Image

from rlcap.data.base import CaptionDataset, UnreadableImageError
from rlcap.errors import UserError
from rlcap.evaluation.evaluate import Evaluation, images_of
from rlcap.markdown import clean, plain, table
from rlcap.settings import read_settings
from rlcap.training.options import TrainingOptions
from rlcap.training.run_folder import CONFIG_FILE

PROJECT = "rlcap"
PIXELS = 256
WANDB_FILE = "wandb.json"
Setting = bool | int | float | str


@dataclass(frozen=True)
class Sample:
    """A caption to be shown with its image; None stands for an image that cannot be read."""

    image_id: str
    image: Image.Image | None
    caption: str
    reference: str
    scores: Mapping[str, float]


class Trackers:
    """Tells a run to the trackers that its options name; the main process alone has any.

    Args:
        accelerator: made with these trackers.
        folder: the run folder; TensorBoard's events lie in ``rlcap/``, all that wandb writes in ``wandb/``.
        dataset: opens the images.
        options: which trackers, and how many samples.
    """

    def __init__(
        self, accelerator: Accelerator, folder: Path, dataset: CaptionDataset, options: TrainingOptions
    ) -> None:
        self.accelerator = accelerator
        self.folder = folder
        self.dataset = dataset
        self.options = options
        self._shown: set[str] = set()  # the splits whose images TensorBoard has

    def start(self, step: int, metric: str) -> None:
        """Open the trackers' logs and tell them the run's configuration; a run that goes on goes on with its logs.

        Args:
            step: the last step taken; what TensorBoard was told of later ones, which are taken again, is dropped.
            metric: what runs are compared by, in TensorBoard's table of hyperparameters.

        Raises:
            UserError: if wandb cannot be reached or logged into.
        """
        if not (self.options.trackers and self.accelerator.is_main_process):
            return
        arguments: dict[str, dict[str, Any]] = {"tensorboard": {"purge_step": step + 1 if step else 0}}
        if "wandb" in self.options.trackers:
            arguments["wandb"] = {
                "name": self.folder.name,
                "dir": str(self.folder),
                "id": _wandb_id(self.folder / WANDB_FILE),
                "resume": "allow",
            }
        with _wandb_in(self.folder):
            self._open(arguments)
        file = self.folder / CONFIG_FILE
        settings = flattened(read_settings(file)) if file.is_file() else {}
        for tracker in self.accelerator.trackers:
            if isinstance(tracker, TensorBoardTracker):
                _settings_to_tensorboard(tracker, settings, metric)
            else:
                tracker.store_init_configuration(settings)

    def log(self, values: Mapping[str, int | float], step: int) -> None:
        """Log numbers."""
        self.accelerator.log(dict(values), step=step)

    def samples(self, split: str, evaluation: Evaluation, step: int) -> None:
        """Log captions of a measurement, always of the same images, to the trackers that can show them."""
        able = [each for each in self.accelerator.trackers if isinstance(each, TensorBoardTracker | WandBTracker)]
        chosen = spread([row for row in evaluation.predictions if "caption" in row], self.options.tracker_samples)
        if not (able and chosen):
            return
        opened = images_of(self.dataset, split)
        samples = [_sample(prediction, opened[str(prediction["image_id"])].open) for prediction in chosen]
        for tracker in able:
            if isinstance(tracker, TensorBoardTracker):
                _to_tensorboard(tracker, split, samples, step, with_images=split not in self._shown)
            else:
                with _wandb_in(self.folder):
                    _to_wandb(tracker, split, samples, step)
        self._shown.add(split)

    def finish(self) -> None:
        """Close the logs; not by ``end_training``, which would part the processes."""
        for tracker in self.accelerator.trackers:
            tracker.finish()

    def _open(self, arguments: dict[str, dict[str, Any]]) -> None:
        if "wandb" not in arguments:
            self.accelerator.init_trackers(PROJECT, init_kwargs=arguments)
            return
        from wandb.errors import Error

        try:
            self.accelerator.init_trackers(PROJECT, init_kwargs=arguments)
        except Error as error:
            self.accelerator.trackers.clear()  # one that did not start cannot finish
            raise UserError(f"wandb cannot start: {error}; WANDB_MODE=offline logs into the run folder") from error


def spread(rows: Sequence[Any], count: int) -> list[Any]:
    """So many of the rows, evenly spread, the first and the last among them; all where there are no more."""
    return [
        rows[place]
        for place in sorted({round(place) for place in np.linspace(0, len(rows) - 1, min(count, len(rows)))})
    ]


def flattened(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Setting]:
    """Nested settings under the names the command line has for them; lists as JSON, what is None left out."""
    flat: dict[str, Setting] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = value if isinstance(value, Setting) else json.dumps(value, default=str)
    return flat


def _sample(prediction: Mapping[str, Any], open_image: Callable[[], Image.Image]) -> Sample:
    image: Image.Image | None
    try:
        image = open_image()
        image.thumbnail((PIXELS, PIXELS))
    except UnreadableImageError:
        image = None  # the loader has named it already, as on_bad_image says
    scores = prediction.get("scores") or {"score": prediction["score"]}  # of a reward model its own
    reference = next(iter(prediction.get("references", ())), "")
    return Sample(str(prediction["image_id"]), image, str(prediction["caption"]), str(reference), scores)


def _settings_to_tensorboard(tracker: TensorBoardTracker, settings: Mapping[str, Setting], metric: str) -> None:
    """Within the run's own log, where the metric is: accelerate's way makes another run of them."""
    from torch.utils.tensorboard.summary import hparams

    for summary in hparams(dict(settings), {metric: None}):  # type: ignore[no-untyped-call]
        tracker.writer.file_writer.add_summary(summary)


def _to_tensorboard(
    tracker: TensorBoardTracker, split: str, samples: Sequence[Sample], step: int, with_images: bool
) -> None:
    """A table of text at every measurement; the images, which stay the same, once: the file would swell with them."""
    names = list(samples[0].scores)
    rows = [
        [
            f"{number} ({plain(sample.image_id)})",
            plain(sample.caption),
            plain(sample.reference),
            *(f"{sample.scores.get(name, float('nan')):.4f}" for name in names),
        ]
        for number, sample in enumerate(samples, start=1)
    ]
    columns = ["image", "caption", "reference", *map(plain, names)]
    tracker.writer.add_text(f"{split}/samples", table(columns, rows), global_step=step)
    for number, sample in enumerate(samples, start=1):
        if with_images and sample.image is not None:
            image = np.asarray(sample.image)
            tracker.writer.add_image(f"{split}/samples/{number}", image, global_step=step, dataformats="HWC")
    tracker.writer.flush()


def _to_wandb(tracker: WandBTracker, split: str, samples: Sequence[Sample], step: int) -> None:
    """A table that can be sorted and filtered, and the images with their captions, to leaf through by step."""
    import wandb

    names = list(samples[0].scores)
    rows = [
        [
            wandb.Image(sample.image) if sample.image is not None else None,
            clean(sample.image_id),
            clean(sample.caption),
            clean(sample.reference),
            *(sample.scores.get(name) for name in names),
        ]
        for sample in samples
    ]
    tracker.log_table(
        f"{split}/samples", columns=["image", "image_id", "caption", "reference", *names], data=rows, step=step
    )
    images = [wandb.Image(each.image, caption=clean(each.caption)) for each in samples if each.image is not None]
    tracker.log({f"{split}/images": images}, step=step)


def _wandb_id(file: Path) -> str:
    """The id by which wandb knows the run again when it goes on."""
    if not file.is_file():
        file.write_text(json.dumps({"id": secrets.token_hex(4)}) + "\n")
    try:
        return str(json.loads(file.read_text())["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged: remove it, and wandb takes the run for a new one") from error


@contextmanager
def _wandb_in(folder: Path) -> Iterator[None]:
    """Inside it wandb keeps in the run folder what it would keep in the home folder, unless the user says where."""
    own = {name: str(folder / "wandb") for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR") if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            del os.environ[name]
