"""What of an image's metadata is written beside its caption, so that reports can tell images apart by it."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

MOST_CHARACTERS = 1000  # of an image's metadata as JSON


def plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an image's metadata that is small and plain: scalars and lists of strings, as ``Record`` names them.

    ``objects`` is their number where the metadata list them, there or in ``scene``; ``categories`` are then the names
    in the list, unless there are categories already. What would make it longer than ``MOST_CHARACTERS`` is left out.
    """
    objects = _listed(metadata)
    found: dict[str, Any] = {}
    if objects is not None:
        names = [item.get("name") if isinstance(item, Mapping) else item for item in objects]
        found["objects"] = len(objects)
        found["categories"] = sorted({name for name in names if isinstance(name, str)})
    found |= {key: value for key, value in metadata.items() if key != "objects" or objects is None}
    plain: dict[str, Any] = {}
    for key, value in found.items():
        kept = list(value) if isinstance(value, tuple) else value
        if is_plain(kept) and len(json.dumps({**plain, key: kept})) <= MOST_CHARACTERS:
            plain[key] = kept
    return plain


def _listed(metadata: Mapping[str, Any]) -> Sequence[Any] | None:
    """The objects of an image as a list, where there is one."""
    scene = metadata.get("scene")
    objects = metadata.get("objects", scene.get("objects") if isinstance(scene, Mapping) else None)
    return objects if isinstance(objects, list | tuple) else None


def is_plain(value: object) -> bool:
    """Whether a value of the metadata is a finite scalar or a list of strings that is not empty."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, str) for item in value)
    return isinstance(value, str | int)
