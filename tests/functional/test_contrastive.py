"""Contrastive losses by hand, against torch and transformers, and split over processes against the whole batch."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from rlcap.errors import UserError
from rlcap.functional.contrastive import (
    NO_IMAGE,
    Directions,
    Negatives,
    Objective,
    Pairs,
    SeveralPositives,
    across_processes,
    anchors,
    cosine_logits,
    described,
    draw_hard_negatives,
    info_nce,
    info_nce_sums,
    pairwise_sigmoid,
    triplet,
    triplet_sums,
)

SCALE = torch.tensor(0.7, dtype=torch.float64)
IMAGE_IDS = torch.tensor([4, 0, 2, 9, 0])  # image 0 is there twice
TEXT_IDS = torch.tensor([4, 4, 0, 2, NO_IMAGE, 2, 2, 9, NO_IMAGE, 0])


def embeddings(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pairs_of(images: Tensor, texts: Tensor) -> Pairs:
    return Pairs(images, texts, IMAGE_IDS, TEXT_IDS)


@pytest.fixture
def pairs() -> Pairs:
    return pairs_of(embeddings(5, 0), embeddings(10, 1))


# --- InfoNCE


def test_one_caption_each_is_clips_loss() -> None:
    """That of transformers' CLIP, and torch's cross-entropy in either direction; float64, so 1e-12."""
    ids = torch.arange(7)
    one = Pairs(embeddings(7, 0), embeddings(7, 1), ids, ids)
    logits = SCALE.exp() * normalize(one.images, dim=-1) @ normalize(one.texts, dim=-1).T
    for several in SeveralPositives:
        sums = info_nce_sums(one, one, SCALE, several)
        assert float(sums.image_to_text) == pytest.approx(float(cross_entropy(logits, ids, reduction="sum")), rel=1e-12)
        assert float(sums.text_to_image) == pytest.approx(
            float(cross_entropy(logits.T, ids, reduction="sum")), rel=1e-12
        )
        assert anchors(one, one) == (7.0, 7.0)
        clip = image_text_contrastive_loss(logits.T)
        assert (float(sums.image_to_text) / 7 + float(sums.text_to_image) / 7) / 2 == pytest.approx(float(clip))


def test_several_captions_by_hand() -> None:
    """Similarities log 1 ... log 4, of which the first two are the image's own."""
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64).log()
    positive = torch.tensor([[True, True, False, False]])
    masked = -(math.log(1 / (1 + 7)) + math.log(2 / (2 + 7))) / 2
    shared = -(math.log(1 / 10) + math.log(2 / 10)) / 2
    assert info_nce(logits, positive, SeveralPositives.MASKED).tolist() == pytest.approx([masked], rel=1e-12)
    assert info_nce(logits, positive, SeveralPositives.SHARED).tolist() == pytest.approx([shared], rel=1e-12)


def test_least_values_of_several_captions() -> None:
    """Three own captions far above the rest: 0 where they are nothing to one another, log 3 where they are rivals."""
    logits = torch.tensor([[50.0, 50.0, 50.0, -50.0]], dtype=torch.float64)
    positive = torch.tensor([[True, True, True, False]])
    assert info_nce(logits, positive, SeveralPositives.MASKED).item() == pytest.approx(0.0, abs=1e-12)
    assert info_nce(logits, positive, SeveralPositives.SHARED).item() == pytest.approx(math.log(3), rel=1e-12)


@pytest.mark.parametrize("several", list(SeveralPositives))
def test_rows_without_positives_or_without_negatives(several: SeveralPositives) -> None:
    logits = torch.tensor([[1.0, 2.0], [3.0, 1.0], [0.5, 2.0]], requires_grad=True)
    positive = torch.tensor([[False, False], [True, True], [True, False]])
    loss = info_nce(logits, positive, several)
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    assert loss[0] == 0
    assert slope[0].tolist() == [0.0, 0.0]
    assert slope.isfinite().all()
    if several is SeveralPositives.MASKED:
        assert loss[1] == 0
        assert slope[1].tolist() == [0.0, 0.0]


