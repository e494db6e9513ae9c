"""How a model is measured on a split: what it makes of the images, in every process; then one set of numbers.

Which model is measured by what, :mod:`rlcap.evaluation.kinds` says.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from rewards.tokenize import ptb_tokenize
from rlcap.data.base import CaptionDataset
from rlcap.evaluation.evaluate import Evaluation, EvaluationOptions, Gather, images_of, predict, score
from rlcap.models import Model
from rlcap.policies.base import Policy
from rlcap.types import Batch, UserError


class Measurement(ABC):
    """How models of a kind are measured.

    Args:
        model: one of the kind; what is measured is given anew each time.
        options: of the run.
        dataset: where splits are from.

    Attributes:
        what: what is done with a split, for progress bars.
    """

    what: str = "measuring"

    def __init__(self, model: Model, options: EvaluationOptions, dataset: CaptionDataset) -> None:
        self.options = options
        self.dataset = dataset

    @property
    def best(self) -> str:
        """The number by which the best checkpoint is kept; the larger the better."""
        return self.options.best or self.usual_best

    @property
    @abstractmethod
    def usual_best(self) -> str:
        """That number, where none is named."""

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """Those it may be, as far as the data tell."""

    @abstractmethod
    def predict(
        self, model: Model, batches: Iterable[Batch], split: str, gather: Gather, progress: Callable[[int], object]
    ) -> list[dict[str, Any]]:
        """What the model makes of the images of a split: this process's share of it, then gathered.

        Args:
            model: what is measured.
            batches: this process's share of the split, each image once.
            split: its name.
            gather: joins the predictions of several processes.
            progress: told how many images each batch held.
        """

    @abstractmethod
    def score(self, predictions: Sequence[Mapping[str, Any]], split: str) -> Evaluation:
        """The numbers of a split's predictions; in the main process alone."""

    @property
    def facts(self) -> Mapping[str, str]:
        """What else an evaluation's file says of how it was made."""
        return {}

    def value(self, evaluation: Evaluation) -> float:
        """The number that decides what is best.

        Raises:
            UserError: if the evaluation has none of that name.
        """
        self.check_best(evaluation.scores)
        return evaluation.value(self.best)

    def check_best(self, names: Collection[str]) -> None:
        """Make sure that what decides is among these.

        Raises:
            UserError: if it is not.
        """
        if self.best not in names:
            raise UserError(f"evaluation.best is {self.best!r}, which is none of {', '.join(names)}")


class Captioning(Measurement):
    """A captioner is measured by its captions: decoded, then scored with every metric."""

    what = "decoding"

    @property
    def usual_best(self) -> str:
        """CIDEr-D."""
        return "CIDEr-D"

    @property
    def names(self) -> Sequence[str]:
        """The metrics."""
        return list(self.options.all_metrics)

    def predict(
        self, model: Model, batches: Iterable[Batch], split: str, gather: Gather, progress: Callable[[int], object]
    ) -> list[dict[str, Any]]:
        """The policy's caption of every image."""
        assert isinstance(model, Policy)
        options = self.options
        return predict(model, batches, options.decoding, gather, progress, options.diversity_samples)

    def score(self, predictions: Sequence[Mapping[str, Any]], split: str) -> Evaluation:
        """The captions' scores by every metric."""
        return score(predictions, self.options.all_metrics, images_of(self.dataset, split), self._training_captions)

    @cached_property
    def _training_captions(self) -> frozenset[str] | None:
        """The tokenised training captions of the data set; None where it has none. Made when first scored."""
        try:
            records = self.dataset.records("train")
        except UserError:  # the only way to learn that there is no such split
            return None
        return frozenset(ptb_tokenize([caption for record in records for caption in record.references])) or None

    @property
    def facts(self) -> Mapping[str, str]:
        """How captions are decoded."""
        return {"decoding": str(self.options.decoding)}
