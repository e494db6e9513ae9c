"""The picture of a scene graph: well-formed, complete, escaped, and without boxes that overlap."""

from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.scene_graph import parse
from rewards.scene_graph.drawing import LONGEST_TEXT, draw
from rewards.scene_graph.registers import SceneGraph

SVG = "{http://www.w3.org/2000/svg}"
GRAPH = parse("two large dogs chasing a red ball on green grass next to a fence")


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of all rectangles but the ground."""
    rectangles = list(ElementTree.fromstring(svg).iter(f"{SVG}rect"))[1:]
    sides = [[float(one.attrib[key]) for key in ("x", "y", "width", "height")] for one in rectangles]
    return [(x, y, x + width, y + height) for x, y, width, height in sides]


def test_everything_is_drawn_once() -> None:
    drawn = texts(draw(GRAPH))
    expected = [*GRAPH.objects, *(text for _, text in GRAPH.attributes), *(name for _, name, _ in GRAPH.relations)]
    assert sorted(drawn) == sorted(expected)


def test_relations_of_one_pair_share_an_arrow() -> None:
    svg = draw(SceneGraph(("man", "hat"), (), ((0, "wear", 1), (0, "hold", 1))))
    assert texts(svg).count("wear, hold") == 1
    assert svg.count('class="edge"') == 1


@pytest.mark.parametrize(
    "graph",
    [
        GRAPH,
        SceneGraph(),
        SceneGraph(("dog",), ((0, "brown"),), ((0, "near", 0),)),
        SceneGraph(("a", "b", "c"), (), ((0, "on", 1), (1, "on", 2), (2, "on", 0), (1, "under", 0))),
        SceneGraph(tuple("abcdefghijkl"), (), tuple((place, "on", place + 1) for place in range(11))),
    ],
    ids=["caption", "empty", "loop", "circle", "chain"],
)
def test_boxes_lie_apart_and_inside(graph: SceneGraph) -> None:
    svg = draw(graph)
    left, top, width, height = map(float, ElementTree.fromstring(svg).attrib["viewBox"].split())
    found = boxes(svg)
    for place, (x0, y0, x1, y1) in enumerate(found):
        assert left <= x0 < x1 <= left + width
        assert top <= y0 < y1 <= top + height
        for u0, v0, u1, v1 in found[place + 1 :]:
            assert x1 <= u0 or u1 <= x0 or y1 <= v0 or v1 <= y0


def test_text_is_escaped_and_clipped() -> None:
    svg = draw(SceneGraph(('<script>&"\x00\ud800', "x" * 1000), ((0, "</text>"),), ((0, "a<b", 1),)))
    assert texts(svg)[:3] == ['<script>&"', "</text>", "x" * (LONGEST_TEXT - 1) + "…"]
    assert "<script" not in svg


def test_it_needs_nothing_else() -> None:
    svg = draw(GRAPH)
    assert "url(" not in svg
    assert "href" not in svg
    assert svg.count("http") == 1  # the name space
    assert "prefers-color-scheme:dark" in svg


@given(st.text(max_size=80))
@settings(max_examples=60, deadline=None)
def test_any_caption_can_be_drawn(caption: str) -> None:
    graph = parse(caption)
    assert len(boxes(draw(graph))) == len(graph.objects) + len(graph.attributes)
