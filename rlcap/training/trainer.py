"""The one loop: act, learn, record, measure, keep. Every algorithm runs in it; nothing else uses accelerate."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.nn import Parameter
from torch.optim import Optimizer
from tqdm import tqdm

from rewards.composite import WeightedSum
from rlcap.algorithms.base import Algorithm, Scorer
from rlcap.data.base import CaptionDataset
from rlcap.data.features import Features
from rlcap.data.loader import BatchLoader, loader, training_batches
from rlcap.evaluation.evaluate import Evaluation, EvaluationOptions, evaluate, write_thumbnails
from rlcap.policies.base import Policy, load_policy
from rlcap.training.checkpoint import Checkpoints, Progress, read_optimizer, read_own_weights, read_progress
from rlcap.training.features import features_of, open_features
from rlcap.training.interrupts import Interrupts
from rlcap.training.options import TrainingOptions
from rlcap.training.processes import Processes, accelerator_of
from rlcap.training.recorder import Recorder
from rlcap.training.schedule import Schedule
from rlcap.types import Batch, Loss, Rollout, UserError

logger = logging.getLogger(__name__)


class Interrupted(Exception):  # noqa: N818 - no error: the run is saved and can go on
    """The user stopped the run; its state is saved. The message says how to go on."""


class Trainer:
    """Trains an algorithm in a run folder, or goes on with the training it holds.

    Args:
        folder: the run folder, made by ``create_run``.
        algorithm: what learns, its policy prepared.
        dataset: images and references; split ``train`` is learned from.
        reward: what sampled captions are scored by, prepared; None for algorithms that score nothing.
        optimizer: makes the optimizer of the parameters that learn.
        schedule: of the learning rate.
        options: how long, how much, how often.
        evaluation: how the policy is measured.
    """

    def __init__(
        self,
        folder: Path,
        *,
        algorithm: Algorithm,
        dataset: CaptionDataset,
        reward: WeightedSum | None,
        optimizer: Callable[[Iterable[Parameter]], Optimizer],
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
        self.accelerator = accelerator_of(options, folder)
        self.processes = Processes(self.accelerator)
        self.algorithm = algorithm.to(self.accelerator.device)
        self.scorer = Scorer(self.policy, reward)
        self.checkpoints = Checkpoints(folder / "checkpoints", options.keep_checkpoints)

        learning = [parameter for parameter in algorithm.parameters() if parameter.requires_grad]
        if not learning:
            raise UserError("nothing to train: every parameter of the policy is frozen")
        made = optimizer(learning)
        self.progress = Progress()
        checkpoint = self.checkpoints.latest()
        if checkpoint is not None:
            self.progress = read_progress(checkpoint)
            self.policy.load_state_dict(load_policy(str(checkpoint)).state_dict())
            read_own_weights(checkpoint, algorithm)
            state = read_optimizer(checkpoint)
            made.load_state_dict(state["optimizer"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        self.rates = [float(group.setdefault("base_lr", group["lr"])) for group in made.param_groups]
        self.module, self.optimizer = self.accelerator.prepare(self.algorithm, made)

    @property
    def policy(self) -> Policy:
        """The captioner, as it acts: never the wrapped module, through which it learns."""
        return self.algorithm.policy

    def run(self) -> Evaluation | None:
        """Train to the last step, then measure the best checkpoint on the test split.

        Returns:
            The measurement on the test split; None if there is none to make.

        Raises:
            Interrupted: if the user pressed Ctrl-C; a checkpoint was saved.
        """
        for split in self._splits():
            self.dataset.records(split)  # a split that is not there is said now, not after training
        if self.progress.step and self.accelerator.is_main_process:
            self.checkpoints.tidy(self.progress)
        self._prepare_features()
        batches = self._loader(
            "train", self.options.images_per_batch, self.reward is not None and self.reward.needs_images
        )
        recorder = Recorder(self.folder, self.progress.step or -1) if self.accelerator.is_main_process else None
        if self.options.trackers:
            self.accelerator.init_trackers("rlcap")
        try:
            with Interrupts() as interrupts:
                self._train(batches, recorder, interrupts)
        finally:
            if recorder is not None:
                recorder.close()
            for tracker in self.accelerator.trackers:  # end_training would part the processes before the test
                tracker.finish()
            _report_skipped(batches, "train")
        return self._test()

    # --- the loop

    def _train(self, batches: BatchLoader, recorder: Recorder | None, interrupts: Interrupts) -> None:
        options = self.options
        if self.progress.step == 0 and options.evaluate_every and self.algorithm.rewarded:
            self._measure(recorder)
            self._save()
        stream = training_batches(batches, options.seed, self.progress.step * options.accumulate)
        with closing(stream), self._bar(options.steps, "training", initial=self.progress.step) as bar:
            for step in range(self.progress.step + 1, options.steps + 1):
                values = self._step(step, stream)
                if step % options.log_every == 0 or step == options.steps:
                    self._record(recorder, values)
                bar.update()
                bar.set_postfix(_latest(values, self.progress), refresh=False)
                last = step == options.steps
                if last or _due(step, options.evaluate_every):
                    try:
                        self._measure(recorder)
                    except Exception:
                        self._keep()  # a metric or an image may fail; what was learned is kept
                        raise
                stop = self.processes.any(interrupts.asked)
                if last or stop or _due(step, options.checkpoint_every) or self.progress.best_step == step:
                    self._save()
                if stop and not last:
                    raise Interrupted(
                        f"stopped after step {step} of {options.steps}; go on with: rlcap train --resume {self.folder}"
                    )

    def _step(self, step: int, stream: Iterator[tuple[int, Batch]]) -> dict[str, int | float]:
        """One optimizer step, or as many as the algorithm makes of one rollout."""
        began = perf_counter()
        options = self.options
        # Dropout and the like draw from torch's global generator; tied to the step, a resumed run draws the same.
        torch.manual_seed(options.seed + 1_000_003 * step + 7 * self.accelerator.process_index)
        self.module.train(self.algorithm.dropout)
        rate = self.schedule.factor(step, options.steps)
        for group, base in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = base * rate
        clocks = {"time/data": 0.0, "time/rollout": 0.0, "time/update": 0.0}
        losses: list[Loss] = []
        rollouts: list[Rollout] = []
        later: list[Iterator[Rollout]] = []
        images = 0
        for part in range(options.accumulate):
            with _clock(clocks, "time/data"):
                epoch, batch = next(stream)
                batch = batch.to(self.accelerator.device)
            with _clock(clocks, "time/rollout"), self.accelerator.autocast():
                rollout = self.algorithm.act(batch, self.scorer, (options.seed, step))
            with _clock(clocks, "time/update"):
                updates = iter(self.algorithm.updates(rollout, (options.seed, step)))
                losses.append(self._descend(next(updates), last=part == options.accumulate - 1))
            rollouts.append(replace(rollout, encoded=rollout.encoded.detach()))
            later.append(updates)
            images += len(batch)
        with _clock(clocks, "time/update"):
            norm = self._apply(losses)
            for parts in zip(*later, strict=True):
                again = [self._descend(part, part is parts[-1]) for part in parts]
                norm = self._apply(again)
                losses += again
        decoded = sum(rollout.decoded for rollout in rollouts)
        images, decoded = (int(total) for total in self.processes.sum(torch.tensor([images, decoded])).tolist())
        progress = self.progress
        self.progress = replace(
            progress, step=step, images=progress.images + images, captions=progress.captions + decoded
        )
        stats = self.processes.means([rollout.stats for rollout in rollouts]) | self.processes.means(
            [loss.stats for loss in losses]
        )
        return {
            **self._position(epoch),
            **stats,
            "gradient/norm": norm,
            "learning_rate": self.rates[0] * rate,
            **clocks,
            "time/step": perf_counter() - began,
        }

    def _descend(self, rollout: Rollout, last: bool) -> Loss:
        """Add the gradients of a rollout's total loss; processes share theirs at the last part of a step."""
        with nullcontext() if last else self.accelerator.no_sync(self.module):
            loss: Loss = self.module(rollout)
            # A fixed number keeps the scale near that of a mean; _apply divides by the true count.
            self.accelerator.backward(loss.total / self.options.images_per_batch)
        return Loss(loss.total.detach(), loss.count, loss.stats)

    def _apply(self, losses: list[Loss]) -> float:
        """Take the optimizer step with the gradient of the mean over all parts and processes."""
        count = self.processes.sum(torch.stack([loss.count for loss in losses]).sum())
        factor = self.options.images_per_batch * self.accelerator.num_processes / count.clamp(min=1)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        torch._foreach_mul_(gradients, factor.to(gradients[0].device))
        limit = self.options.clip_gradients or float("inf")
        norm = self.accelerator.clip_grad_norm_(parameters, limit)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(norm)

    # --- measuring and keeping

    def _measure(self, recorder: Recorder | None) -> None:
        options = self.evaluation
        evaluation = self._evaluate(self.policy, options.validation)
        if evaluation is not None:
            numbers = {name: evaluation.value(name) for name in evaluation.scores} | dict(evaluation.statistics)
            values = {f"{options.validation}/{name}": value for name, value in numbers.items()}
            self._record(recorder, {**self._position(None), **values})
            evaluation.write(self.folder / "evaluation" / options.validation, **self._facts(options.validation))
            value = evaluation.value(options.best)
            if self.progress.best is None or value > self.progress.best:
                self.progress = replace(self.progress, best=value, best_step=self.progress.step)
        self.progress = self.processes.from_main(self.progress)

    def _evaluate(self, policy: Policy, split: str) -> Evaluation | None:
        """Measure a split, every process its share; the main process gets the result."""
        batches = self._loader(split, self.evaluation.images_per_batch, with_images=False)
        with self._bar(batches.length, f"decoding {split}", leave=False) as bar:
            evaluation = evaluate(policy, batches, self.evaluation, gather_object, bar.update)
        _report_skipped(batches, split)
        return evaluation if self.accelerator.is_main_process else None

    def _test(self) -> Evaluation | None:
        split = self.evaluation.test
        if split is None:
            return None
        policy = load_policy(str(self.folder)).to(self.accelerator.device)  # its best checkpoint
        evaluation = self._evaluate(policy, split)
        if evaluation is not None:
            place = self.folder / "evaluation" / split
            evaluation.write(place, **self._facts(split, self.progress.best_step))
            write_thumbnails(self.dataset, split, place / "images", self.evaluation.thumbnails)
        return evaluation

    def _facts(self, split: str, step: int | None = None) -> dict[str, Any]:
        step = self.progress.step if step is None else step
        return {"split": split, "step": step, "decoding": str(self.evaluation.decoding)}

    def _save(self) -> None:
        self.accelerator.wait_for_everyone()
        self._keep()
        self.accelerator.wait_for_everyone()

    def _keep(self) -> None:
        """Save without waiting for the other processes, which may have failed."""
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            state = {"optimizer": self.optimizer.state_dict(), "scaler": scaler and scaler.state_dict()}
            self.checkpoints.save(self.progress, self.algorithm, state)

    def _record(self, recorder: Recorder | None, values: Mapping[str, int | float]) -> None:
        if recorder is not None:
            recorder.write(values)
        if self.options.trackers:
            self.accelerator.log(dict(values), step=self.progress.step)

    # --- images

    def _prepare_features(self) -> None:
        if self.options.features is None:
            return
        splits = self._splits()
        images = sum(len(self.dataset.records(split)) for split in splits)
        if self.accelerator.is_main_process:
            with self._bar(images, "features", leave=False) as bar:
                features_of(
                    self.dataset,
                    splits,
                    self.policy,
                    Path(self.options.features),
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
        if options.features is not None:
            if (
                split not in self._features
            ):  # opened once: the key of the place is a digest of the encoder and the images
                self._features[split] = open_features(dataset, split, self.policy, Path(options.features))
            dataset = self._features[split]
        # Features are read faster than they would be sent here from another process.
        read_here = options.features is not None and not with_images
        return loader(
            dataset,
            split,
            self.policy.process_images,
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


@contextmanager
def _clock(clocks: dict[str, float], name: str) -> Iterator[None]:
    began = perf_counter()
    yield
    clocks[name] += perf_counter() - began


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def _latest(values: Mapping[str, int | float], progress: Progress) -> dict[str, str]:
    """What the progress bar shows beside rate and time left."""
    shown = {"reward": "reward/sampled", "loss": "loss/policy", "length": "caption/length"}
    latest = {label: f"{values[key]:.3f}" for label, key in shown.items() if key in values}
    return latest if progress.best is None else {**latest, "best": f"{progress.best:.3f}"}
