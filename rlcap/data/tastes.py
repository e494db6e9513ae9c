"""What a caption tells of a synthetic scene, and what that is worth to someone: a known utility.

What is true and what is wrong of a caption is counted, with the faults of its language (:func:`told`); tastes weigh the
counts (:func:`utility`). The truth is the scene's own graph, not its references.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Reward, RewardError, Signature
from rewards.scene_graph import SceneGraph, parse
from rewards.scene_graph.lexicon import NUMBERS
from rewards.statistics import bad_ending
from rlcap.data.caption_words import tagged
from rlcap.data.shapes import RELATIONS, SHAPES, SIZES
from rlcap.types import UserError

SCENE = "scene"
"""The entry of a record's metadata that holds its scene graph."""

MOST_MATCHED = 6  # objects of a caption that are looked for in the scene; a seventh is wrong, since scenes have three
LONGEST_STUTTER = 4  # words that may be said again at once

_NAMES = {word: name for names in (SHAPES, SIZES) for name, synonyms in names.items() for word in synonyms}
_NOUNS = frozenset(word for words in SHAPES.values() for word in words)  # "square" may be an adjective elsewhere
_RELATIONS = {word: name for name, synonyms in RELATIONS.items() for word in synonyms}


# --- what a caption tells


class Told(NamedTuple):
    """What a caption tells of a scene: shares of what there is to tell, and faults by their number.

    Attributes:
        objects: share of the scene's objects that are named.
        attributes: share of their colours and sizes that are named.
        relations: 1 if a true relation is told, or there is none to tell.
        wrong_objects: objects named that the scene has not, or not once more.
        wrong_attributes: attributes given to an object that it has not, wrong numbers among them.
        wrong_relations: relations told that do not hold.
        length: words.
        repeated: words that say again at once what has just been said: "a star a star".
        misplaced: words that cannot follow the one before: "star red".
        unfinished: 1 if it stops at a word that needs another.
    """

    objects: float = 0.0
    attributes: float = 0.0
    relations: float = 0.0
    wrong_objects: float = 0.0
    wrong_attributes: float = 0.0
    wrong_relations: float = 0.0
    length: float = 0.0
    repeated: float = 0.0
    misplaced: float = 0.0
    unfinished: float = 0.0


def told(caption: str, scene: Mapping[str, Any]) -> Told:
    """What a caption tells of a scene of :mod:`rlcap.data.shapes`.

    The objects of the caption are taken for those of the scene so that as much as possible is true.
    """
    graph = parse(caption)
    objects = scene["objects"]
    best = max((_truth(graph, scene, taken) for taken in _readings(graph, scene)), key=lambda truth: truth.merit)
    related = bool(scene["relations"])
    read = tagged(caption)
    words = [word.text for word in read if word.tag not in ",."]
    return Told(
        objects=len(best.objects) / len(objects),
        attributes=len(best.attributes) / (2 * len(objects)),
        relations=min(1.0, len(best.relations)) if related else 1.0,
        wrong_objects=float(len(graph.objects) - len(best.objects)),
        wrong_attributes=float(best.wrong_attributes),
        wrong_relations=float(len(graph.relations) - best.true_relations),
        length=float(len(caption.split())),
        repeated=float(stuttered(words)),
        misplaced=float(misplaced(["N" if word.text in _NOUNS else word.tag for word in read])),
        unfinished=float(bad_ending(caption)),
    )


class _Truth(NamedTuple):
    """What is true of a caption whose objects are taken for certain ones of the scene."""

    objects: frozenset[int]
    attributes: frozenset[tuple[int, str]]
    relations: frozenset[tuple[int, str, int]]
    wrong_attributes: int
    true_relations: int

    @property
    def merit(self) -> int:
        """How much is true, less what is not; an object counts more than what is said of it alone."""
        return 2 * len(self.objects) + len(self.attributes) + 2 * self.true_relations - self.wrong_attributes


def _readings(graph: SceneGraph, scene: Mapping[str, Any]) -> Iterator[tuple[int | None, ...]]:
    """Every way to take objects of a caption for different objects of the scene of the same shape, or for none."""
    shapes = [item["shape"] for item in scene["objects"]]
    names = [_NAMES.get(name, name) for name in graph.objects[:MOST_MATCHED]]

    def readings(taken: tuple[int | None, ...]) -> Iterator[tuple[int | None, ...]]:
        if len(taken) == len(names):
            yield taken + (None,) * (len(graph.objects) - len(taken))
            return
        yield from readings((*taken, None))
        for place, shape in enumerate(shapes):
            if shape == names[len(taken)] and place not in taken:
                yield from readings((*taken, place))

    return readings(())


