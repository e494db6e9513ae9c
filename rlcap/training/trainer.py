"""The one loop: act, learn, record, measure, keep. Every algorithm runs in it; nothing else uses accelerate."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from accelerate.utils import gather_object
from torch.optim import Optimizer
from tqdm import tqdm

from rewards.composite import WeightedSum
from rlcap.algorithms.base import Algorithm, Scorer, learning
from rlcap.data.base import CaptionDataset
from rlcap.data.features import Features
from rlcap.data.loader import BatchLoader, loader, training_batches
from rlcap.evaluation.evaluate import Evaluation, EvaluationOptions, write_thumbnails
from rlcap.evaluation.kinds import measurement_of
from rlcap.models import Model, load_model
from rlcap.policies.base import load_policy
from rlcap.policies.freezing import freeze
from rlcap.policies.recompute import recompute_activations
from rlcap.policies.reference import Reference
from rlcap.training.checkpoint import Checkpoints, Progress, read_optimizer, read_progress, read_weights
from rlcap.training.features import FeaturesPlace, features_of, open_features
from rlcap.training.interrupts import Interrupts
from rlcap.training.learner import Learner
from rlcap.training.options import TrainingOptions
from rlcap.training.processes import Processes, accelerator_of
from rlcap.training.recorder import Recorder
from rlcap.training.schedule import Schedule
from rlcap.training.trackers import Trackers
from rlcap.training.variance import gradient_variance
from rlcap.types import Batch, UserError

logger = logging.getLogger(__name__)


class Interrupted(Exception):  # noqa: N818 - no error: the run is saved and can go on
    """The user stopped the run; its state is saved. The message says how to go on."""


class Trainer:
    """Trains an algorithm in a run folder, or goes on with the training it holds.

    Args:
        folder: the run folder, made by ``create_run``.
        algorithm: how it learns, its model prepared.
        dataset: images and references; split ``train`` is learned from.
        reward: what sampled captions are scored by, prepared; None for algorithms that score nothing.
        optimizer: makes the optimizer of the groups of parameters that learn.
        schedule: of the learning rate.
        options: how long, how much, how often.
        evaluation: how the model is measured.
    """

    def __init__(
        self,
        folder: Path,
        *,
        algorithm: Algorithm,
        dataset: CaptionDataset,
        reward: WeightedSum | None,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        schedule: Schedule,
        options: TrainingOptions,
        evaluation: EvaluationOptions,
    ) -> None:
        self.folder = folder
        self.options = options
        self.evaluation = evaluation
        self.schedule = schedule
        self.dataset = dataset
        self.reward = reward
        self._features: dict[str, Features] = {}
        self._epochs: deque[int] = deque()  # of the batches read and not yet learned from
        self.features_place = FeaturesPlace.of(options.features, folder)
        self.accelerator = accelerator_of(options, folder)
        self.processes = Processes(self.accelerator)
        self.trackers = Trackers(self.accelerator, folder, dataset, options)
        self.algorithm = algorithm.to(self.accelerator.device)
        for scores in [*([] if reward is None else [reward]), *evaluation.all_metrics.values()]:
            scores.to(str(self.accelerator.device))
        self.scorer = Scorer(self.model, reward)
        self.measurement = measurement_of(self.model, evaluation, dataset)
        self.checkpoints = Checkpoints(folder / "checkpoints", options.keep_checkpoints)

        freeze(self.model, options.freeze)
        if options.gradient_checkpointing:
            recompute_activations(algorithm)
        if not learning(self.model):
            raise UserError("nothing to train: every parameter of the model is frozen")
        groups = algorithm.groups()
        made = optimizer([{"params": parameters} for parameters, _ in groups])
        for group, (_, factor) in zip(made.param_groups, groups, strict=True):
            group["lr"] *= factor
        self.progress = Progress()
        checkpoint = self.checkpoints.latest()
        if checkpoint is not None:
            self.progress = read_progress(checkpoint)
            algorithm.load_state_dict(read_weights(checkpoint, algorithm), strict=False)
        else:
            self.model.fold_adapters()  # without them it is now what the run starts from
        self._set_reference(checkpoint)
        self.learner = Learner(algorithm, made, self.processes, self.scorer, options)
        if checkpoint is not None:
            self.learner.load_state(read_optimizer(checkpoint))

    @property
    def model(self) -> Model:
        """What learns, as it acts: never the wrapped module, through which it learns."""
        return self.algorithm.model

    def run(self) -> Evaluation | None:
        """Train to the last step, then measure the best checkpoint on the test split.

        Returns:
            The measurement on the test split; None if there is none to make.

        Raises:
            Interrupted: if the user pressed Ctrl-C; a checkpoint was saved.
        """
        with self.features_place.opened(self.accelerator.is_main_process), ExitStack() as used:
            for metric in self.evaluation.all_metrics.values():
                used.callback(metric.close)
            used.callback(self.trackers.finish)
            return self._run()

    def _run(self) -> Evaluation | None:
        for split in self._splits():
            self.dataset.records(split)  # a split that is not there is said now, not after training
        if self.progress.step and self.accelerator.is_main_process:
            self.checkpoints.tidy(self.progress)
        self._prepare_features()
        batches = self._loader("train", self.options.images_per_batch, self._sees_images)
        recorder = Recorder(self.folder, self.progress.step or -1) if self.accelerator.is_main_process else None
        self.trackers.start(self.progress.step, f"{self.evaluation.validation}/{self.measurement.best}")
        reference = self.algorithm.reference
        if reference is not None and reference.copied and self.accelerator.is_main_process and not self.progress.step:
            reference.policy.save(self.folder / "reference")  # which the run cannot go on without
        try:
            with Interrupts() as interrupts:
                self._train(batches, recorder, interrupts)
        finally:
            if recorder is not None:
                recorder.close()
            if self.reward is not None:
                self.reward.close()
            _report_skipped(batches, "train")
        evaluation = self._test()
        self.accelerator.wait_for_everyone()  # the others have nothing to score, and would be gone
        return evaluation

    @property
    def _sees_images(self) -> bool:
        return self.reward is not None and self.reward.needs_images

    # --- the loop

    def _train(self, batches: BatchLoader, recorder: Recorder | None, interrupts: Interrupts) -> None:
        options = self.options
        if self.progress.step == 0 and options.evaluate_every and self.algorithm.rewarded:
            self._measure(recorder)
            self._save()
        if self.progress.collapsed:
            return
        stream = training_batches(batches, options.seed, self.progress.step * options.accumulate)
        interrupted = False
        with closing(stream), self._bar(options.steps, "training", initial=self.progress.step) as bar:
            for step in range(self.progress.step + 1, options.steps + 1):
                values = self._step(step, stream, draw_ahead=self._draws_ahead(step) and not interrupted)
                if step % options.log_every == 0 or step == options.steps:
                    self._record(recorder, values)
                bar.update()
                bar.set_postfix(_latest(values, self.progress), refresh=False)
                last = step == options.steps
                if last or _due(step, options.evaluate_every):
                    try:
                        value = self._measure(recorder)
                    except Exception:
                        if not self.processes.sharded:
                            self._keep()  # a metric or an image may fail; what was learned is kept
                        raise
                    if not last:
                        self._guard(value)
                interrupted = self.processes.any(interrupts.asked)
                last = last or self.progress.collapsed
                stop = interrupted and not self.learner.ahead  # what is drawn is learned from first
                if last or stop or _due(step, options.checkpoint_every) or self.progress.best_step == step:
                    self._save()
                if self.progress.collapsed:
                    break
                if stop and not last:
                    raise Interrupted(
                        f"stopped after step {step} of {options.steps}; go on with: rlcap train --resume {self.folder}"
                    )

    def _draws_ahead(self, step: int) -> bool:
        """Whether the next step's captions are drawn before this step's are learned from: not past what is kept."""
        options = self.options
        kept = _due(step, options.evaluate_every) or _due(step, options.checkpoint_every) or step == options.steps
        return options.overlap_rewards and self.algorithm.rewarded and not kept

    def _step(self, step: int, stream: Iterator[tuple[int, Batch]], draw_ahead: bool = False) -> dict[str, int | float]:
        """One step of the learner, and how far the run has come with it."""
        before = self.progress

        def batches() -> Iterator[Batch]:
            for epoch, batch in stream:
                self._epochs.append(epoch)
                yield batch

        rate = self.schedule.factor(step, self.options.steps) * before.rate
        values = self.learner.step(step, batches(), rate, draw_ahead)
        epochs = [self._epochs.popleft() for _ in range(self.options.accumulate)]
        images, captions = int(values.pop("images")), int(values.pop("captions"))
        self.progress = replace(before, step=step, images=before.images + images, captions=before.captions + captions)
        return {**self._position(epochs[-1]), **values}

    # --- measuring and keeping

    def _set_reference(self, checkpoint: Path | None) -> None:
        """Give the algorithm the policy that the run started from, where it is wanted."""
        algorithm = self.algorithm
        if not (algorithm.needs_reference or (algorithm.rewarded and self.options.kl_every)):
            return
        algorithm.reference = Reference(algorithm.policy)
        if checkpoint is not None and algorithm.reference.copied:
            algorithm.reference.policy.load_state_dict(load_policy(str(self.folder / "reference")).state_dict())

    def _measure(self, recorder: Recorder | None) -> float:
        """Measure the validation split, and the gradient's noise if asked for; the value that decides what is best."""
        options = self.evaluation
        began = perf_counter()
        with self.processes.whole(self.learner.module):
            evaluation = self._evaluate(self.model, options.validation)
        seconds = perf_counter() - began
        value = 0.0
        numbers: dict[str, float] = {}
        if evaluation is not None:
            numbers = evaluation.numbers
            values = {f"{options.validation}/{name}": value for name, value in numbers.items()} | self._noise()
            self._record(recorder, {**self._position(None), **values, "time/evaluate": seconds})
            self.trackers.samples(options.validation, evaluation, self.progress.step)
            evaluation.write(self.folder / "evaluation" / options.validation, **self._facts(options.validation))
            value = self.measurement.value(evaluation)
            if self.progress.best is None or value > self.progress.best:
                self.progress = replace(self.progress, best=value, best_step=self.progress.step)
        self.progress, value, numbers = self.processes.from_main((self.progress, value, numbers))
        self.model.measured(numbers)
        return float(value)

    def _noise(self) -> dict[str, float]:
        """The variance of the gradient on the first training images, measured by the main process alone."""
        options = self.options
        if not (options.gradient_samples and self.algorithm.rewarded):
            return {}
        batches = self._loader("train", options.images_per_batch, self._sees_images)
        self.algorithm.train(self.algorithm.dropout)
        batch = self.model.with_features(next(iter(batches)).to(self.accelerator.device))
        key = (options.seed, self.progress.step + 1, 1)
        return gradient_variance(self.algorithm, batch, self.scorer, options.gradient_samples, key)

    def _guard(self, value: float) -> None:
        """Stop the run, or go back to its best checkpoint, if the measurement has collapsed."""
        guard, progress = self.options.guard, self.progress
        if guard is None or progress.best is None or not guard.collapsed(value, progress.best):
            return
        fell = f"{self.measurement.best} fell to {value:.4f} at step {progress.step}, from {progress.best:.4f}"
        if not guard.rolls_back(progress.rollbacks):
            logger.warning("%s: training stops, the checkpoint of step %s is kept", fell, progress.best_step)
            self.progress = replace(progress, collapsed=True)
            return
        logger.warning("%s: back to the checkpoint of step %s", fell, progress.best_step)
        checkpoint = self.checkpoints.folder / str(progress.best_step)
        self.learner.load_weights(read_weights(checkpoint, self.algorithm))
        self.learner.load_state(read_optimizer(checkpoint))
        self.progress = replace(progress, rate=progress.rate * guard.rate, rollbacks=progress.rollbacks + 1)

    def _evaluate(self, model: Model, split: str) -> Evaluation | None:
        """Measure a split, every process its share; the main process gets the result."""
        batches = self._loader(split, self.evaluation.images_per_batch, with_images=False)
        with self._bar(batches.length, f"{self.measurement.what} {split}", leave=False) as bar:
            predictions = self.measurement.predict(model, batches, split, gather_object, bar.update)
        _report_skipped(batches, split)
        if not self.accelerator.is_main_process:
            return None
        return self.measurement.score(predictions, split)

    def _test(self) -> Evaluation | None:
        split = self.evaluation.test
        if split is None:
            return None
        model = load_model(str(self.folder), self.algorithm.learns).to(self.accelerator.device)  # its best checkpoint
        evaluation = self._evaluate(model, split)
        if evaluation is not None:
            place = self.folder / "evaluation" / split
            evaluation.write(place, **self._facts(split, self.progress.best_step))
            write_thumbnails(self.dataset, split, place / "images", self.evaluation.thumbnails)
            values = {f"{split}/{name}": value for name, value in evaluation.numbers.items()}
            self.trackers.log(values, self.progress.step)
            self.trackers.samples(split, evaluation, self.progress.step)
        return evaluation

    def _facts(self, split: str, step: int | None = None) -> dict[str, Any]:
        step = self.progress.step if step is None else step
        return {"split": split, "step": step, **self.measurement.facts}

    def _save(self) -> None:
        self.accelerator.wait_for_everyone()
        self._keep()
        self.accelerator.wait_for_everyone()

    def _keep(self) -> None:
        """Save; with whole weights in every process, without waiting for the others, which may have failed."""
        algorithm, state = self.learner.state()
        if algorithm is not None and self.accelerator.is_main_process:
            self.checkpoints.save(self.progress, algorithm, state)

    def _record(self, recorder: Recorder | None, values: Mapping[str, int | float]) -> None:
        if recorder is not None:
            recorder.write(values)
        self.trackers.log(values, self.progress.step)

    # --- images

    def _prepare_features(self) -> None:
        place = self.features_place.folder
        if place is None:
            return
        splits = self._splits()
        images = sum(len(self.dataset.records(split)) for split in splits)
        if self.accelerator.is_main_process:
            with self._bar(images, "features", leave=False) as bar:
                features_of(
                    self.dataset,
                    splits,
                    self.model,
                    place,
                    workers=self.options.workers,
                    on_bad_image=self.options.on_bad_image,
                    progress=bar.update,
                )
        self.accelerator.wait_for_everyone()

    def _splits(self) -> list[str]:
        splits = ["train", self.evaluation.validation, self.evaluation.test]
        return list(dict.fromkeys(split for split in splits if split is not None))

    def _loader(self, split: str, images_per_batch: int, with_images: bool) -> BatchLoader:
        options = self.options
        dataset = self.dataset
        place = self.features_place.folder
        if place is not None:
            if split not in self._features:  # opened once: the place's key is a digest of the encoder and the images
                self._features[split] = open_features(dataset, split, self.model, place)
            dataset = self._features[split]
        # Features are read faster than they would be sent here from another process.
        read_here = place is not None and not with_images
        return loader(
            dataset,
            split,
            self.model.process_images if self.model.needs_images else None,
            images_per_batch,
            workers=0 if read_here else options.workers,
            with_images=with_images,
            on_bad_image=options.on_bad_image,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )

    def _position(self, epoch: int | None) -> dict[str, int | float]:
        position: dict[str, int | float] = {
            "step": self.progress.step,
            "images": self.progress.images,
            "captions": self.progress.captions,
        }
        return position if epoch is None else {"epoch": epoch, **position}

    def _bar(self, total: int, what: str, initial: int = 0, leave: bool = True) -> "tqdm[Any]":
        return tqdm(
            total=total,
            desc=f"{self.folder.name}: {what}",
            initial=initial,
            leave=leave,
            disable=not self.accelerator.is_main_process,
            dynamic_ncols=True,
            mininterval=0.5,
        )


def _report_skipped(batches: BatchLoader, split: str) -> None:
    if batches.skipped:
        logger.warning(
            "%s split: skipped %d unreadable images, such as %s", split, len(batches.skipped), batches.skipped[0]
        )


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def _latest(values: Mapping[str, int | float], progress: Progress) -> dict[str, str]:
    """What the progress bar shows beside rate and time left."""
    shown = {
        "reward/sampled": "reward",
        "loss/policy": "loss",
        "loss/image_to_text": "loss",
        "caption/length": "length",
    }
    latest = {label: f"{values[key]:.3f}" for key, label in shown.items() if key in values}
    return latest if progress.best is None else {**latest, "best": f"{progress.best:.3f}"}
