"""What every reward shares: the captions to score, the contract, and the signature of how they were scored."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float64
from PIL import Image

VERSION = "0.1.0"


class RewardError(ValueError):
    """A reward cannot score what it was given; the message names the value and the remedy."""


@dataclass(frozen=True)
class Candidates:
    """Captions to score, one row each; every optional column has one entry per caption.

    Several captions may belong to one image: they then repeat its id, references and image.

    Attributes:
        captions: the text of each caption.
        references: the reference captions of each caption's image.
        image_ids: the image of each caption; rewards that count images (document frequencies) use it.
        images: the decoded images, only for rewards whose ``needs_images`` is true.
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

    A subclass states what it needs through the two attributes, so that references are not looked up and images not
    decoded for rewards that do not use them.
    """

    needs_references: bool = False
    needs_images: bool = False

    @abstractmethod
    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """Score of each caption."""

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

    def prepare(self, references: Sequence[Sequence[str]]) -> None:  # noqa: B027 - a hook, empty by default
        """Take in the training references, one sequence per image, before the first score. Called once per run."""

    def corpus(self, candidates: Candidates) -> float:
        """Score of all captions together: their mean unless the metric defines it otherwise (as BLEU does)."""
        return float(np.mean(self(candidates))) if len(candidates) else 0.0
