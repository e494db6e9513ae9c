"""Captions made wrong in several ways: hard negatives for rewards that are learned.

How a caption is made wrong in one way, :mod:`rlcap.data.caption_edits` says.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from rewards.scene_graph import parse, reference_graph, scene_graph_f
from rlcap.data.caption_edits import (
    change_count,
    repeat_words,
    replace_attribute,
    replace_object,
    reverse_relation,
    shuffle_words,
    swap_attributes,
    truncate,
)
from rlcap.data.caption_words import plain
from rlcap.data.replacements import Vocabulary
from rlcap.types import UserError

TRIES = 8  # draws of one corruption before it is taken not to apply

Corruption = Callable[[str, np.random.Generator], str | None]
"""Makes a caption wrong in one way; None where it cannot."""


class Negative(NamedTuple):
    """A caption made wrong, and how."""

    text: str
    kind: str


SEMANTIC = ("swap_attributes", "replace_attribute", "replace_object", "reverse_relation", "change_count")
"""Corruptions that change what is said."""

LINGUISTIC = ("shuffle_words", "repeat_words", "truncate")
"""Corruptions that spoil how it is said."""


class Corruptor:
    """Makes captions wrong in several ways, each drawn with equal probability among those that apply.

    Args:
        vocabulary: of the data set's captions.
        kinds: which corruptions; see ``SEMANTIC`` and ``LINGUISTIC``.
    """

    def __init__(self, vocabulary: Vocabulary, kinds: Sequence[str] = (*SEMANTIC, *LINGUISTIC)) -> None:
        known: dict[str, Corruption] = {
            "swap_attributes": swap_attributes,
            "replace_attribute": partial(replace_attribute, vocabulary=vocabulary),
            "replace_object": partial(replace_object, vocabulary=vocabulary),
            "reverse_relation": reverse_relation,
            "change_count": change_count,
            "shuffle_words": shuffle_words,
            "repeat_words": repeat_words,
            "truncate": truncate,
        }
        for kind in kinds:
            if kind not in known:
                raise UserError(f"there is no corruption {kind!r}, only {', '.join(known)}")
        if not kinds:
            raise UserError(f"kinds names no corruption: give some of {', '.join(known)}")
        self.corruptions = {kind: known[kind] for kind in kinds}

    def __call__(
        self, caption: str, rng: np.random.Generator, count: int, references: Collection[str] = ()
    ) -> list[Negative]:
        """Up to ``count`` different negatives of a caption, in random order; fewer where fewer can be made.

        Every kind that applies is drawn before one is drawn again.

        Args:
            caption: to make wrong.
            rng: draws the kinds, the places and the words.
            count: how many.
            references: further captions of the image: a negative that says nothing they do not say is left out.
        """
        truth = reference_graph([parse(reference) for reference in (caption, *references)])
        taken = {plain(text) for text in (caption, *references)}
        found: list[Negative] = []
        for _ in range(count):  # in one round every kind has its turn
            before = len(found)
            for place in rng.permutation(len(self.corruptions)):
                kind = list(self.corruptions)[int(place)]
                for _ in range(TRIES):
                    if len(found) == count:
                        return found
                    text = self.corruptions[kind](caption, rng)
                    if text is None:
                        break
                    true = kind in SEMANTIC and scene_graph_f(parse(text), truth, kinds=0.0).precision == 1
                    if plain(text) not in taken and not true:
                        taken.add(plain(text))
                        found.append(Negative(text, kind))
                        break
            if len(found) == before:
                break
        return found


@dataclass(frozen=True)
class Corruptions:
    """Corrupted captions, which describe no image, to learn from (NegCLIP: Yuksekgonul et al. 2023, section 4).

    Attributes:
        per_caption: how many of each caption, made anew at every step; fewer where fewer can be made, and 0 for none.
        kinds: in which ways; each that applies is equally probable.
        synonyms: groups of words that mean the same in the data set, besides those of WordNet, so that none of a group
            is put for another.
    """

    per_caption: int = 0
    kinds: tuple[str, ...] = (*SEMANTIC, *LINGUISTIC)
    synonyms: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.per_caption < 0:
            raise UserError(f"corruptions.per_caption must be 0 (off) or more, got {self.per_caption}")

    def corruptor(self, references: Iterable[Sequence[str]]) -> Corruptor:
        """What makes them, given the references of a data set's images."""
        captions = (caption for own in references for caption in own)
        return Corruptor(Vocabulary.of(captions, synonyms=self.synonyms), self.kinds)