def test_own_captions_are_no_rivals() -> None:
    """However similar the image's second caption is, the loss of its first does not change; another image's counts."""
    positive = torch.tensor([[True, True, False]])
    losses = [info_nce(torch.tensor([[1.0, other, 0.0]]), positive) for other in (0.0, 5.0)]
    first = math.log(1 + math.exp(-1))
    for loss, other in zip(losses, (0.0, 5.0), strict=True):
        assert loss.item() == pytest.approx((first + math.log(1 + math.exp(-other))) / 2, rel=1e-5)


def test_hard_negatives_are_columns_of_images_alone(pairs: Pairs) -> None:
    """NegCLIP: images choose among captions and hard negatives, captions among images as if there were none."""
    images, texts, negatives = embeddings(4, 2), embeddings(4, 3), embeddings(8, 4)
    ids = torch.arange(4)
    every = Pairs(images, torch.cat([texts, negatives]), ids, torch.cat([ids, torch.full((8,), NO_IMAGE)]))
    sums = info_nce_sums(every, every, SCALE)
    image_to_text = cross_entropy(cosine_logits(images, every.texts, SCALE), ids, reduction="sum")
    text_to_image = cross_entropy(cosine_logits(texts, images, SCALE), ids, reduction="sum")
    torch.testing.assert_close(sums, Directions(image_to_text, text_to_image))
    assert anchors(every, every) == (4.0, 4.0)
    assert anchors(pairs, pairs) == (5.0, 8.0)


@pytest.mark.parametrize("several", list(SeveralPositives))
def test_gradient_is_that_of_finite_differences(several: SeveralPositives) -> None:
    def both(images: Tensor, texts: Tensor, scale: Tensor) -> Directions:
        every = pairs_of(images, texts)
        return info_nce_sums(every, every, scale, several)

    inputs = [value.clone().requires_grad_() for value in (embeddings(5, 0), embeddings(10, 1), SCALE)]
    assert torch.autograd.gradcheck(both, inputs)


def test_order_does_not_matter(pairs: Pairs) -> None:
    generator = torch.Generator().manual_seed(3)
    images, texts = torch.randperm(5, generator=generator), torch.randperm(10, generator=generator)
    shuffled = Pairs(pairs.images[images], pairs.texts[texts], IMAGE_IDS[images], TEXT_IDS[texts])
    for several in SeveralPositives:
        expected = info_nce_sums(pairs, pairs, SCALE, several)
        torch.testing.assert_close(info_nce_sums(shuffled, shuffled, SCALE, several), expected)
    expected = triplet_sums(pairs, pairs, 0.2)
    torch.testing.assert_close(triplet_sums(shuffled, shuffled, 0.2), expected)


