"""What ``rlcap explain`` left in a run folder: explanations/<split>, of which any part may be missing or damaged."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jaxtyping import Float

from rlcap.reporting.reading.files import Source, as_mapping, as_number, is_folder
from rlcap.reporting.reading.lines import read_objects
from rlcap.reporting.reading.mappings import read_mapping

VERSION = 1
# More than these are no captions, grids and graphs to look at.
MOST_ROWS = 200
MOST_WORDS = 40
_MOST_SIDE = 64
_MOST_NODES = 12
_LARGEST = 256 << 20
_FURTHEST = 4.0
_LONGEST, _LONGEST_WORD = 2000, 200

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of the part of an image, as shares of its width and height; beyond it where padded."""

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Graph:
    """A scene graph: objects, each with its attributes, and relations between them by their places."""

    objects: tuple[tuple[str, tuple[str, ...]], ...]
    relations: tuple[tuple[int, str, int], ...]


@dataclass(frozen=True)
class Plan:
    """A transport plan.

    Attributes:
        reward: the reward whose plan it is.
        tokens: of the caption: its rows.
        targets: of the reference: its columns; empty where they are patches of the image.
        grid: rows and columns of patches; None where targets are tokens.
        box: the part of the image that the patches are of.
        mass: moved from each token to each target.
        cost: of the plan; None where the file does not say.
    """

    reward: str
    tokens: tuple[str, ...]
    targets: tuple[str, ...]
    grid: tuple[int, int] | None
    box: Box
    mass: Float[np.ndarray, "tokens targets"]
    cost: float | None


@dataclass(frozen=True)
class Explanation:
    """What drove each word of a caption.

    Attributes:
        image_id: the image.
        caption: what the policy said of it.
        words: of the caption, at most ``MOST_WORDS``.
        box: the part of the image that the maps are of.
        maps: how much each cell of the grid counted for each word, the most being 1, by the method's key.
        strength: how much of each word came from the image at all; empty where unknown.
        probability: of each word; empty where unknown.
        graph: what the caption says; None where unknown.
        reference_graph: what a reference says; None where unknown.
        plans: of transport rewards.
    """

    image_id: str
    caption: str
    words: tuple[str, ...]
    box: Box
    maps: Mapping[str, Float[np.ndarray, "words rows columns"]]
    strength: tuple[float, ...]
    probability: tuple[float, ...]
    graph: Graph | None
    reference_graph: Graph | None
    plans: tuple[Plan, ...]


class _OddError(Exception):
    """Why a part of an explanation is left out."""


def read_explanations(folder: Path, split: str, notes: list[str]) -> dict[str, Explanation]:
    """The explanations of a split in a run folder by image id; none where there are none.

    Args:
        folder: of the run.
        split: whose images are explained.
        notes: what is wrong with them is added here.
    """
    label = f"explanations/{split}"
    if not is_folder(folder / label):
        return {}
    version = read_mapping(Source(folder, f"{label}/explanations.json"), notes).get("version")
    source = Source(folder, f"{label}/explanations.jsonl")
    if version is not None and version != VERSION:
        notes.append(f"{label} is of version {str(version)[:20]}, this report reads version {VERSION}; it was left out")
        return {}
    fingerprint = source.fingerprint()
    if fingerprint is not None and fingerprint[1] > _LARGEST:
        notes.append(f"{source.name} is larger than {_LARGEST >> 20} MiB and was left out")
        return {}
    found: dict[str, Explanation] = {}
    odd: Counter[str] = Counter()
    for row in islice(read_objects(source, notes), MOST_ROWS):
        explanation = _explanation(row, odd)
        if explanation is not None:
            found.setdefault(explanation.image_id, explanation)
    notes += [f"{source.name}: {why} ({times} {'row' if times == 1 else 'rows'})" for why, times in odd.items()]
    return found


def picture_of(folder: Path, split: str, image_id: str) -> Source:
    """Where the picture of an explained image lies if there is one."""
    return Source(folder, f"explanations/{split}/images/{quote(image_id, safe='', errors='replace')}.jpg")


def _explanation(row: Mapping[str, Any], odd: Counter[str]) -> Explanation | None:
    """The explanation in a row without its damaged parts, which are counted; None without image or caption."""
    image_id, caption = row.get("image_id"), row.get("caption")
    if isinstance(image_id, bool) or not isinstance(image_id, str | int) or not isinstance(caption, str):
        odd["no image or no caption is named, so the row was left out"] += 1
        return None
    words = _texts(row.get("words"))
    box, maps = WHOLE, {}
    try:
        if not isinstance(row.get("words"), list) or len(words) < len(row["words"]):
            raise _OddError("words are no list of texts")
        rows, columns = _grid(row.get("grid"))
        box = _box(row.get("box", WHOLE))
        for key in ("relevance", "gradient_attention"):
            if words and row.get(key) is not None:
                heat = _numbers(row[key], (len(words), rows * columns), key)
                maps[key] = _scaled(heat).reshape(len(words), rows, columns)[:MOST_WORDS]
    except _OddError as error:
        odd[f"{error}, so the maps were left out"] += 1
        box, maps = WHOLE, {}
    if len(words) > MOST_WORDS:
        odd[f"captions of more than {MOST_WORDS} words are cut"] += 1
    plans = []
    listed = row.get("transport")
    for one in listed if isinstance(listed, list) else []:
        try:
            plans.append(_plan(as_mapping(one)))
        except _OddError as error:
            odd[f"a transport plan was left out: {error}"] += 1
    return Explanation(
        str(image_id),
        caption[:_LONGEST],
        words[:MOST_WORDS],
        box,
        maps,
        _of_words(row.get("strength"), "strength", words, odd),
        tuple(min(max(one, 0.0), 1.0) for one in _of_words(row.get("probability"), "probability", words, odd)),
        _graph_of(row, "scene_graph", odd),
        _graph_of(row, "reference_graph", odd),
        tuple(plans),
    )


