"""Two words and three tokens make 15 captions: expectations over all of them, instead of estimates from some.

An outcome is what may be drawn for one image in a step. ``Outcomes`` holds all of them as one rollout, whose "images"
are copies of the batch's, one for each outcome.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor, nn

from rewards.composite import Term, WeightedSum
from rewards.function import FunctionReward
from rlcap.algorithms.base import Algorithm, Scorer, Total
from rlcap.algorithms.baselines import NoBaseline
from rlcap.algorithms.critics import Critic
from rlcap.algorithms.policy_gradient import Foreseen
from rlcap.algorithms.reinforce import Reinforce
from rlcap.functional.masking import until_eos
from rlcap.policies.backbone_decoder import DecoderSettings
from rlcap.policies.base import Decoding, Policy
from rlcap.policies.tiny import TinyViT
from rlcap.types import Batch, Captions, Rollout, Sampling

LENGTH = 3
PLAIN = Sampling()
Function = Callable[[list[str]], list[float]]


def two_word_policy() -> TinyViT:
    """A policy of two words whose captions can all be written down, with another greedy caption for each image."""
    torch.manual_seed(24)
    tiny = TinyViT(32, 16, encoder_width=8, encoder_layers=1, heads=2, decoder=DecoderSettings(16, 1, 2, 0.0, 1, 8))
    tiny.prepare([["red", "blue"]])
    with torch.no_grad():  # far from uniform
        for parameter in tiny.parameters():
            parameter.mul_(3)
    return tiny.eval()


def three_images() -> Batch:
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    references = (("red blue", "red"), ("blue", "blue blue"), ("red red blue", "blue"))
    return Batch(("x", "y", "z"), references, pixel_values=pixels)


@torch.no_grad()
def nudge(policy: Policy, size: float, seed: int = 3) -> None:
    """Move every weight a little, as an optimizer step does."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in policy.parameters():
        parameter.add_(size * parameter.square().mean().sqrt() * torch.randn(parameter.shape, generator=generator))


def reds(captions: list[str]) -> list[float]:
    """A reward that is no function of length alone."""
    return [caption.split().count("red") - 0.3 * len(caption.split()) for caption in captions]


def lifted(captions: list[str]) -> list[float]:
    """The same far from 0, where a baseline is needed most."""
    return [reward + 10 for reward in reds(captions)]


def constant(captions: list[str]) -> list[float]:
    return [0.7] * len(captions)


def scorer(policy: Policy, function: Function = reds) -> Scorer:
    return Scorer(policy, WeightedSum({"reds": Term(FunctionReward(function))}))


alone = Total()
"""A run of one process."""


def every_caption(policy) -> Captions:
    """All captions of at most three tokens."""
    words = [policy.vocabulary.id("red"), policy.vocabulary.id("blue")]
    rows = []
    for length in range(LENGTH + 1):
        for chosen in product(words, repeat=length):
            row = [*chosen, policy.eos_id][:LENGTH]
            rows.append(row + [policy.pad_id] * (LENGTH - len(row)))
    token_ids = torch.tensor(sorted(set(map(tuple, rows))))
    return Captions(token_ids, until_eos(token_ids, policy.eos_id) & (token_ids != policy.pad_id))


@dataclass(frozen=True)
class Outcomes:
    """All outcomes of all images, image-major.

    Attributes:
        rollout: one "image" per outcome, with its samples; scored, not weighed.
        probability: of each outcome given its image.
        images: how many images there are.
    """

    rollout: Rollout
    probability: Tensor
    images: int

    def __len__(self) -> int:
        return len(self.probability)

    def one(self, number: int) -> Rollout:
        return self.rollout.select(torch.tensor([number]))

    def expectation(self, values: Tensor) -> Tensor:
        """Mean over images of the expected value, given the value of each outcome."""
        return torch.tensordot(self.probability.to(values.dtype), values, dims=1) / self.images

    def total_variance(self, values: Tensor) -> float:
        """Trace of the covariance of the mean over the images' independent outcomes, given each outcome's vector."""
        values = values.double().reshape(self.images, -1, values.shape[-1])
        probability = self.probability.double().reshape(self.images, -1, 1)
        mean = (probability * values).sum(dim=1)
        square = (probability * values.square()).sum(dim=(1, 2))
        return float((square - mean.square().sum(dim=1)).sum()) / self.images**2