@pytest.mark.parametrize("several", list(SeveralPositives))
def test_big_logits_do_not_overflow(several: SeveralPositives) -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], requires_grad=True)
    positive = torch.tensor([[False, True, False], [False, True, False]])
    loss = info_nce(logits, positive, several)
    (slope,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.tolist() == pytest.approx([2e4, math.log(2)], rel=1e-5)
    torch.testing.assert_close(slope, torch.tensor([[1.0, -1.0, 0.0], [0.0, -0.5, 0.5]]))


# --- processes: rows 0-1, 2 and 3-4 of the images with texts 0-2, 3-6 and 7-9


PARTS = ((slice(0, 2), slice(0, 3)), (slice(2, 3), slice(3, 7)), (slice(3, 5), slice(7, 10)))
OBJECTIVES: dict[str, Objective] = {
    "masked": partial(info_nce_sums, several=SeveralPositives.MASKED),
    "shared": partial(info_nce_sums, several=SeveralPositives.SHARED),
    "hardest": lambda own, others, scale: triplet_sums(own, others, 0.4, Negatives.HARDEST),
    "all": lambda own, others, scale: triplet_sums(own, others, 0.4, Negatives.ALL),
}
Split = Callable[[Objective, Pairs, Pairs, tuple[int, int], Tensor], Directions]


def part_of(pairs: Pairs, images: slice, texts: slice) -> Pairs:
    return Pairs(pairs.images[images], pairs.texts[texts], pairs.image_ids[images], pairs.text_ids[texts])


def weighted(sums: Directions) -> Tensor:
    return sums.image_to_text / 5 + sums.text_to_image / 8


def over_processes(objective: Objective, split: Split) -> tuple[Tensor, list[Tensor]]:
    """The sum of all processes' losses and of their gradients, each computed in a graph of its own."""
    total = torch.zeros((), dtype=torch.float64)
    slopes = [torch.zeros(5, 6).double(), torch.zeros(10, 6).double(), torch.zeros(()).double()]
    for images, texts in PARTS:
        leaves = [value.clone().requires_grad_() for value in (embeddings(5, 0), embeddings(10, 1), SCALE)]
        every = pairs_of(leaves[0], leaves[1])
        loss = weighted(split(objective, part_of(every, images, texts), every, (images.start, texts.start), leaves[2]))
        total += loss.detach()
        for slope, own in zip(slopes, torch.autograd.grad(loss, leaves, materialize_grads=True), strict=True):
            slope += own
    return total, slopes


def with_graph(
    objective: Objective, own: Pairs, every: Pairs, offsets: tuple[int, int], temperature: Tensor
) -> Directions:
    return objective(own, every, temperature)


def without_graph(
    objective: Objective, own: Pairs, every: Pairs, offsets: tuple[int, int], temperature: Tensor
) -> Directions:
    return across_processes(objective, own, every.detach(), offsets, temperature)


def naive(objective: Objective, own: Pairs, every: Pairs, offsets: tuple[int, int], temperature: Tensor) -> Directions:
    return objective(own, every.detach(), temperature)


@pytest.fixture(params=list(OBJECTIVES))
def whole(request: pytest.FixtureRequest) -> tuple[Objective, Tensor, list[Tensor]]:
    objective = OBJECTIVES[request.param]
    leaves = [value.clone().requires_grad_() for value in (embeddings(5, 0), embeddings(10, 1), SCALE)]
    every = pairs_of(leaves[0], leaves[1])
    loss = weighted(objective(every, every, leaves[2]))
    return objective, loss.detach(), list(torch.autograd.grad(loss, leaves, materialize_grads=True))


@pytest.mark.parametrize("split", [with_graph, without_graph])
def test_processes_add_up_to_the_whole_batch(whole: tuple[Objective, Tensor, list[Tensor]], split: Split) -> None:
    """Loss, gradients of all embeddings and of the temperature, whether or not the gather keeps the graph."""
    objective, loss, slopes = whole
    total, summed = over_processes(objective, split)
    torch.testing.assert_close(total, loss, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(summed, slopes, rtol=1e-10, atol=1e-12)


def test_detached_columns_alone_would_not(whole: tuple[Objective, Tensor, list[Tensor]]) -> None:
    """What the two forms are for: the same loss, but gradients that miss a text's part in other processes' rows."""
    objective, loss, slopes = whole
    total, summed = over_processes(objective, naive)
    torch.testing.assert_close(total, loss)
    assert (summed[0] - slopes[0]).abs().max() > 1e-3


# --- the sigmoid loss


def test_sigmoid_loss_by_hand_and_by_torch() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [-math.log(3), 1e4]], dtype=torch.float64)
    positive = torch.tensor([[True, False], [False, True]])
    loss = pairwise_sigmoid(logits, positive)
    # sigmoid 1/2 of a pair, 3/4 of what is none; 1/4 of what is none, 1 of a pair
    assert loss.tolist() == pytest.approx([math.log(2) + math.log(4), math.log(4 / 3)], rel=1e-12)
    every = pairs_of(embeddings(5, 0), embeddings(10, 1))
    logits = cosine_logits(every.images, every.texts, torch.tensor(10.0).double().log()) - 2
    positive = described(IMAGE_IDS, TEXT_IDS)
    expected = binary_cross_entropy_with_logits(logits, positive.double(), reduction="none").sum(dim=1)
    torch.testing.assert_close(pairwise_sigmoid(logits, positive), expected)
    assert torch.autograd.gradcheck(lambda values: pairwise_sigmoid(values, positive), logits.requires_grad_())


# --- triplets


SIMILARITIES = torch.tensor([[0.9, 0.5, 0.8, 0.75], [0.2, 0.7, 0.6, 0.5]])
POSITIVE = torch.tensor([[True, True, False, False], [False, False, True, False]])


