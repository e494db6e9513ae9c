"""Captions as graphs of objects, their attributes and relations: parsing, comparing, drawing."""

from rewards.scene_graph.drawing import draw
from rewards.scene_graph.match import (
    KINDS,
    ReferenceGraph,
    Score,
    reference_graph,
    scene_graph_f,
    statements,
    sub_scores,
)
from rewards.scene_graph.parser import parse
from rewards.scene_graph.registers import SceneGraph
from rewards.scene_graph.reward import PARSER, SceneGraphF, graph_from

__all__ = [
    "KINDS",
    "PARSER",
    "ReferenceGraph",
    "SceneGraph",
    "SceneGraphF",
    "Score",
    "draw",
    "graph_from",
    "parse",
    "reference_graph",
    "scene_graph_f",
    "statements",
    "sub_scores",
]
