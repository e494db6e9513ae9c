"""What every reward shares: the captions to score, the contract, and the signature of how they were scored."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, overload

import numpy as np
from jaxtyping import Float64
from PIL import Image

VERSION = "0.1.0"

Pending = Callable[[], Float64[np.ndarray, " captions"]]
"""Scores that may still be in the making: calling it waits for them, and raises what went wrong."""

Resampled = Callable[[Float64[np.ndarray, "captions resamples"]], Float64[np.ndarray, " resamples"]]
"""Score of all captions together in each resample, given how many times it holds each caption."""

_T = TypeVar("_T")


class RewardError(ValueError):
    """A reward cannot score what it was given; the message names the value and the remedy."""


@dataclass(frozen=True)
class OpenedWhenRead(Sequence[Image.Image]):
    """Images that are opened each time they are read, so that a data set's images need not fit into memory.

    Attributes:
        openers: what opens each image.
    """

    openers: Sequence[Callable[[], Image.Image]]

    def __len__(self) -> int:
        return len(self.openers)

    @overload
    def __getitem__(self, row: int) -> Image.Image: ...

    @overload
    def __getitem__(self, row: slice) -> "OpenedWhenRead": ...

    def __getitem__(self, row: int | slice) -> "Image.Image | OpenedWhenRead":
        return OpenedWhenRead(self.openers[row]) if isinstance(row, slice) else self.openers[row]()


@dataclass(frozen=True)
class Candidates:
    """Captions to score, one row each; every optional column has one entry per caption.

    Several captions may belong to one image: they then repeat its id, references and image.

    Attributes:
        captions: the text of each caption.
        references: the reference captions of each caption's image.
        image_ids: the image of each caption; rewards that count images (document frequencies) use it.
        images: the images in RGB, only for rewards whose ``needs_images`` is true. May be opened only when read, so
            a reward reads no more of them at once than it works on.
        ended: whether the policy closed the caption itself (False: cut at the length limit). None means all did.
        metadata: whatever else the data set keeps beside each image, such as a scene graph.
    """

    captions: Sequence[str]
    references: Sequence[Sequence[str]] | None = None
    image_ids: Sequence[str] | None = None
    images: Sequence[Image.Image] | None = None
    ended: Sequence[bool] | None = None
    metadata: Sequence[Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        for name in ("references", "image_ids", "images", "ended", "metadata"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.captions):
                raise RewardError(
                    f"Candidates.{name} has {len(column)} entries for {len(self.captions)} captions: give one each"
                )

    def __len__(self) -> int:
        return len(self.captions)

    def select(self, rows: Sequence[int]) -> "Candidates":
        """The captions of these rows, in that order."""

        def those(column: Sequence[_T] | None) -> list[_T] | None:
            return None if column is None else [column[row] for row in rows]

        return Candidates(
            [self.captions[row] for row in rows],
            references=those(self.references),
            image_ids=those(self.image_ids),
            images=OpenedWhenRead(those(self.images.openers) or [])
            if isinstance(self.images, OpenedWhenRead)
            else those(self.images),
            ended=those(self.ended),
            metadata=those(self.metadata),
        )

    def reference_tuples(self) -> list[tuple[str, ...]]:
        """The references of each caption as tuples, which can key a cache; an error where a caption has none."""
        if self.references is None:
            raise RewardError("this reward compares with references, and Candidates.references is None: give them")
        tuples = [tuple(references) for references in self.references]
        if () in tuples:
            caption = self.captions[tuples.index(())]
            raise RewardError(f"caption {caption!r} has no references: give at least one, or leave the image out")
        return tuples


@dataclass(frozen=True)
class Signature:
    """How a number was made, as in sacreBLEU; two numbers are comparable only when their signatures are equal.

    ``str(Signature("CIDEr-D", {"df": "corpus"}))`` is ``CIDEr-D|df:corpus|v:0.1.0``.
    """

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "|".join([self.name, *(f"{key}:{value}" for key, value in self.settings.items()), f"v:{VERSION}"])


class Reward(ABC):
    """Captions in, one number per caption out. The same object serves as training reward and as metric.

    Only ``__call__`` must be written. A subclass states what it needs through the attributes, so that references are
    not looked up and images not decoded for rewards that do not use them.

    Attributes:
        needs_references: whether it compares with reference captions.
        needs_images: whether it looks at the images.
        independent: whether a caption's score depends on nothing else in the batch, so that captions may be scored
            apart, remembered and shared among workers.
        background: whether ``begin`` returns before the scores are made.
        sums: how many numbers ``seen`` gives.
        partial: whether what it raises when it fails for some captions holds its own scores of the others; so of
            wrappers and functions, not of a reward that lets the errors of one within pass.
    """

    needs_references: bool = False
    needs_images: bool = False
    independent: bool = True
    background: bool = False
    sums: int = 0
    partial: bool = False

    @abstractmethod
    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """Score of each caption."""

    def begin(self, candidates: Candidates) -> Pending:
        """Start scoring; what comes back gives the scores, and waits for them if it must.

        Computed at once unless a subclass scores in the background: in threads, other processes or over a network.
        """
        scores = self(candidates)
        return lambda: scores

    # --- what it is called in tables

    @property
    def signature(self) -> Signature:
        """How the scores are made; the class name alone unless the subclass says more."""
        return Signature(type(self).__name__)

    def signature_of(self, candidates: Candidates) -> Signature:
        """The signature with what only the data shows: how many references a caption has (``refs:5``, ``refs:4-6``)."""
        if not self.needs_references or not candidates.references:
            return self.signature
        sizes = [len(references) for references in candidates.references]
        refs = str(min(sizes)) if min(sizes) == max(sizes) else f"{min(sizes)}-{max(sizes)}"
        return replace(self.signature, settings={**self.signature.settings, "refs": refs})

    # --- all captions together

    def aggregate(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> float:
        """Score of all captions together, given each one's: the mean unless the metric defines it otherwise (BLEU)."""
        return float(np.mean(scores)) if len(scores) else 0.0

    def resampled(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> Resampled:
        """What gives ``aggregate`` of resamples of the captions, for a bootstrap; nothing is scored again.

        A mean needs no more than this. A metric with an ``aggregate`` of its own is asked for it once per resample,
        unless it says how its statistics of single captions add up (BLEU).
        """
        if type(self).aggregate is Reward.aggregate:
            return lambda times: scores @ times / times.sum(axis=0)

        def aggregates(times: Float64[np.ndarray, "captions resamples"]) -> Float64[np.ndarray, " resamples"]:
            resamples = [np.repeat(np.arange(len(scores)), column.astype(np.int64)) for column in times.T]
            return np.array([self.aggregate(candidates.select(rows.tolist()), scores[rows]) for rows in resamples])

        return aggregates

    def corpus(self, candidates: Candidates) -> float:
        """Score of all captions together."""
        return self.aggregate(candidates, self(candidates))

    # --- over a run

    def prepare(self, references: Sequence[Sequence[str]]) -> None:  # noqa: B027 - a hook, empty by default
        """Take in the training references, one sequence per image, before the first score. Called once per run."""

    def check_prepared(self) -> None:  # noqa: B027 - a hook, empty by default
        """Raise a RewardError if ``prepare`` must come first and has not."""

    def to(self, device: str) -> None:  # noqa: B027 - a hook, empty by default
        """Move what it computes with to a device (``cpu``, ``cuda:1``): the policy's, in training and evaluation."""

    def close(self) -> None:  # noqa: B027 - a hook, empty by default
        """End the threads and processes it started. It may be used again, and then starts them anew."""

    def seen(self) -> Float64[np.ndarray, " sums"]:
        """What it gathered since it was last asked, as sums that add up over processes; most rewards gather none."""
        return np.zeros(0)

    def learned(self, sums: Float64[np.ndarray, " sums"]) -> None:  # noqa: B027 - a hook, empty by default
        """A training step is done; told what all processes have ``seen`` in it, added up."""

    def state(self) -> dict[str, Any]:
        """What it has learned, as JSON can hold it; a checkpoint keeps it."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - a hook, empty by default
        """Take back what ``state`` gave."""
