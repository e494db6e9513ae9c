"""Learning more than once from a rollout: every image once an epoch, whatever the split."""

from collections import Counter

import pytest
import torch
from enumeration import LENGTH, alone, scorer

from rlcap.algorithms.grpo import GRPO
from rlcap.algorithms.policy_gradient import PolicyGradient
from rlcap.algorithms.reuse import Reuse
from rlcap.errors import UserError
from rlcap.policies.tiny import TinyViT
from rlcap.types import Batch, Captions, Rollout


def rollouts(sizes: list[int]) -> list[Rollout]:
    """Micro-batches of so many images, two captions each, everything numbered by the image."""
    made, first = [], 0
    for size in sizes:
        numbers = torch.arange(first, first + size)
        captions = numbers.repeat_interleave(2)
        made.append(
            Rollout(
                Batch(tuple(map(str, numbers.tolist())), ((),) * size, pixel_values=torch.zeros(size, 3, 2, 2)),
                Captions(captions[:, None], torch.ones(2 * size, 1, dtype=torch.bool), -captions[:, None].float()),
                rewards=captions.reshape(size, 2).float(),
                advantages=captions[:, None].float(),
            )
        )
        first += size
    return made


def images(update: list[Rollout]) -> list[int]:
    return [int(name) for part in update for name in part.batch.image_ids]


@pytest.mark.parametrize("sizes", [[8], [4, 4], [2, 2, 2, 2], [1] * 8], ids=["1x8", "2x4", "4x2", "8x1"])
@pytest.mark.parametrize("minibatches", [1, 2, 4, 8])
def test_every_image_once_an_epoch_and_the_same_split_for_any_micro_batches(sizes: list[int], minibatches: int) -> None:
    reuse = Reuse(epochs=3, minibatches=minibatches)
    updates = [images(list(update)) for update in reuse.updates(rollouts(sizes), (5, 7))]
    assert len(updates) == 3 * minibatches
    for epoch in range(3):
        seen = updates[epoch * minibatches : (epoch + 1) * minibatches]
        assert sorted(image for update in seen for image in update) == list(range(8))
        assert all(update == sorted(update) and len(update) == 8 // minibatches for update in seen)
    whole = [images(list(update)) for update in reuse.updates(rollouts([8]), (5, 7))]
    assert updates == whole


@pytest.mark.parametrize("minibatches", [2, 4])
def test_two_processes_split_as_one(minibatches: int) -> None:
    """The loader deals images in turn: of 8, one process holds 0, 2, 4, 6 and the other 1, 3, 5, 7."""
    reuse = Reuse(epochs=2, minibatches=minibatches)
    whole = [images(list(update)) for update in reuse.updates(rollouts([8]), (5, 7))]
    shares = []
    for rank in (0, 1):
        (all_images,) = rollouts([8])
        share = all_images.select(torch.arange(rank, 8, 2))
        shares.append([images(list(update)) for update in reuse.updates([share], (5, 7))])
    assert [sorted(one + other) for one, other in zip(*shares, strict=True)] == whole


def test_order_of_minibatches_differs_between_epochs_and_keys() -> None:
    reuse = Reuse(epochs=8, minibatches=4)
    orders = {
        key: tuple(images(list(update))[0] for update in reuse.updates(rollouts([8]), key)) for key in ((0, 1), (0, 2))
    }
    assert orders[0, 1] != orders[0, 2]
    epochs = {orders[0, 1][first : first + 4] for first in range(0, 32, 4)}
    assert len(epochs) > 1
    assert Counter(orders[0, 1]) == dict.fromkeys((0, 2, 4, 6), 8)


def test_captions_stay_with_their_images() -> None:
    for update in Reuse(minibatches=4).updates(rollouts([4, 4]), (0, 0)):
        for part in update:
            numbers = torch.tensor([int(name) for name in part.batch.image_ids])
            assert part.captions.token_ids[:, 0].tolist() == numbers.repeat_interleave(2).tolist()
            assert part.captions.logprobs[:, 0].tolist() == (-numbers.repeat_interleave(2)).tolist()
            assert part.rewards[:, 0].tolist() == numbers.tolist()
            assert part.advantages[:, 0].tolist() == numbers.repeat_interleave(2).tolist()


def test_uneven_micro_batches_are_cut_as_evenly_as_they_can_be() -> None:
    updates = [images(list(update)) for update in Reuse(minibatches=2).updates(rollouts([5]), (0, 0))]
    assert sorted(map(tuple, updates)) == [(0, 1, 2), (3, 4)]


def test_used_once_the_rollouts_are_learned_from_as_they_are() -> None:
    """With the encodings they have kept."""
    made = rollouts([2, 2])
    (update,) = Reuse().updates(made, (0, 0))
    assert update is made


@pytest.mark.parametrize(
    ("sizes", "minibatches", "message"),
    [
        ([3, 3], 3, "3 minibatches cannot be made of 2 micro-batches of 3 images"),
        ([4, 4, 4, 4], 3, "3 minibatches cannot be made of 4 micro-batches of 4 images"),
        ([4], 8, "8 minibatches cannot be made of 1 micro-batches of 4 images"),
        ([4, 1], 4, "4 minibatches cannot be made of 2 micro-batches of 1 images"),
    ],
    ids=["3_of_2", "3_of_4", "too_many", "too_small"],
)
def test_impossible_splits_are_said_in_one_line(sizes: list[int], minibatches: int, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        list(Reuse(minibatches=minibatches).updates(rollouts(sizes), (0, 0)))
    assert "training.accumulate" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_mistakes_are_said() -> None:
    with pytest.raises(UserError, match="got 0 and 1"):
        Reuse(epochs=0)
    with pytest.raises(UserError, match="got 1 and 0"):
        Reuse(minibatches=0)
    with pytest.raises(UserError, match=r"target_kl must be above 0 nats, got 0\.0"):
        Reuse(target_kl=0.0)


def test_minibatches_add_up_to_the_gradient_of_the_whole(policy: TinyViT, batch: Batch) -> None:
    """Each minibatch's loss is a sum over its captions: before anything moves the sums add up."""
    whole: PolicyGradient = GRPO(policy, 2, LENGTH)
    (rollout,) = whole.weigh([whole.act(batch, scorer(policy), (0, 1)).settled()], alone)
    total = whole.loss(rollout).totals["policy"]
    parts = [part for update in Reuse(minibatches=3).updates([rollout], (0, 1)) for part in update]
    assert [len(part.batch) for part in parts] == [1, 1, 1]
    torch.testing.assert_close(sum(whole.loss(part).totals["policy"] for part in parts), total, rtol=1e-5, atol=1e-6)