def _of_words(value: object, key: str, words: tuple[str, ...], odd: Counter[str]) -> tuple[float, ...]:
    """A number of each word; none where they do not fit."""
    if value is None or not words:
        return ()
    try:
        return tuple(float(one) for one in _numbers(value, (len(words),), key)[:MOST_WORDS])
    except _OddError as error:
        odd[f"{error} and was left out"] += 1
        return ()


def _texts(value: object) -> tuple[str, ...]:
    """The texts in a list, each cut; none if the value is no list of texts."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return ()
    return tuple(text[:_LONGEST_WORD] for text in value)


def _grid(value: object) -> tuple[int, int]:
    sides = value if isinstance(value, list) and len(value) == 2 else []
    if not sides or not all(type(side) is int and 1 <= side <= _MOST_SIDE for side in sides):
        raise _OddError(f"grid is no pair of rows and columns from 1 to {_MOST_SIDE}")
    return sides[0], sides[1]


def _box(value: object) -> Box:
    ends = [as_number(end) for end in value] if isinstance(value, list | tuple) and len(value) == 4 else []
    if not ends or any(end is None or abs(end) > _FURTHEST for end in ends):
        raise _OddError("box is no left, top, right and bottom")
    left, top, right, bottom = (end or 0.0 for end in ends)
    if right - left < 0.01 or bottom - top < 0.01:
        raise _OddError("box is empty")
    return left, top, right, bottom


def _numbers(value: object, shape: tuple[int, ...], key: str) -> Float[np.ndarray, "*shape"]:
    """The value as finite numbers of a shape."""
    try:
        found = np.asarray(value, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise _OddError(f"{key} holds what is no number") from error
    if found.shape != shape:
        raise _OddError(f"{key} does not fit its words or its grid")
    if not np.isfinite(found).all():
        raise _OddError(f"{key} holds numbers that are not finite")
    return found


def _scaled(heat: Float[np.ndarray, "words cells"]) -> Float[np.ndarray, "words cells"]:
    """Nothing below 0, and the most of each word 1 where it is more."""
    positive = heat.clip(min=0)
    scaled: Float[np.ndarray, "words cells"] = positive / positive.max(axis=1, keepdims=True, initial=1)
    return scaled


def _graph_of(row: Mapping[str, Any], key: str, odd: Counter[str]) -> Graph | None:
    """The graph under a key; None where there is none that can be read."""
    if row.get(key) is None:
        return None
    try:
        return _graph(row[key])
    except _OddError as error:
        odd[f"{key} {error} and was left out"] += 1
        return None


def _graph(value: object) -> Graph:
    objects, relations = as_mapping(value).get("objects"), as_mapping(value).get("relations")
    if not isinstance(objects, list) or not isinstance(relations, list):
        raise _OddError("has no objects or no relations")
    nodes = []
    for one in objects[:_MOST_NODES]:
        label, attributes = as_mapping(one).get("name"), as_mapping(one).get("attributes", [])
        if not isinstance(label, str):
            raise _OddError("has an object without a name")
        nodes.append((label[:_LONGEST_WORD], _texts(attributes)[:_MOST_NODES]))
    edges = []
    for one in relations:
        match one:
            case [int(subject), str(label), int(target)] if (
                0 <= subject < len(objects) and 0 <= target < len(objects) and bool not in (type(subject), type(target))
            ):
                if max(subject, target) < len(nodes):
                    edges.append((subject, label[:_LONGEST_WORD], target))
            case _:
                raise _OddError("has a relation that is none between two of its objects")
    return Graph(tuple(nodes), tuple(edges[:_MOST_NODES]))


def _plan(value: Mapping[str, Any]) -> Plan:
    reward, tokens, targets = value.get("reward"), _texts(value.get("tokens")), _texts(value.get("targets"))
    if not isinstance(reward, str) or not 0 < len(tokens) <= MOST_WORDS or len(targets) > MOST_WORDS:
        raise _OddError(f"its reward has no name, or it has no tokens or more than {MOST_WORDS}")
    grid = None if targets else _grid(value.get("grid"))
    box = WHOLE if grid is None else _box(value.get("box", WHOLE))
    width = len(targets) if grid is None else grid[0] * grid[1]
    mass = _numbers(value.get("plan"), (len(tokens), width), "plan")
    if mass.min() < 0:
        raise _OddError("it moves less than nothing")
    return Plan(reward[:_LONGEST_WORD], tokens, targets, grid, box, mass, as_number(value.get("cost")))
