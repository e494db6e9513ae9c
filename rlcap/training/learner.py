"""One step of the loop: act, weigh, descend; over micro-batches, processes and whatever reuse of rollouts there is."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from rlcap.algorithms.base import Algorithm, Scorer
from rlcap.functional.divergences import exact_kl
from rlcap.training.options import TrainingOptions
from rlcap.training.processes import Processes
from rlcap.types import Batch, Loss, Rollout, Sampling


class Learner:
    """Lets an algorithm learn, one step at a time.

    Args:
        algorithm: what learns.
        optimizer: of its parameters.
        processes: those of the run.
        scorer: gives captions their rewards.
        options: of the run.
    """

    def __init__(
        self, algorithm: Algorithm, optimizer: Optimizer, processes: Processes, scorer: Scorer, options: TrainingOptions
    ) -> None:
        self.algorithm = algorithm
        self.processes = processes
        self.accelerator = processes.accelerator
        self.scorer = scorer
        self.options = options
        self.rates = [float(group.setdefault("base_lr", group["lr"])) for group in optimizer.param_groups]
        self.sharding = processes.sharding
        self.module, self.optimizer = self.sharding.prepare(algorithm, optimizer, options)

    def step(self, step: int, batches: Iterator[Batch], rate: float) -> dict[str, int | float]:
        """One step, counted from 1: what it was like, images and decoded captions of all processes included.

        Args:
            step: which.
            batches: where the micro-batches come from.
            rate: factor on the learning rate.
        """
        began = perf_counter()
        options, algorithm, processes = self.options, self.algorithm, self.processes
        key = (options.seed, step)
        # Dropout and the like draw from torch's global generator; tied to the step, a resumed run draws the same.
        torch.manual_seed(options.seed + 1_000_003 * step + 7 * self.accelerator.process_index)
        self.module.train(algorithm.dropout)
        for group, base in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = base * rate
        clocks = {"time/data": 0.0, "time/rollout": 0.0, "time/update": 0.0}
        rollouts: list[Rollout] = []
        for _ in range(options.accumulate):
            with _clock(clocks, "time/data"):
                batch = next(batches)
            with _clock(clocks, "time/rollout"):
                rollouts.append(self._act(batch, key))
        with _clock(clocks, "time/rollout"):
            rollouts = list(algorithm.weigh(rollouts, processes.sum))
            kl = self._divergence(rollouts) if options.kl_every and step % options.kl_every == 0 else {}
        with _clock(clocks, "time/update"):
            updates: list[dict[str, float]] = []
            for parts in algorithm.updates(rollouts, key):
                updates.append(self._update(parts, step))
                if algorithm.enough(updates[-1]):
                    break
        learned = {name: sum(update[name] for update in updates) / len(updates) for name in updates[0]}
        stats = self._means([rollout.stats for rollout in rollouts], rollouts) | kl | learned
        algorithm.learned(stats)
        counts = torch.tensor([sum(len(rollout.batch) for rollout in rollouts), sum(r.decoded for r in rollouts)])
        images, captions = (int(count) for count in processes.sum(counts).tolist())
        return {
            "images": images,
            "captions": captions,
            **stats,
            "updates": len(updates),
            "learning_rate": self.rates[0] * rate,
            **clocks,
            "time/step": perf_counter() - began,
        }

    def _act(self, batch: Batch, key: tuple[int, ...]) -> Rollout:
        """A micro-batch's rollout, its encodings kept with their graph where learning follows at once."""
        keep = self.options.accumulate == 1 and not self.processes.sharded and not self.algorithm.reuses
        with torch.set_grad_enabled(keep), self.sharding.autocast(), self.sharding.whole(self.module):
            batch = self.algorithm.policy.with_features(batch.to(self.accelerator.device))
            rollout = self.algorithm.act(batch, self.scorer, key)
        return rollout if keep else replace(rollout, encoded=None)

    def _divergence(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """How far the policy is from where it started: nats per sampled caption."""
        algorithm, sampling = self.algorithm, Sampling()
        if algorithm.reference is None:
            return {}
        nats: list[dict[str, Tensor | float]] = []
        with torch.no_grad(), self.sharding.autocast(), self.sharding.whole(self.module):
            for rollout in rollouts:
                encoded = algorithm.encode(rollout).repeat(rollout.captions_per_image)
                policy = algorithm.policy.predict(encoded, rollout.captions, sampling).log_probabilities
                reference = algorithm.reference.log_probabilities(rollout.batch, rollout.captions, sampling)
                nats.append({"policy/kl": exact_kl(policy, reference).sum() / len(rollout.captions)})
        return self._means(nats, rollouts)

    def _means(self, stats: Sequence[Mapping[str, Tensor | float]], rollouts: Sequence[Rollout]) -> dict[str, float]:
        """The means over all captions of all processes, given those over each rollout's captions."""
        captions = [dict.fromkeys(stats[0], float(len(rollout.captions))) for rollout in rollouts]
        return self.processes.means(stats, captions)

    def _update(self, parts: Sequence[Rollout], step: int) -> dict[str, float]:
        """One optimizer step along the gradient of the mean loss over all parts and processes; its statistics."""
        stats = self._descend(parts)
        for parameter in self.algorithm.resting(step):
            parameter.grad = None
        norm = self.sharding.step(self.optimizer, self.options.clip_gradients)
        counts = []
        for part, each in zip(parts, stats, strict=True):
            tokens = float(part.captions.mask.sum())
            counts.append(dict.fromkeys(each, tokens) | dict(self.algorithm.counts(part)))
        return {**self.processes.means(stats, counts), "gradient/norm": norm}

    def _descend(self, parts: Sequence[Rollout]) -> list[Mapping[str, Tensor]]:
        """Add up the gradients of the parts' loss; processes share theirs at the last part."""
        units = self._units(parts)
        every: list[Mapping[str, Tensor]] = []
        for number, part in enumerate(parts, start=1):
            last = number == len(parts)
            with nullcontext() if last else self.sharding.accumulating(self.module):
                with self.sharding.autocast():
                    totals, stats = self.module(part)
                # Wrapped modules average the gradients of the processes; the mean is over the units of all of them.
                self.sharding.backward(Loss(totals).mean(units) * self.accelerator.num_processes, last)
            every.append(stats)
        return every

    def _units(self, parts: Sequence[Rollout]) -> dict[str, float]:
        """How many units each total is a sum over, in all parts and processes."""
        each = [self.algorithm.units(part) for part in parts]
        names = list(each[0])
        units = torch.tensor([[part[name] for name in names] for part in each])
        return dict(zip(names, self.processes.sum(units.sum(dim=0)).tolist(), strict=True))  # over parts

    # --- keeping

    def state(self) -> tuple[Algorithm | None, dict[str, Any]]:
        """The algorithm to save, in the main process at least, and the optimizer's state; all processes take part."""
        scaler = self.accelerator.scaler
        state = {
            "optimizer": self.sharding.optimizer_state(self.optimizer),
            "scaler": scaler and scaler.state_dict(),
        }
        return self.sharding.plain(self.algorithm), state

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Give the optimizer its state back."""
        self.sharding.load_optimizer_state(self.optimizer, state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Give the algorithm weights back."""
        self.sharding.load(self.algorithm, weights)


@contextmanager
def _clock(clocks: dict[str, float], name: str) -> Iterator[None]:
    began = perf_counter()
    yield
    clocks[name] += perf_counter() - began
