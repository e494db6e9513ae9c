"""Judgements, images and rewards as TRL's trainers for chat models take them: DPO, GRPO and RLOO.

TRL's trainers run the chat models that rlcap's own loop has no policy for; see ``docs/trl.md``. The data sets made here
open an image when its row is read, so that they hold none in memory.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from datasets import Dataset
from PIL import Image

from rewards.base import Candidates, Reward
from rlcap.data.base import CaptionDataset, Record
from rlcap.data.judged import Judged, comparisons_of
from rlcap.data.judgements import JUDGED
from rlcap.errors import UserError

PROMPT = "Describe the image in one sentence."
"""What a chat model is asked unless told otherwise."""

Messages = Sequence[Mapping[str, Any]]

# --- data sets


def preference_dataset(judged: CaptionDataset, split: str, prompt: str = PROMPT, margin: float = 0.5) -> Dataset:
    """Every comparison of a split as a row for ``DPOTrainer``: ``images``, ``prompt``, ``chosen`` and ``rejected``.

    Choices, rankings and ratings make comparisons as they do for :class:`rlcap.algorithms.dpo.DPO`, each of which is
    one row whatever its weight, which TRL has no place for. Ties make none.

    Args:
        judged: images with judgements, such as :class:`rlcap.data.judgements.JudgedCaptions`.
        split: which of its splits.
        prompt: what the chat model is asked of an image.
        margin: two rated captions are a comparison when their mean ratings differ by as much.
    """
    if margin <= 0:
        raise UserError(f"margin must be above 0, got {margin}: captions rated alike are no comparison")
    records = judged.records(split)
    rows = [
        (place, own.captions[comparison.winner], own.captions[comparison.loser])
        for place, record in enumerate(records)
        for own in [record.metadata.get(JUDGED)]
        if isinstance(own, Judged)
        for comparison in comparisons_of(own, margin)
    ]
    if not rows:
        raise UserError(
            f"split {split!r} compares no two captions: take rlcap.data.judgements.JudgedCaptions, or lower margin"
        )
    columns: dict[str, list[Any]] = {
        "images": [place for place, _, _ in rows],
        "prompt": [_said("user", prompt)] * len(rows),
        "chosen": [_said("assistant", chosen) for _, chosen, _ in rows],
        "rejected": [_said("assistant", rejected) for _, _, rejected in rows],
    }
    return _opened_when_read(columns, judged, records, lambda record: {})


def prompt_dataset(dataset: CaptionDataset, split: str, prompt: str = PROMPT) -> Dataset:
    """Every image of a split as a row for ``GRPOTrainer`` and ``RLOOTrainer``.

    Beside ``images`` and ``prompt``, a row has what :func:`reward_function` hands to rewards: ``image_id``,
    ``references`` and ``metadata``.
    """
    records = dataset.records(split)
    if not records:
        raise UserError(f"split {split!r} has no images: take another")
    columns: dict[str, list[Any]] = {"images": [*range(len(records))], "prompt": [_said("user", prompt)] * len(records)}

    def known(record: Record) -> dict[str, Any]:
        return {"image_id": record.image_id, "references": list(record.references), "metadata": dict(record.metadata)}

    return _opened_when_read(columns, dataset, records, known)


def _said(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def _opened_when_read(
    columns: dict[str, list[Any]],
    dataset: CaptionDataset,
    records: Sequence[Record],
    known: Callable[[Record], Mapping[str, Any]],
) -> Dataset:
    """A table that holds places of records as ``images``; reading a row opens the image and adds what is known of it.

    The column has the name that trainers keep when they drop others.
    """

    def read(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if "images" not in rows:  # another column alone
            return rows
        places = rows["images"]
        images = {place: dataset.open_image(records[place]) for place in set(places)}  # an image repeats in a batch
        more = [known(records[place]) for place in places]
        return {
            **rows,
            "images": [[images[place]] for place in places],
            **{name: [row[name] for row in more] for name in more[0]},
        }

    return Dataset.from_dict(columns).with_transform(read)


# --- rewards


def reward_function(
    reward: Reward, dataset: CaptionDataset | None = None, eos_token_ids: Collection[int] = ()
) -> Callable[..., list[float]]:
    """A reward as a function that TRL calls with completions and the columns of :func:`prompt_dataset`.

    Several rewards go into ``reward_funcs`` one by one, or as one :class:`rewards.composite.WeightedSum`.

    Args:
        reward: any reward of rlcap.
        dataset: where the reward takes in the training references first, as CIDEr-D does; None if it has done so, or
            needs none.
        eos_token_ids: what closes a completion. Captions without it are told to the reward as cut short; none given
            takes all for closed.
    """
    if dataset is not None:
        reward.prepare([record.references for record in dataset.records("train")])
    reward.check_prepared()
    closing = frozenset(eos_token_ids)

    def score(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        ended = [bool(ids) and ids[-1] in closing for ids in columns["completion_ids"]] if closing else None
        candidates = Candidates(
            [text_of(completion) for completion in completions],
            references=_column(columns, "references", reward.needs_references),
            image_ids=_column(columns, "image_id"),
            images=_images(columns) if reward.needs_images else None,
            ended=ended,
            metadata=_column(columns, "metadata"),
        )
        return [float(value) for value in reward(candidates)]

    score.__name__ = reward.signature.name  # what TRL logs it as
    return score


def text_of(completion: str | Messages) -> str:
    """The caption in what a chat model said: the text of its last message."""
    if isinstance(completion, str):
        return completion.strip()
    content = completion[-1]["content"]
    if isinstance(content, str):
        return content.strip()
    return " ".join(part["text"].strip() for part in content if part["type"] == "text")


def _column(columns: Mapping[str, Any], name: str, needed: bool = False) -> Any:
    if needed and name not in columns:
        raise UserError(f"the data set has no column {name!r}, which the reward needs: make it by prompt_dataset")
    return columns.get(name)


def _images(columns: Mapping[str, Any]) -> list[Image.Image]:
    """The image of each completion; TRL has a list of images in each row, or one image."""
    if "image" in columns:
        return list(columns["image"])
    return [images[0] for images in _column(columns, "images", needed=True)]