@torch.no_grad()
def outcomes(policy, batch: Batch, samples: int = 1, sampling: Sampling = PLAIN, function: Function = reds) -> Outcomes:
    """What may happen when captions are drawn for each image, with rewards, greedy rewards and log-probabilities."""
    single, images = every_caption(policy), len(batch)
    choice = torch.tensor(list(product(range(len(single)), repeat=samples)))
    rows = torch.arange(images).repeat_interleave(len(choice))
    captions = single.select(choice.flatten().repeat(images))
    copies = batch.select(rows)
    logprobs = policy.logprobs(policy.encode(copies).repeat(samples), captions, sampling)
    greedy = policy.caption(policy.encode(batch), Decoding(max_length=LENGTH))
    rollout = Rollout(
        copies,
        Captions(captions.token_ids, captions.mask, logprobs),
        rewards=torch.tensor(function(policy.detokenize(captions))).reshape(-1, samples),
        greedy=torch.tensor(function(policy.detokenize(greedy)))[rows],
    )
    return Outcomes(rollout, logprobs.sum(dim=1).reshape(-1, samples).sum(dim=1).exp(), images)


def gradient(value: Tensor, module: nn.Module) -> Tensor:
    """Of one number, with respect to all parameters of the policy, or a critic, that learn, as one vector."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    parts = torch.autograd.grad(value, parameters, materialize_grads=True, allow_unused=True)
    return torch.cat([part.flatten() for part in parts])


def every_logprob(policy, batch: Batch, sampling: Sampling = PLAIN) -> tuple[Tensor, Captions]:
    """Log-probability of each token of all captions of each image, image-major; from the logits, by torch alone."""
    single, images = every_caption(policy), len(batch)
    captions = single.select(torch.arange(len(single)).repeat(images))
    whole = Captions(captions.token_ids, torch.ones_like(captions.mask))
    logits, _ = policy.score_tokens(policy.encode(batch).repeat(len(single)), whole)
    never = torch.zeros(logits.shape[-1]).index_fill(0, torch.tensor(policy.suppressed), -torch.inf)
    each = torch.log_softmax((logits + never) / sampling.temperature, dim=-1).reshape(*captions.mask.shape, -1)
    chosen = captions.token_ids.masked_fill(~captions.mask, policy.eos_id)[..., None]
    return torch.where(captions.mask, each.gather(-1, chosen)[..., 0], 0.0), captions


def exact_gradient(
    policy, batch: Batch, sampling: Sampling = PLAIN, value: Callable[[Tensor, Captions], Tensor] | None = None
) -> Tensor:
    """Of the mean over images of sum over captions of probability times reward, through the probabilities.

    Args:
        policy: whose captions they are.
        batch: the images.
        sampling: the distribution that the probabilities are of; its temperature alone.
        value: of each caption of each image, given its token log-probabilities; ``reds`` if not said.
    """
    logprobs, captions = every_logprob(policy, batch, sampling)
    rewards = torch.tensor(reds(policy.detokenize(captions))) if value is None else value(logprobs, captions)
    return gradient((logprobs.sum(dim=1).exp() * rewards).sum() / len(batch), policy)


def step_gradient(algorithm: Algorithm, rollout: Rollout) -> Tensor:
    """Of the loss of a weighed rollout that is a whole step."""
    return gradient(algorithm.loss(rollout).mean(algorithm.units(rollout)), algorithm.policy)


def each_gradient(algorithm: Algorithm, drawn: Outcomes) -> Tensor:
    """Of each outcome's loss, as if it were a whole step: [outcomes, parameters]."""
    return torch.stack(
        [
            step_gradient(algorithm, *algorithm.weigh([drawn.one(number)], alone))  # a step of one rollout
            for number in range(len(drawn))
        ]
    )