def _truth(graph: SceneGraph, scene: Mapping[str, Any], taken: Sequence[int | None]) -> _Truth:
    attributes: set[tuple[int, str]] = set()
    wrong = 0
    for owner, word in graph.attributes:
        place, name = taken[owner], _NAMES.get(word, word)
        if place is None:
            wrong += 1
        elif name in (scene["objects"][place]["color"], scene["objects"][place]["size"]):
            attributes.add((place, name))
        elif name not in ("one", "single") and not (name in NUMBERS and _counted(graph, owner, scene, taken)):
            wrong += 1
    known = {(subject, relation, other) for subject, relation, other in scene["relations"]}
    found = [
        (taken[subject], _RELATIONS.get(relation, relation), taken[other])
        for subject, relation, other in graph.relations
    ]
    true = [(subject, relation, other) for subject, relation, other in found if (subject, relation, other) in known]
    kept = frozenset((i, relation, j) for i, relation, j in true if i is not None and j is not None)
    return _Truth(
        frozenset(place for place in taken if place is not None), frozenset(attributes), kept, wrong, len(true)
    )


def _counted(graph: SceneGraph, owner: int, scene: Mapping[str, Any], taken: Sequence[int | None]) -> bool:
    """Whether as many objects fit as the caption says, those that it names besides apart."""
    said = {_NAMES.get(word, word) for place, word in graph.attributes if place == owner and word not in NUMBERS}
    name = _NAMES.get(graph.objects[owner], graph.objects[owner])
    named = {place for other, place in enumerate(taken) if other != owner}
    free = [item for place, item in enumerate(scene["objects"]) if place not in named]
    fitting = [item for item in free if item["shape"] == name and said <= {item["color"], item["size"]}]
    return (owner, NUMBERS[len(fitting)]) in graph.attributes


def stuttered(words: Sequence[str]) -> int:
    """How many words say again at once the one to four words before them."""
    again: set[int] = set()
    for size in range(1, LONGEST_STUTTER + 1):
        for start in range(size, len(words) - size + 1):
            if words[start - size : start] == words[start : start + size]:
                again.update(range(start, start + size))
    return len(again)


def misplaced(tags: Sequence[str]) -> int:
    """How many words cannot follow the one before in a caption of scenes, by their part of speech.

    After an article, a number or an adjective a noun phrase goes on; after a preposition or "and" one begins; after a
    noun none does.
    """
    after: Mapping[str, str] = {
        **dict.fromkeys("DPC", "JaNSRC"),
        **dict.fromkeys("Ja", "JaNSY,"),
        **dict.fromkeys("IOY", "DPCJaNSRB"),
    }
    wrong = [
        (following not in after[tag]) if tag in after else (tag in "NS" and following in "DPCJ")
        for tag, following in pairwise(tags)
    ]
    return sum(wrong)


# --- what it is worth


@dataclass(frozen=True)
class Tastes:
    """What each of the counts of :class:`Told` is worth; faults cost.

    Attributes:
        objects: all objects of the scene named.
        attributes: all their attributes named.
        relations: a relation told.
        wrong_objects: cost of each object that is not there.
        wrong_attributes: cost of each wrong attribute or number.
        wrong_relations: cost of each wrong relation.
        length: cost of each word.
        repeated: cost of each word said again.
        misplaced: cost of each word that cannot follow the one before.
        unfinished: cost of an end that is none.
    """

    objects: float = 2.0
    attributes: float = 2.0
    relations: float = 1.0
    wrong_objects: float = 1.0
    wrong_attributes: float = 1.0
    wrong_relations: float = 1.0
    length: float = 0.05
    repeated: float = 0.5
    misplaced: float = 0.5
    unfinished: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"tastes.{field.name} must be 0 or more, got {value}: what is a cost is one already")

    def of(self, caption_told: Told) -> float:
        """The worth of what is told, less the costs."""
        return float(
            sum(sign * own * count for sign, own, count in zip(_SIGNS, astuple(self), caption_told, strict=True))
        )


_SIGNS = (1, 1, 1, -1, -1, -1, -1, -1, -1, -1)


def utility(caption: str, scene: Mapping[str, Any], tastes: Tastes | None = None) -> float:
    """How much a person of these tastes likes a caption of a scene; with those by default at most just below 5."""
    return (tastes or Tastes()).of(told(caption, scene))


class Utility(Reward):
    """The known utility of captions of synthetic scenes: the reward that judgements by simulated people should teach.

    Args:
        tastes: what captions are liked for; None: those of the mean person.
        truth: the entry of ``Candidates.metadata`` that holds the scene.
    """

    def __init__(self, tastes: Tastes | None = None, truth: str = SCENE) -> None:
        self.tastes = tastes or Tastes()
        self.truth = truth

    @property
    def signature(self) -> Signature:
        """The tastes."""
        return Signature("Utility", {"tastes": ",".join(f"{value:g}" for value in astuple(self.tastes))})

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """The utility of each caption."""
        known = candidates.metadata if candidates.metadata is not None else [{}] * len(candidates)
        if any(self.truth not in metadata for metadata in known):
            raise RewardError(f"the images' metadata have no {self.truth!r}: Utility is for scenes, as Shapes has them")
        rows = zip(candidates.captions, known, strict=True)
        return np.array([utility(caption, metadata[self.truth], self.tastes) for caption, metadata in rows], np.float64)
