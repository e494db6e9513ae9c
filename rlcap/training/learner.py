"""One step of the loop: act, weigh, descend; over micro-batches, processes and whatever reuse of rollouts there is."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
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
from rlcap.training.timing import Clocks, peak_memory
from rlcap.types import Batch, Loss, Rollout, Sampling, UserError

PARTS = ("time/data", "time/rollout", "time/encode", "time/decode", "time/update")
ACTING = {"with_features": "time/encode", "encode": "time/encode", "generate_tokens": "time/decode"}
"""What a model does while an algorithm acts, and what that time is called."""


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
        self._ahead: list[Rollout] = []

    @property
    def ahead(self) -> bool:
        """Whether the captions of the next step are drawn already."""
        return bool(self._ahead)

    def step(
        self, step: int, batches: Iterator[Batch], rate: float, draw_ahead: bool = False
    ) -> dict[str, int | float]:
        """One step, counted from 1: what it was like, images and decoded captions of all processes included.

        Args:
            step: which.
            batches: where the micro-batches come from.
            rate: factor on the learning rate.
            draw_ahead: whether to draw the next step's captions too, before this step's rewards are waited for.
        """
        began = perf_counter()
        algorithm, processes = self.algorithm, self.processes
        key = (self.options.seed, step)
        for group, base in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = base * rate
        clocks = Clocks(self.accelerator.device, PARTS)
        drawn = self._ahead
        if not drawn:
            self.scorer.seen()  # what was scored between steps is nothing to learn from
            drawn = self._draw(step, batches, clocks)
        self._ahead = self._draw(step + 1, batches, clocks) if draw_ahead else []
        self._seed(step)
        with clocks.measure("time/rollout"):
            rollouts = list(algorithm.weigh([rollout.settled() for rollout in drawn], processes.total))
            self._tell_rewards()
            kl = self._divergence(rollouts) if self._measures_divergence(step) else {}
        with clocks.measure("time/update"):
            updates: list[dict[str, float]] = []
            for parts in algorithm.updates(rollouts, key):
                updates.append(self._update(parts, step))
                if algorithm.enough(updates[-1]):
                    break
        names = dict.fromkeys(name for update in updates for name in update)
        of_names = {name: [update[name] for update in updates if name in update] for name in names}
        learned = {name: sum(values) / len(values) for name, values in of_names.items()}
        stats = self._means([rollout.stats for rollout in rollouts], rollouts) | kl | learned
        if "time/reward" in stats:
            stats["time/reward"] *= self.options.accumulate  # a mean over the micro-batches
        algorithm.learned(stats)
        counts = torch.tensor([sum(len(rollout.batch) for rollout in rollouts), sum(r.decoded for r in rollouts)])
        peak = peak_memory(self.accelerator.device)
        images, captions = (int(count) for count in processes.sum(counts).tolist())
        return {
            "images": images,
            "captions": captions,
            **stats,
            "updates": len(updates),
            "learning_rate": self.rates[0] * rate,
            **clocks.seconds(),
            "time/step": perf_counter() - began,
            **({} if peak is None else {"memory/peak": peak}),
        }

    def _draw(self, step: int, batches: Iterator[Batch], clocks: Clocks) -> list[Rollout]:
        """The rollouts of a step's micro-batches, whose rewards may still be in the making."""
        self._seed(step)
        rollouts: list[Rollout] = []
        for _ in range(self.options.accumulate):
            with clocks.measure("time/data"):
                batch = next(batches)
            with clocks.measure("time/rollout"), clocks.measure_methods(self.algorithm.model, ACTING):
                rollouts.append(self._act(batch, (self.options.seed, step)))
        return rollouts

    def _seed(self, step: int) -> None:
        """Tie to the step what dropout and the like draw from the global generator: a resumed run draws the same."""
        torch.manual_seed(self.options.seed + 1_000_003 * step + 7 * self.accelerator.process_index)
        self.module.train(self.algorithm.dropout)

    def _tell_rewards(self) -> None:
        """Tell rewards with running statistics what those of all processes have seen in this step."""
        seen = torch.from_numpy(self.scorer.seen())
        self.scorer.learned((self.processes.sum(seen) if len(seen) else seen).cpu().numpy())

    def _measures_divergence(self, step: int) -> bool:
        every = self.options.kl_every
        return every > 0 and step % every == 0

    def _act(self, batch: Batch, key: tuple[int, ...]) -> Rollout:
        """A micro-batch's rollout, its encodings kept with their graph where learning follows at once."""
        options = self.options
        at_once = options.accumulate == 1 and not options.overlap_rewards
        keep = at_once and not self.processes.sharded and not self.algorithm.reuses
        with torch.set_grad_enabled(keep), self.sharding.autocast(), self.sharding.whole(self.module):
            batch = self.algorithm.model.with_features(batch.to(self.accelerator.device))
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
        """The algorithm to save, in the main process at least; the state of optimizer and rewards. All take part."""
        scaler = self.accelerator.scaler
        state = {
            "optimizer": self.sharding.optimizer_state(self.optimizer),
            "scaler": scaler and scaler.state_dict(),
            "rewards": self._rewards_state(),
        }
        return self.sharding.plain(self.algorithm), state

    def _rewards_state(self) -> Any:
        """What the rewards have learned, as it will be read again: with plain numbers in place of numpy's."""
        state = {} if self.scorer.reward is None else self.scorer.reward.state()
        try:
            return json.loads(json.dumps(state))
        except TypeError as error:
            raise UserError(
                f"a checkpoint cannot keep the state of a reward ({error}): give numbers, texts, lists and mappings"
            ) from error

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Give optimizer and rewards their state back."""
        self.sharding.load_optimizer_state(self.optimizer, state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.scorer.reward is not None:
            self.scorer.reward.load_state(state.get("rewards", {}))

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Give the algorithm weights back."""
        self.sharding.load(self.algorithm, weights)
