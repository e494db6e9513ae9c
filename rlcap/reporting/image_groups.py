"""Images in groups that may be hard for some methods and easy for others: by references, objects and metadata."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from rewards.scene_graph.parser import parse
from rlcap.reporting.drawing.svg import shorten
from rlcap.reporting.reading.files import as_count
from rlcap.reporting.reading.predictions import Prediction
from rlcap.reporting.tables import number

# A group of fewer images says little of any method.
LEAST = 20
_BINS = 5
_MOST_CATEGORIES = 12
_MOST_VALUES = 12
_MOST_KEYS = 4
# References are many and alike: the first few tell how long they are and what they name.
_REFERENCES = 5
_LONGEST = 60


@dataclass(frozen=True)
class Group:
    """Some of the images that are compared: what they have in common, and their places."""

    label: str
    images: Int[np.ndarray, " images"]


@dataclass(frozen=True)
class Breakdown:
    """Images in groups.

    Attributes:
        title: by what.
        groups: at least two, in the order they are shown.
        notes: how they were made and what was left out, one sentence each.
    """

    title: str
    groups: tuple[Group, ...]
    notes: tuple[str, ...]


def breakdowns_of(
    predictions: Sequence[Prediction], metadata: Sequence[Mapping[str, Any]], least: int = LEAST
) -> tuple[tuple[Breakdown, ...], tuple[str, ...]]:
    """Every way to break the images down that leaves at least two groups, and what else there was, one line each.

    Args:
        predictions: of each image, for its references.
        metadata: what the data set knows of each image.
        least: how many images a group has at least.
    """
    chosen = [key for key in sorted({key for known in metadata for key in known}) if _is_kind(key, metadata)]
    found = (
        by_length(predictions, least),
        by_objects(predictions, metadata, least),
        by_categories(metadata, least),
        *(by_value(key, metadata, least) for key in chosen[:_MOST_KEYS]),
    )
    more = [
        f"Not broken down by {shorten(key, _LONGEST)}: {_MOST_KEYS} keys of the metadata are."
        for key in chosen[_MOST_KEYS:]
    ]
    return tuple(breakdown for breakdown in found if breakdown is not None), tuple(more)


def by_length(predictions: Sequence[Prediction], least: int = LEAST) -> Breakdown | None:
    """By how many words the references of an image have on average."""
    lengths = [
        float(np.mean([len(reference.split()) for reference in prediction.references[:_REFERENCES]]))
        if prediction.references
        else None
        for prediction in predictions
    ]
    return _binned(
        "Length of the references", "words", lengths, least, ["Mean number of words of an image's references."]
    )


def by_objects(
    predictions: Sequence[Prediction], metadata: Sequence[Mapping[str, Any]], least: int = LEAST
) -> Breakdown | None:
    """By how many objects an image has, or else by how many its references name."""
    counts = [as_count(known.get("objects")) for known in metadata]
    if any(count is not None for count in counts):
        known = [None if count is None else float(count) for count in counts]
        return _binned("Objects", "objects", known, least, ["The data set's metadata tells the number of objects."])
    named = [
        float(np.mean([len(parse(reference).objects) for reference in prediction.references[:_REFERENCES]]))
        if prediction.references
        else None
        for prediction in predictions
    ]
    how = (
        "No metadata tells the number of objects: it is the mean of those that each reference of an image names, as "
        "the scene graph parser reads it."
    )
    return _binned("Objects named", "objects", named, least, [how])


def by_categories(metadata: Sequence[Mapping[str, Any]], least: int = LEAST) -> Breakdown | None:
    """By the categories of what an image shows: it counts in each of its own."""
    own = [_names(known.get("categories")) for known in metadata]
    times = Counter(name for names in own for name in names)
    ranked = sorted(times, key=lambda name: (-times[name], name))
    shown = [name for name in ranked[:_MOST_CATEGORIES] if times[name] >= least]
    notes = ["An image counts in each of its categories, so that groups overlap."]
    if len(ranked) > len(shown):
        few = f" of at least {least} images" if len(shown) < _MOST_CATEGORIES else ""
        notes.append(f"The {len(shown)} most frequent{few} of {len(ranked):,} categories.")
    groups = [Group(_label(name), _places([name in names for names in own])) for name in shown]
    return _breakdown("Category", groups, notes)


def by_value(key: str, metadata: Sequence[Mapping[str, Any]], least: int = LEAST) -> Breakdown | None:
    """By what the metadata says of an image under a key."""
    values = [known.get(key) for known in metadata]
    times = Counter(value for value in values if _is_word(value))
    shown = [value for value in sorted(times, key=lambda value: (-times[value], str(value))) if times[value] >= least]
    notes = []
    if len(shown) < len(times):
        left_out = ", ".join(sorted(_label(value) for value in times.keys() - set(shown)))
        notes.append(f"Left out, with fewer than {least} images: {left_out}.")
    without = len(values) - times.total()
    if without:
        notes.append(f"Images left out for want of it: {without:,}.")
    groups = [Group(_label(value), _places([one == value for one in values])) for value in shown]
    return _breakdown(shorten(key, _LONGEST), groups, notes)


def equal_bins(
    values: Float[np.ndarray, " images"], bins: int = _BINS, least: int = LEAST
) -> list[Int[np.ndarray, " _images"]]:
    """The places of the values in bins of about equal size, ascending, equal values together.

    A value goes where the middle of its ranks falls; then the smallest bin joins the smaller of its neighbours for as
    long as it has too few.
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / len(values)
    bin_of_value = np.minimum((middle * bins).astype(np.int64), bins - 1)
    found = [np.flatnonzero(bin_of_value[inverse] == place) for place in range(bins)]
    found = [places for places in found if len(places)]
    while len(found) > 1 and min(map(len, found)) < least:
        small = min(range(len(found)), key=lambda place: len(found[place]))
        neighbours = [place for place in (small - 1, small + 1) if 0 <= place < len(found)]
        other = min(neighbours, key=lambda place: len(found[place]))
        first, second = sorted((small, other))
        found[first : second + 1] = [np.sort(np.concatenate([found[first], found[second]]))]
    return found


