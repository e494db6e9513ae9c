"""RLOO and GRPO against TRL's own trainers, run without their models: the same captions, log-probabilities and rewards.

TRL's code is called as it is, from finished completions to advantages and on to the loss. Its trainers are made without
their constructors, which would load a chat model; generation, rewards and log-probabilities, the three things that a
model is needed for, are the tiny policy's.
"""

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from enumeration import LENGTH, PLAIN, alone, assert_same_gradient, gradient, nudge, scorer
from torch import Tensor

from rlcap.algorithms.grpo import GRPO
from rlcap.algorithms.policy_gradient import KLPenalty, Objective, PolicyGradient
from rlcap.algorithms.rloo import RLOO
from rlcap.functional.divergences import Estimator
from rlcap.functional.losses import Normalization
from rlcap.policies.reference import Reference
from rlcap.policies.tiny import TinyViT
from rlcap.types import Batch, Captions, Rollout

SAMPLES = 4
START = 1  # the one token of every prompt


class Stand:
    """What TRL's trainers ask a model for."""

    def stand_on(self, policy: TinyViT, rollout: Rollout, reference: Reference | None, beta: float) -> None:
        self.policy, self.rollout = policy, rollout
        self.model = SimpleNamespace(training=False, is_gradient_checkpointing=False)
        self.ref_model = None if reference is None else reference
        self.beta = beta
        self.accelerator = Accelerator(cpu=True)
        self.args = SimpleNamespace(
            per_device_eval_batch_size=len(rollout.captions),
            gradient_checkpointing_kwargs=None,
            steps_per_generation=2,  # so that GRPO keeps the log-probabilities that completions were drawn with
            gradient_accumulation_steps=1,
            delta=None,
            use_bias_correction_kl=False,
        )
        self.processing_class = None
        self._tokenizer = SimpleNamespace(pad_token_id=policy.pad_id)
        self._metrics = {"eval": defaultdict(list)}
        self._logs = defaultdict(list, rewards=defaultdict(list), extra=defaultdict(list))
        self._pending_extra_logs, self._pending_metrics = defaultdict(list), defaultdict(list)
        self.reward_func_names, self.reward_funcs = ["reds"], [None]
        self.reward_weights = torch.ones(1)
        self.num_generations = self.num_generations_eval = SAMPLES
        self.epsilon_low = self.epsilon_high = 0.2
        for name in ("aux_loss_enabled", "mask_truncated_completions", "use_vllm", "normalize_advantages"):
            setattr(self, name, False)
        for name in ("tools", "environments", "environment_factories", "reward_clip_range", "pad_to_multiple_of"):
            setattr(self, name, None)
        # GRPO alone
        self.loss_type, self.importance_sampling_level = "grpo", "token"
        self.scale_rewards, self.multi_objective_aggregation = "group", "sum_then_normalize"
        self.top_entropy_quantile, self.off_policy_mask_threshold = 1.0, None
        self.num_iterations, self._entropy_bonus_enabled = 1, False
        self.vllm_importance_sampling_correction = False

    def tokens(self) -> list[list[int]]:
        captions = self.rollout.captions
        return [row[mask].tolist() for row, mask in zip(captions.token_ids, captions.mask, strict=True)]

    def _calculate_rewards(self, *_: object) -> Tensor:
        return self.rollout.rewards.reshape(-1, 1)

    def _get_per_token_logps_and_entropies(
        self, model: object, ids: Tensor, attention: Tensor, keep: int, *_: object, **__: object
    ) -> tuple[Tensor, Tensor, None]:
        captions = Captions(ids[:, -keep:], attention[:, -keep:].bool())
        if isinstance(model, Reference):
            logprobs = model.logprobs(self.rollout.batch, captions, PLAIN)
        else:
            logprobs = self.policy.logprobs(self.policy.encode(self.rollout.batch).repeat(SAMPLES), captions, PLAIN)
        return logprobs, torch.zeros_like(logprobs), None

    def inputs(self) -> dict[str, Tensor]:
        return self._generate_and_score_completions([{"prompt": "caption this"}] * len(self.rollout.captions))


def rloo_trainer() -> Stand:
    from trl.trainer.rloo_trainer import RLOOTrainer

    class Trainer(Stand, RLOOTrainer):
        def _generate(self, prompts: list[str]) -> tuple[list[list[int]], list[list[int]], list[str]]:
            return [[START]] * len(prompts), self.tokens(), [""] * len(prompts)

    return object.__new__(Trainer)