def expected_gradient(algorithm: Algorithm, steps: Sequence[Sequence[Rollout]], probability: Tensor) -> Tensor:
    """Of the loss of all steps there may be, each made of one or several rollouts, weighed and given its probability.

    One backward serves all: an advantage times a probability is what the loss would be so often. Captions are averaged.
    A single step may hold many outcomes for an algorithm to which images are strangers; then each outcome has its own
    probability, times how many there are.
    """
    parts = []
    for step, likely in zip(steps, probability.reshape(len(steps), -1), strict=True):
        captions = sum(len(rollout.captions) for rollout in step)
        for rollout in algorithm.weigh(step, alone):
            assert rollout.advantages is not None
            often = likely.repeat_interleave(len(rollout.captions) // len(likely))[:, None]
            parts.append(replace(rollout, advantages=rollout.advantages * often / captions))
    return gradient(algorithm.loss(joined(parts)).mean({"policy": 1.0, "value": 1.0}), algorithm.policy)


def joined(parts: Sequence[Rollout]) -> Rollout:
    """Several rollouts of equally many captions per image as one."""

    def cat(tensors: list[Tensor | None]) -> Tensor | None:
        return None if tensors[0] is None else torch.cat([tensor for tensor in tensors if tensor is not None])

    batch = Batch(
        tuple(name for part in parts for name in part.batch.image_ids),
        tuple(references for part in parts for references in part.batch.references),
        pixel_values=cat([part.batch.pixel_values for part in parts]),
    )
    token_ids, mask = cat([part.captions.token_ids for part in parts]), cat([part.captions.mask for part in parts])
    assert token_ids is not None
    assert mask is not None
    tensors = ("rewards", "greedy", "advantages", "reference_logprobs", "token_rewards", "values", "returns")
    return Rollout(
        batch,
        Captions(token_ids, mask, cat([part.captions.logprobs for part in parts])),
        **{name: cat([getattr(part, name) for part in parts]) for name in tensors},
    )


def score_functions(policy, batch: Batch, sampling: Sampling = PLAIN) -> Tensor:
    """Gradient of each caption's log-probability: [images x captions, parameters], the order of ``outcomes``."""
    unit = outcomes(policy, batch, sampling=sampling, function=lambda captions: [1.0] * len(captions))
    return -each_gradient(Reinforce(policy, NoBaseline(), 1, LENGTH, sampling), unit)


class PerfectCritic(Critic):
    """Values every prefix by the expected reward of the captions that it begins, under the policy as it is now.

    Args:
        drawn: all captions of each image, one sample each.
    """

    def __init__(self, drawn: Outcomes) -> None:
        super().__init__()
        captions, rewards = drawn.rollout.captions, drawn.rollout.rewards
        assert rewards is not None
        reward: dict[tuple[str, tuple[int, ...]], float] = defaultdict(float)
        likely: dict[tuple[str, tuple[int, ...]], float] = defaultdict(float)
        for image_id, tokens, probability, gained in zip(
            drawn.rollout.batch.image_ids,
            captions.token_ids.tolist(),
            drawn.probability.tolist(),
            rewards[:, 0].tolist(),
            strict=True,
        ):
            for position in range(LENGTH):
                reward[image_id, tuple(tokens[:position])] += probability * gained
                likely[image_id, tuple(tokens[:position])] += probability
        self.number = {prefix: number for number, prefix in enumerate(reward)}
        self.values = nn.Parameter(torch.tensor([reward[prefix] / likely[prefix] for prefix in reward]))

    def forward(self, rollout: Rollout, foreseen: Foreseen) -> Tensor:
        each = rollout.captions_per_image
        rows = rollout.captions.token_ids.tolist()
        names = [image_id for image_id in rollout.batch.image_ids for _ in range(each)]
        prefixes = [
            [self.number[image_id, tuple(row[:position])] for position in range(LENGTH)]
            for image_id, row in zip(names, rows, strict=True)
        ]
        return self.values[torch.tensor(prefixes)]


def assert_same_gradient(estimated: Tensor, exact: Tensor) -> None:
    """Every component within 0.01 %, or 0.001 % of the largest; float32 rounding alone is a thirtieth of that."""
    largest = float(exact.abs().max())
    assert largest > 1e-3, "a gradient of 0 proves nothing"
    torch.testing.assert_close(estimated, exact, rtol=1e-4, atol=1e-5 * largest)