def _binned(
    title: str, unit: str, values: Sequence[float | None], least: int, notes: Sequence[str]
) -> Breakdown | None:
    places = _places([value is not None for value in values])
    if not len(places):
        return None
    known = np.array([values[place] for place in places], np.float64)
    bins = equal_bins(known, least=least)
    groups = [
        Group(_range(float(known[within].min()), float(known[within].max()), unit), places[within]) for within in bins
    ]
    more = [*notes]
    if len(places) < len(values):
        more.append(f"Images left out for want of it: {len(values) - len(places):,}.")
    more.append(f"Groups of about equal size and at least {least} images: smaller ones are joined with a neighbour.")
    return _breakdown(title, groups, more)


def _range(low: float, high: float, unit: str) -> str:
    digits = 0 if low.is_integer() and high.is_integer() else 1
    if isclose(low, high):
        return f"{number(low, digits)} {unit.removesuffix('s') if low == 1 else unit}"
    return f"{number(low, digits)} to {number(high, digits)} {unit}"


def _breakdown(title: str, groups: Sequence[Group], notes: Sequence[str]) -> Breakdown | None:
    enough = tuple(group for group in groups if len(group.images))
    return Breakdown(title, enough, tuple(notes)) if len(enough) > 1 else None


def _places(chosen: Sequence[bool]) -> Int[np.ndarray, " _images"]:
    return np.flatnonzero(np.array(chosen, np.bool_))


def _names(value: object) -> frozenset[str]:
    return (
        frozenset(name for name in value if isinstance(name, str)) if isinstance(value, list | tuple) else frozenset()
    )


def _is_word(value: object) -> bool:
    return isinstance(value, str | bool)


def _label(value: Hashable) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else shorten(str(value), _LONGEST) or "(empty)"


def _is_kind(key: str, metadata: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a key says of what kind an image is: texts or truth values, of which there are a few."""
    if key in ("objects", "categories"):
        return False
    values = {value for known in metadata if _is_word(value := known.get(key))}
    return 2 <= len(values) <= _MOST_VALUES
