"""A scene graph as a picture: an SVG that needs nothing else, legible on light and dark ground.

Path("graph.svg").write_text(draw(parse("two dogs running on green grass")))
"""

import re
from collections.abc import Sequence
from html import escape
from unicodedata import east_asian_width

from rewards.scene_graph.registers import SceneGraph

LONGEST_TEXT = 40  # characters; longer names end in an ellipsis
FONT, SMALL = 15, 12  # pixels
CHARACTER = 0.58  # mean width of a character, in font sizes
PAD = 14
NODE_HEIGHT, PILL_HEIGHT, GAP = 34, 20, 6
ROW_GAP = 34.0
LEAST_COLUMN_GAP = 80.0
MOST_COLUMNS = 8
LABEL_HEIGHT = 16
HEAD = 9  # length of an arrow's head
MARGIN = 20
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

STYLE = """
.scene-graph{color:#1f2933;--ground:#ffffff;--object:#dbe7f5;--attribute:#f3e8d2;font-family:system-ui,sans-serif}
@media (prefers-color-scheme:dark){
.scene-graph{color:#e7ecf2;--ground:#14181d;--object:#26394f;--attribute:#453a25}}
.scene-graph text{fill:currentColor;text-anchor:middle;dominant-baseline:central}
.scene-graph .label{font-size:12px;font-style:italic;stroke:var(--ground);stroke-width:5px;paint-order:stroke;
stroke-linejoin:round}
.scene-graph .edge{fill:none;stroke:currentColor;stroke-width:1.4;opacity:.65}
.scene-graph .head{fill:currentColor;opacity:.65}
"""


class _Box:
    """An object with its attributes, and where it lies."""

    def __init__(self, name: str, attributes: Sequence[str]) -> None:
        self.name, self.attributes = _clip(name), [_clip(attribute) for attribute in attributes]
        widths = [_width(self.name, FONT) + 2 * PAD, *(_width(text, SMALL) + PAD for text in self.attributes)]
        self.width = max(widths)
        self.height = NODE_HEIGHT + len(self.attributes) * (PILL_HEIGHT + GAP)
        self.x = self.y = 0.0  # the upper left corner
        self.column = 0


def draw(graph: SceneGraph) -> str:
    """The graph as SVG: objects as boxes, their attributes as pills below, relations as arrows with a label."""
    boxes = [
        _Box(name, [text for owner, text in graph.attributes if owner == place])
        for place, name in enumerate(graph.objects)
    ]
    edges = _edges(graph)
    gap = max([LEAST_COLUMN_GAP, *(_width(label, SMALL) + 4 * PAD for label in edges.values())])
    _place(boxes, list(edges), gap)
    bottom = max((box.y + box.height for box in boxes), default=0.0)
    lines, labels = [], []
    taken: list[tuple[float, float, float]] = []  # the labels so far: middle, and half the width
    for (start, end), label in edges.items():
        arrow = _forward if boxes[start].column < boxes[end].column else _around
        half = _width(label, SMALL) / 2 + GAP
        line, head, x, y = arrow(boxes[start], boxes[end], bottom, half)
        while any(abs(y - other) < LABEL_HEIGHT and abs(x - middle) < half + reach for middle, other, reach in taken):
            y += LABEL_HEIGHT / 2
        taken.append((x, y, half))
        lines.append(f'<path class="edge" d="{line}"/><path class="head" d="{head}"/>')
        labels.append(f'<text class="label" x="{x:.0f}" y="{y:.0f}">{_escape(label)}</text>')
    left = min([0.0, *(x - half for x, _, half in taken)]) - MARGIN
    width = max([0.0, *(box.x + box.width for box in boxes), *(x + half for x, _, half in taken)]) + MARGIN - left
    height = max([bottom, *(y + LABEL_HEIGHT for _, y, _ in taken)]) + 2 * MARGIN
    frame = f'width="{width:.0f}" height="{height:.0f}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="scene-graph" role="img" {frame} '
        f'viewBox="{left:.0f} {-MARGIN} {width:.0f} {height:.0f}" font-size="{FONT}">'
        f"<title>{_escape(_told(graph))}</title><style>{STYLE}</style>"
        f'<rect x="{left:.0f}" y="{-MARGIN}" {frame} rx="8" fill="var(--ground)"/>'
        f"{''.join(lines)}{''.join(map(_drawn, boxes))}{''.join(labels)}</svg>\n"
    )


def _edges(graph: SceneGraph) -> dict[tuple[int, int], str]:
    """One arrow for each pair of objects, with all relations of the one to the other."""
    edges: dict[tuple[int, int], list[str]] = {}
    for subject, relation, other in graph.relations:
        edges.setdefault((subject, other), []).append(_clip(relation))
    return {pair: ", ".join(labels) for pair, labels in edges.items()}