def grpo_trainer() -> Stand:
    from trl.trainer.grpo_trainer import GRPOTrainer

    class Trainer(Stand, GRPOTrainer):
        def _generate(self, prompts: list[str]) -> tuple[object, ...]:
            return [[START]] * len(prompts), self.tokens(), None, [""] * len(prompts), None, {}, None, None

    return object.__new__(Trainer)


def drawn(algorithm: PolicyGradient, batch: Batch) -> Rollout:
    rollout = algorithm.act(batch, scorer(algorithm.policy), (0, 1)).settled()
    assert rollout.captions.token_ids.shape[1] == LENGTH
    assert len(rollout.captions.mask.sum(dim=1).unique()) > 1, "captions of several lengths"
    return replace(rollout, encoded=None)


def assert_same(algorithm: PolicyGradient, trainer: Stand, rollout: Rollout, clipped: float) -> None:
    """Advantages, then loss and gradient where nothing has moved, then after a move that clips some."""
    inputs = trainer.inputs()
    (weighed,) = algorithm.weigh([rollout], alone)
    torch.testing.assert_close(weighed.advantages[:, 0], inputs["advantages"], rtol=1e-5, atol=1e-6)
    assert inputs["advantages"].abs().max() > 0.1
    policy = algorithm.policy
    for move in (0.0, 0.4):
        nudge(policy, move, seed=8)
        loss = algorithm.loss(weighed)
        ours, theirs = loss.mean(algorithm.units(weighed)), trainer._compute_loss(trainer.model, inputs)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
        assert_same_gradient(gradient(ours, policy), gradient(theirs, policy))
    assert trainer._metrics["eval"]["clip_ratio/region_mean"][0] == 0
    assert trainer._metrics["eval"]["clip_ratio/region_mean"][1] > clipped, "nothing was clipped: no test of it"


@pytest.mark.parametrize("beta", [0.0, 0.3], ids=["no_penalty", "penalty"])
def test_rloo_is_that_of_trl(policy: TinyViT, batch: Batch, beta: float) -> None:
    """TRL takes k1, summed over the caption, off the reward before siblings are compared."""
    objective = Objective(kl=KLPenalty(reward=beta, estimator=Estimator.K1))
    algorithm = RLOO(policy, SAMPLES, LENGTH, objective=objective)
    algorithm.reference = Reference(policy)
    nudge(algorithm.reference.policy, 0.3)
    rollout = drawn(algorithm, batch)
    trainer = rloo_trainer()
    trainer.stand_on(policy, rollout, algorithm.reference, beta)
    assert_same(algorithm, trainer, rollout, clipped=0.1)


@pytest.mark.parametrize("beta", [0.0, 0.3], ids=["no_penalty", "penalty"])
def test_grpo_is_that_of_trl(policy: TinyViT, batch: Batch, beta: float) -> None:
    """TRL's loss type "grpo": each caption's tokens averaged, then the captions, with k3 in the loss."""
    objective = Objective(Normalization.CAPTION, kl=KLPenalty(loss=beta, estimator=Estimator.K3))
    algorithm = GRPO(policy, SAMPLES, LENGTH, objective=objective)
    algorithm.reference = Reference(policy)
    nudge(algorithm.reference.policy, 0.3)
    rollout = drawn(algorithm, batch)
    trainer = grpo_trainer()
    trainer.stand_on(policy, rollout, algorithm.reference, beta)
    assert_same(algorithm, trainer, rollout, clipped=0.02)


def test_grpo_of_equal_rewards_learns_nothing(policy: TinyViT, batch: Batch) -> None:
    algorithm = GRPO(policy, SAMPLES, LENGTH)
    rollout = replace(drawn(algorithm, batch), rewards=torch.full((3, SAMPLES), 0.7))
    (weighed,) = algorithm.weigh([rollout], alone)
    trainer = grpo_trainer()
    trainer.stand_on(policy, rollout, None, 0.0)
    torch.testing.assert_close(weighed.advantages[:, 0], trainer.inputs()["advantages"], rtol=0, atol=2e-3)
    assert weighed.advantages.abs().max() < 2e-3  # rounding over 1e-4
