"""What every reward model must offer: how good a caption of an image is, as one number with a gradient."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rlcap.models import Model, load_model
from rlcap.types import Batch, Captions, Encoded

REFERENCE_MEAN = "reference/mean"
"""The measured number by which rewards are shifted: the mean score of reference captions."""


def without_stop(caption: str) -> str:
    """The caption without the full stop at its end, and without spaces around it.

    Some people write one and captioners of words do not: it would tell theirs from true captions at a glance.
    """
    return caption.strip().rstrip(".!?").rstrip()


def readable(tokens: Captions, pad_id: int) -> Captions:
    """The captions with a token to read in each: of an empty one without special tokens, a padding token."""
    if not tokens.token_ids.shape[1]:
        tokens = Captions(torch.full((len(tokens), 1), pad_id), torch.zeros(len(tokens), 1, dtype=torch.bool))
    mask = tokens.mask.clone()
    mask[:, 0] |= ~mask.any(dim=1)
    return Captions(tokens.token_ids, mask)


class RewardModel(Model):
    """How good captions of images are: images and captions in, one score each out.

    Scores have no zero of their own. Once measured on a validation split, ``reward`` is the score less the mean score
    of the reference captions there, so that people's captions have a mean reward of 0. Stiennon et al. 2020, section
    3.4. ``score`` is what learns.

    Attributes:
        needs_references: whether it depends on the image's reference captions.
        shift: the mean score of reference captions, measured on the validation split; 0 until then. Kept with the
            weights.
    """

    kind: ClassVar[str] = "reward_model"
    needs_references: bool = False
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(()))

    # --- what a model implements, beside what rlcap.models.Model asks for

    @abstractmethod
    def encode(self, batch: Batch) -> Encoded:
        """What a score depends on besides the caption, one row per image: the image, and references where needed.

        From ``batch.features`` where a frozen encoder's are kept, else from ``batch.pixel_values``; with gradients
        where it learns. What is small here is cheap to remember: rewards keep a row per image.
        """

    @abstractmethod
    def tokenize(self, captions: Sequence[str], max_length: int) -> Captions:
        """Captions as tokens, with the special tokens the model reads, cut at ``max_length``, on the CPU.

        The mask is True for tokens to read, at least one in each row.
        """

    @abstractmethod
    def score(self, encoded: Encoded, captions: Captions) -> Float[Tensor, " captions"]:
        """Score of each caption, in float32, given one row of ``encoded`` per caption.

        Its unit is that of log-odds: of two captions of an image the first is the better one with probability sigmoid
        of the difference (Bradley and Terry 1952), where the model was trained so.
        """

    # --- what all share

    def read(self, captions: Sequence[str], max_length: int) -> Captions:
        """Captions as tokens, as they are learned from and judged: without a full stop at the end."""
        return self.tokenize([without_stop(caption) for caption in captions], max_length)

    def reward(self, encoded: Encoded, captions: Captions) -> Float[Tensor, " captions"]:
        """The score of each caption less that of reference captions on average."""
        return self.score(encoded, captions) - self.shift

    def measured(self, numbers: Mapping[str, float]) -> None:
        """Take the mean score of the validation split's reference captions as the zero of rewards."""
        if REFERENCE_MEAN in numbers:
            self.shift.fill_(numbers[REFERENCE_MEAN])


def load_reward_model(directory: str) -> RewardModel:
    """The reward model saved in a directory: a saved one, a checkpoint, or a run folder (its best checkpoint).

    In a configuration it is the class path ``rlcap.reward_models.load_reward_model``, with ``directory: runs/mine``.

    Raises:
        UserError: if the directory holds none.
    """
    return load_model(directory, RewardModel)