def _place(boxes: Sequence[_Box], pairs: Sequence[tuple[int, int]], gap: float) -> None:
    """Puts each object right of those it is the object of, where no circle forbids it; columns are centred."""
    forward = [(start, end) for start, end in pairs if start < end or (end, start) not in pairs]
    for _ in range(min(len(boxes), MOST_COLUMNS)):
        for start, end in forward:
            wanted = boxes[start].column + 1
            if boxes[end].column < wanted < MOST_COLUMNS and start != end:
                boxes[end].column = wanted
    columns = [column for place in range(MOST_COLUMNS) if (column := [box for box in boxes if box.column == place])]
    heights = [sum(box.height + ROW_GAP for box in column) - ROW_GAP for column in columns]
    x = 0.0
    for column, height in zip(columns, heights, strict=True):
        y = (max(heights) - height) / 2
        for box in column:
            box.x, box.y = x, y
            y += box.height + ROW_GAP
        x += max(box.width for box in column) + gap


def _forward(start: _Box, end: _Box, bottom: float, half: float) -> tuple[str, str, float, float]:
    """An arrow to the right: its line, its head, and the place of its label, before its end where lines part."""
    x0, y0 = start.x + start.width, start.y + NODE_HEIGHT / 2
    x1, y1 = end.x - HEAD, end.y + NODE_HEIGHT / 2
    bend = (x0 + x1) / 2
    line = f"M{x0:.0f} {y0:.0f}C{bend:.0f} {y0:.0f} {bend:.0f} {y1:.0f} {x1:.0f} {y1:.0f}"
    head = f"M{x1 + HEAD:.0f} {y1:.0f}l{-HEAD} -5v10z"
    middle = x1 - half
    low, high = 0.0, 1.0  # where on the curve that is
    for _ in range(16):
        share = (low + high) / 2
        x = (1 - share) ** 3 * x0 + 3 * share * (1 - share) * bend + share**3 * x1
        low, high = (share, high) if x < middle else (low, share)
    return line, head, middle, y0 + (y1 - y0) * low * low * (3 - 2 * low)


def _around(start: _Box, end: _Box, bottom: float, half: float) -> tuple[str, str, float, float]:
    """An arrow that goes back or stays in its column, below everything."""
    apart = PAD if start is end else PAD / 2
    x0, y0 = start.x + start.width / 2 - apart, start.y + start.height
    x1, y1 = end.x + end.width / 2 + apart, end.y + end.height + HEAD
    low = bottom + ROW_GAP
    line = f"M{x0:.0f} {y0:.0f}C{x0:.0f} {low + 12:.0f} {x1:.0f} {low + 12:.0f} {x1:.0f} {y1:.0f}"
    head = f"M{x1:.0f} {y1 - HEAD:.0f}l-5 {HEAD}h10z"
    return line, head, (x0 + x1) / 2, low


def _drawn(box: _Box) -> str:
    """A box and its pills."""
    middle = box.x + box.width / 2
    parts = [
        f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" height="{NODE_HEIGHT}" rx="6" '
        f'fill="var(--object)" stroke="currentColor" stroke-opacity=".35"/>'
        f'<text x="{middle:.0f}" y="{box.y + NODE_HEIGHT / 2:.0f}" font-weight="600">{_escape(box.name)}</text>'
    ]
    y = box.y + NODE_HEIGHT + GAP
    for text in box.attributes:
        width = _width(text, SMALL) + PAD
        parts.append(
            f'<rect x="{middle - width / 2:.0f}" y="{y:.0f}" width="{width:.0f}" height="{PILL_HEIGHT}" '
            f'rx="{PILL_HEIGHT / 2:.0f}" fill="var(--attribute)"/>'
            f'<text x="{middle:.0f}" y="{y + PILL_HEIGHT / 2:.0f}" font-size="{SMALL}">{_escape(text)}</text>'
        )
        y += PILL_HEIGHT + GAP
    return "".join(parts)


def _told(graph: SceneGraph) -> str:
    """The graph in words, for those who do not see it."""
    names = graph.objects
    parts = [", ".join(names) or "nothing"]
    parts += [f"{names[owner]} {attribute}" for owner, attribute in graph.attributes]
    parts += [f"{names[subject]} {relation} {names[other]}" for subject, relation, other in graph.relations]
    return "; ".join(parts)


def _clip(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def _width(text: str, size: int) -> float:
    """About how wide a text is, in pixels."""
    return size * sum(1.05 if east_asian_width(character) in "WF" else CHARACTER for character in text)


def _escape(text: str) -> str:
    return escape(NOT_IN_XML.sub("", text))
