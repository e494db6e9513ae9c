"""How well images and captions find each other among all of a split, by the embeddings of a dual encoder.

The standard protocol (Karpathy and Li 2015; Faghri et al. 2018): every reference caption of every image is searched
among; recall@k is the share of images with one of their captions among the k most similar, and of captions with their
image there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rewards.base import Signature
from rewards.metrics import Summary
from rlcap.evaluation.evaluate import Evaluation, Gather
from rlcap.evaluation.judging import PEOPLE, Judging
from rlcap.evaluation.retrieval import RECALLED, Ranks, embedding_ranks
from rlcap.models import Model
from rlcap.reward_models.dual_encoder import DualEncoder
from rlcap.types import Batch

MEAN_RECALL = "retrieval/mean_recall"
RECALLS = [f"retrieval/{way}/recall@{top}" for way in ("image_to_text", "text_to_image") for top in RECALLED]
IMAGE, CAPTIONS = "image_embedding", "caption_embeddings"  # of an image, until its ranks are known
LONGEST = 1024  # more tokens than text encoders read: how many they do, they know


class Searching(Judging):
    """A dual encoder is measured by what it finds, besides what any reward model is measured by.

    ``retrieval/mean_recall`` is the mean of recall@1, @5 and @10 of both directions, each a share of 1.
    """

    what = "searching"

    @property
    def usual_best(self) -> str:
        """Agreement with people where they judged validation images; else the mean recall."""
        usual = super().usual_best
        return usual if usual.startswith(PEOPLE) else MEAN_RECALL

    @property
    def names(self) -> Sequence[str]:
        """The recalls, and what any reward model is measured by."""
        return [MEAN_RECALL, *RECALLS, *super().names]

    def predict(
        self, model: Model, batches: Iterable[Batch], split: str, gather: Gather, progress: Callable[[int], object]
    ) -> list[dict[str, Any]]:
        """What any reward model makes of the images; then one embedding of each image and of all its captions."""
        assert isinstance(model, DualEncoder)
        training = model.training
        model.eval()
        own: list[dict[str, Any]] = []

        def watched() -> Iterator[Batch]:
            for batch in batches:
                seen = model.with_features(batch.to(model.device))
                own.extend(embedded(model, seen))
                yield seen

        judged = super().predict(model, watched(), split, gather, progress)
        model.train(training)
        found = {each["image_id"]: each for each in gather(own)}
        return [*judged, *(found[image_id] for image_id in sorted(found))]

    def score(self, predictions: Sequence[Mapping[str, Any]], split: str) -> Evaluation:
        """What any reward model is measured by, and the recalls and ranks; those of each image are written."""
        judged = super().score([each for each in predictions if CAPTIONS not in each], split)
        searched = [each for each in predictions if CAPTIONS in each]
        if not searched:
            return judged
        ranks = ranks_of(searched)
        scores, statistics = numbers_of(ranks, [len(each[CAPTIONS]) for each in searched])
        own = ranks_by_image(searched, ranks)
        rows = [{**row, **own.get(str(row["image_id"]), {})} for row in judged.predictions]
        told = {str(row["image_id"]) for row in rows}
        rows += [{"image_id": image_id, **each} for image_id, each in own.items() if image_id not in told]
        return replace(
            judged, predictions=rows, scores={**scores, **judged.scores}, statistics={**statistics, **judged.statistics}
        )


@torch.no_grad()
def embedded(model: DualEncoder, batch: Batch) -> list[dict[str, Any]]:
    """Of each image its embedding and those of its references, in float32; nothing of an image without references."""
    batch = batch.select(torch.tensor([row for row, own in enumerate(batch.references) if own], dtype=torch.long))
    if not len(batch):
        return []
    captions = [caption for references in batch.references for caption in references]
    images = model.embed_images(batch).float().cpu().numpy()
    texts = model.embed_texts(model.read(captions, LONGEST).to(model.device)).float().cpu().numpy()
    ends = np.cumsum([len(references) for references in batch.references])
    return [
        {"image_id": image_id, IMAGE: images[row].copy(), CAPTIONS: own.copy()}
        for row, (image_id, own) in enumerate(zip(batch.image_ids, np.split(texts, ends[:-1]), strict=True))
    ]


def ranks_of(searched: Sequence[Mapping[str, Any]]) -> Ranks:
    """Where the right answers stand, given what ``embedded`` made of all images of a split."""
    counts = [len(each[CAPTIONS]) for each in searched]
    return embedding_ranks(
        np.stack([each[IMAGE] for each in searched]),
        np.concatenate([each[CAPTIONS] for each in searched]),
        np.repeat(np.arange(len(searched)), counts),
    )


def numbers_of(ranks: Ranks, captions: Sequence[int]) -> tuple[dict[str, Summary], dict[str, float]]:
    """Recalls with their mean first, as scores; median and mean ranks as statistics.

    Args:
        ranks: of a split.
        captions: how many each image has.
    """
    metrics = {f"retrieval/{name}": value for name, value in ranks.metrics().items()}
    recalls = {name: metrics[name] for name in RECALLS}
    each = str(captions[0]) if len(set(captions)) == 1 else f"{min(captions)}-{max(captions)}"
    signature = str(Signature("retrieval", {"captions": each, "images": str(len(captions))}))
    values = {MEAN_RECALL: float(np.mean(list(recalls.values()))), **recalls}
    scores: dict[str, Summary] = {name: {"value": value, "signature": signature} for name, value in values.items()}
    return scores, {name: value for name, value in metrics.items() if name not in recalls}


def ranks_by_image(searched: Sequence[Mapping[str, Any]], ranks: Ranks) -> dict[str, dict[str, Any]]:
    """Of each image the rank of its best caption, and the image's rank for each of its captions."""
    ends = np.cumsum([len(each[CAPTIONS]) for each in searched])
    of_captions = np.split(ranks.text_to_image, ends[:-1])
    return {
        str(each["image_id"]): {"image_to_text_rank": int(best), "text_to_image_ranks": own.tolist()}
        for each, best, own in zip(searched, ranks.image_to_text, of_captions, strict=True)
    }
