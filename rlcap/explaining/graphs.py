"""Scene graphs of captions as plain JSON."""

from collections.abc import Sequence
from typing import Any

from rewards.scene_graph import SceneGraph, parse, statements


def graph_of(caption: str) -> dict[str, Any]:
    """What a caption says: objects with their attributes, and relations between objects by their places."""
    return as_json(parse(caption))


def fullest_graph(references: Sequence[str]) -> dict[str, Any] | None:
    """What the reference says that says most, the first of several; None without references.

    They are not merged: two things of one name in one reference would become one.
    """
    graphs = [parse(reference) for reference in references]
    return as_json(max(graphs, key=lambda graph: len(statements(graph)))) if graphs else None


def as_json(graph: SceneGraph) -> dict[str, Any]:
    """A scene graph as ``rewards.scene_graph.graph_from`` reads it."""
    objects = [
        {"name": name, "attributes": [attribute for owner, attribute in graph.attributes if owner == place]}
        for place, name in enumerate(graph.objects)
    ]
    return {"objects": objects, "relations": [list(relation) for relation in graph.relations]}
