"""The settings of a training run."""

from dataclasses import dataclass
from typing import Literal

from rlcap.training.guard import Guard
from rlcap.types import UserError


@dataclass(frozen=True)
class TrainingOptions:
    """How long, how much at once, how often.

    Attributes:
        steps: optimizer steps (rollouts) in all.
        images_per_batch: images a process handles at once.
        accumulate: batches per step; their gradients are averaged as if they were one batch. With more than one, an
            image encoder that learns runs twice per image, so that no batch's activations wait for the others.
        clip_gradients: the largest norm of the gradient; longer ones are scaled down. 0 switches it off.
        precision: ``bf16`` and ``fp16`` compute in mixed precision.
        seed: of the order of images, samples, dropout and fresh weights.
        workers: processes that read images.
        on_bad_image: ``stop`` at an image that cannot be read, or ``skip`` and report it; a training batch without any
            readable image stops the run all the same.
        evaluate_every: steps between measurements on the validation split; 0 measures at the end only.
        checkpoint_every: steps between checkpoints; 0 keeps one at the end only.
        keep_checkpoints: the latest so many are kept, besides the best.
        log_every: steps between lines of metrics.jsonl.
        kl_every: steps between measurements of the divergence from the policy the run started from; 0 switches them
            off, and with them the copy that is kept of it.
        gradient_samples: rollouts of the same images by which the variance of the gradient is measured whenever the
            validation split is; 0 switches it off.
        guard: what to do when the metric on the validation split collapses; None goes on.
        features: where the features of a frozen encoder are kept, computed once per image: a folder, which runs may
            share, or ``temporary`` for one in the run folder that is removed when the run ends or is interrupted. None
            computes them at every step. They take images x regions x width x 2 bytes of disk, in half precision (8,000
            photos of 197 regions and width 768: 2.4 GB), and no memory but what the system spares for files.
        freeze: names or patterns of parameters and modules of the policy that do not learn, such as ``encoder`` or
            ``*.bias``; compared with whole names, ``*`` stands for any characters. Features are kept only of an encoder
            that the policy's own settings freeze.
        gradient_checkpointing: compute activations again in the backward pass instead of keeping them, block by block:
            less memory, about a third more time for learning, none for decoding.
        overlap_rewards: score a step's captions while the next step's are decoded, for rewards that score in the
            background. Learning is then one update late: captions come from the policy before the latest update, which
            the ratio of PPO and GRPO accounts for and a plain policy gradient ignores (Noukhovitch et al. 2024). Not
            across a measurement or a checkpoint, so that a run resumes exactly from one that was due; stopped by hand
            in between, it goes on with captions drawn afresh.
        trackers: where accelerate logs besides, such as ``tensorboard`` or ``wandb``.
        tracker_samples: captions that ``tensorboard`` and ``wandb`` show with their images at every measurement, always
            of the same images; 0 shows none.
    """

    steps: int = 1000
    images_per_batch: int = 32
    accumulate: int = 1
    clip_gradients: float = 1.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    seed: int = 0
    workers: int = 2
    on_bad_image: Literal["stop", "skip"] = "stop"
    evaluate_every: int = 0
    checkpoint_every: int = 0
    keep_checkpoints: int = 1
    log_every: int = 1
    kl_every: int = 10
    gradient_samples: int = 0
    guard: Guard | None = None
    features: str | None = None
    freeze: tuple[str, ...] = ()
    gradient_checkpointing: bool = False
    overlap_rewards: bool = False
    trackers: tuple[str, ...] = ()
    tracker_samples: int = 8

    def __post_init__(self) -> None:
        for name in ("steps", "images_per_batch", "accumulate", "keep_checkpoints", "log_every"):
            if getattr(self, name) < 1:
                raise UserError(f"training.{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            *("clip_gradients", "workers", "evaluate_every", "checkpoint_every", "kl_every", "gradient_samples"),
            "tracker_samples",
        ):
            if getattr(self, name) < 0:
                raise UserError(f"training.{name} must be 0 (off) or more, got {getattr(self, name)}")
        if self.gradient_samples == 1:
            raise UserError("training.gradient_samples must be 0 (off) or at least 2: one gradient has no variance")