def test_triplets_by_hand() -> None:
    """Margin 0.2; the first image has captions 0 and 1, the second has caption 2, and text 3 is of neither."""
    # pair 0.9: 0.2 - 0.9 + 0.8, + 0.75; pair 0.5: 0.2 - 0.5 + 0.8, + 0.75; pair 0.6: + 0.2, 0.7 and 0.5
    everything = [0.1 + 0.05, 0.5 + 0.45, 0.0 + 0.3 + 0.1]
    hardest = [0.1, 0.5, 0.3]
    assert triplet(SIMILARITIES, POSITIVE, 0.2, Negatives.ALL).tolist() == pytest.approx(everything, abs=1e-6)
    assert triplet(SIMILARITIES, POSITIVE, 0.2, Negatives.HARDEST).tolist() == pytest.approx(hardest, abs=1e-6)
    # captions looking for their image: 0.2 - 0.9 + 0.2, 0.2 - 0.5 + 0.7, 0.2 - 0.6 + 0.8
    captions = [0.0, 0.4, 0.4]
    for negatives in (Negatives.ALL, Negatives.HARDEST):
        assert triplet(SIMILARITIES.T, POSITIVE.T, 0.2, negatives).tolist() == pytest.approx(captions, abs=1e-6)


def test_random_negatives_are_drawn_evenly_and_never_own() -> None:
    """4,000 draws: each of a pair's negatives within 4 standard deviations of its share."""
    generator = torch.Generator().manual_seed(0)
    draws = 4000
    losses = torch.stack([triplet(SIMILARITIES, POSITIVE, 1.0, Negatives.RANDOM, generator) for _ in range(draws)])
    expected = ((0.9, (0.8, 0.75)), (0.5, (0.8, 0.75)), (0.6, (0.2, 0.7, 0.5)))
    for pair, (own, negatives) in enumerate(expected):
        share = 1 / len(negatives)
        counted = 0
        for negative in negatives:
            count = int(((losses[:, pair] - (1 - own + negative)).abs() < 1e-6).sum())
            assert abs(count - draws * share) < 4 * math.sqrt(draws * share * (1 - share))
            counted += count
        assert counted == draws
    # pairs of one image draw apart
    assert (losses[:, 0] - 0.1 != losses[:, 1] - 0.5).any()
    with pytest.raises(UserError, match="generator"):
        triplet(SIMILARITIES, POSITIVE, 0.2, Negatives.RANDOM)


@pytest.mark.parametrize("negatives", list(Negatives))
def test_triplets_without_negatives_are_0(negatives: Negatives) -> None:
    similarities = torch.tensor([[0.1, 0.2]], requires_grad=True)
    generator = torch.Generator().manual_seed(0)
    loss = triplet(similarities, torch.tensor([[True, True]]), 0.2, negatives, generator)
    (slope,) = torch.autograd.grad(loss.sum(), similarities)
    assert loss.tolist() == [0.0, 0.0]
    assert slope.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("negatives", [Negatives.ALL, Negatives.HARDEST])
def test_gradient_of_triplets(negatives: Negatives) -> None:
    def both(images: Tensor, texts: Tensor) -> Directions:
        every = pairs_of(images, texts)
        return triplet_sums(every, every, 0.3, negatives)

    inputs = [value.clone().requires_grad_() for value in (embeddings(5, 0), embeddings(10, 1))]
    assert torch.autograd.gradcheck(both, inputs)


# --- hard negatives for matching


def test_hard_negatives_are_drawn_by_similarity() -> None:
    """20,000 rows of weights 1, 2, 3, 4, the last one their own: shares 1/6, 1/3, 1/2 within 4 standard deviations."""
    rows = 20000
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).log().expand(rows, 4)
    positive = torch.tensor([[False, False, False, True]]).expand(rows, 4)
    chosen = draw_hard_negatives(logits, positive, torch.Generator().manual_seed(0))
    counts = chosen.bincount(minlength=4).tolist()
    assert counts[3] == 0
    for count, share in zip(counts[:3], (1 / 6, 1 / 3, 1 / 2), strict=True):
        assert abs(count - rows * share) < 4 * math.sqrt(rows * share * (1 - share))


def test_hard_negatives_far_below_the_own_captions_are_still_drawn() -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    own = torch.eye(2, dtype=torch.bool)
    assert draw_hard_negatives(logits, own, torch.Generator().manual_seed(0)).tolist() == [1, 0]
    with pytest.raises(UserError, match="at least 2 images"):
        draw_hard_negatives(logits, torch.tensor([[True, True], [True, False]]), torch.Generator())
