"""What a caption and a reference say, as two graphs side by side: objects on the left, relations on the right."""

from collections.abc import Mapping, Sequence

from rewards.scene_graph.wordnet import first_synonym
from rlcap.reporting.drawing.svg import INK, METHOD_COLOURS, MUTED, Figure
from rlcap.reporting.drawing.words import fit, safe
from rlcap.reporting.reading.explanations import Graph

_NODE, _SPACE, _PILL, _APART = 138, 60, 104, 40
_HEIGHT, _WITH_ATTRIBUTES, _BETWEEN = 26, 40, 12
_PILL_HEIGHT, _PILL_STEP, _TOP = 20, 26, 28
# The first colour is the baseline's grey, which says nothing here.
_COLOURS = METHOD_COLOURS[1:]


def counterparts(graph: Graph, reference: Graph) -> dict[int, int]:
    """Which object of the reference each object of the graph is: one of its name, or else a synonym; each once.

    Of several that could be, those go together that share most attributes.
    """
    own, other = graph.objects, reference.objects
    pairs = [
        (name != theirs, -len({*attributes} & {*their_attributes}), place, their_place)
        for place, (name, attributes) in enumerate(own)
        for their_place, (theirs, their_attributes) in enumerate(other)
        if name == theirs or first_synonym(name, [theirs]) is not None
    ]
    found: dict[int, int] = {}
    for _, _, place, their_place in sorted(pairs):
        if place not in found and their_place not in found.values():
            found[place] = their_place
    return dict(sorted(found.items()))


def draw_graphs(slug: str, title: str, graph: Graph, reference: Graph | None) -> Figure:
    """The graph of a caption, and that of a reference beside it; what is in both has one colour.

    Args:
        slug: the figure's file name.
        title: what the caption is.
        graph: what the caption says.
        reference: what the reference says; None where there is none.
    """
    same = {} if reference is None else counterparts(graph, reference)
    colours = {place: _COLOURS[number % len(_COLOURS)] for number, place in enumerate(same)}
    drawn, height = _graph(graph, colours, "Caption")
    width = _NODE + _SPACE + _PILL
    if reference is not None:
        of_reference = {same[place]: colour for place, colour in colours.items()}
        beside, other_height = _graph(reference, of_reference, "Reference")
        drawn += f'<g transform="translate({width + _APART} 0)">{beside}</g>'
        width, height = 2 * width + _APART, max(height, other_height)
    return Figure(
        slug, title, "Explanations", f'<g transform="translate(2 0)">{drawn}</g>', width + 4, round(height), (),
        f"The caption says: {_told(graph)}" + (f". The reference says: {_told(reference)}" if reference else ""),
    )  # fmt: skip


def _graph(graph: Graph, colours: Mapping[int, str], title: str) -> tuple[str, float]:
    """A graph and how high it is."""
    tops, y = [], float(_TOP)
    for _, attributes in graph.objects:
        tops.append(y)
        y += (_WITH_ATTRIBUTES if attributes else _HEIGHT) + _BETWEEN
    heights = [_WITH_ATTRIBUTES if attributes else _HEIGHT for _, attributes in graph.objects]
    middles = [top + height / 2 for top, height in zip(tops, heights, strict=True)]
    order = sorted(graph.relations, key=lambda relation: middles[relation[0]] + middles[relation[2]])
    pills = _apart([(middles[subject] + middles[target]) / 2 for subject, _, target in order])
    # Lines reach an object one below the other, in the order of their relations.
    ends: dict[int, list[tuple[int, int]]] = {}
    for line, (subject, _, target) in enumerate(order):
        ends.setdefault(subject, []).append((line, 0))
        ends.setdefault(target, []).append((line, 1))

    def end(place: int, line: int, side: int) -> float:
        return tops[place] + heights[place] * (ends[place].index((line, side)) + 1) / (len(ends[place]) + 1)

    drawn = [f'<text x="0" y="14" font-size="11" fill="{MUTED}">{title}</text>']
    if not graph.objects:
        drawn.append(f'<text x="0" y="{_TOP + 16}" font-size="12" fill="{MUTED}">names no object</text>')
    for line, ((subject, label, target), pill) in enumerate(zip(order, pills, strict=True)):
        drawn.append(_relation(label, pill, end(subject, line, 0), end(target, line, 1)))
    drawn += [
        _node(name, attributes, top, height, colours.get(place))
        for place, ((name, attributes), top, height) in enumerate(zip(graph.objects, tops, heights, strict=True))
    ]
    return "".join(drawn), max(y, _TOP + 30.0, *(pill + _PILL_STEP for pill in pills)) if pills else max(y, _TOP + 30.0)


def _apart(places: Sequence[float]) -> list[float]:
    """Ascending places, moved down as far as it takes for labels not to overlap, and none above the first object."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + _PILL_STEP if moved else _TOP + _PILL_HEIGHT / 2))
    return moved


def _node(name: str, attributes: Sequence[str], top: float, height: int, colour: str | None) -> str:
    dash = "" if colour else ' stroke-dasharray="4 3"'
    drawn = (
        f'<rect x="0" y="{top:.1f}" width="{_NODE}" height="{height}" rx="7" fill="{colour or MUTED}" '
        f'fill-opacity="{0.16 if colour else 0.05}" stroke="{colour or MUTED}" stroke-width="1.3"{dash}/>'
        f'<text x="10" y="{top + 17:.1f}" font-size="12" font-weight="600" fill="{INK}">'
        f"{safe(fit(name, _NODE - 20, 12), 60)}<title>{safe(name, 120)}</title></text>"
    )
    if attributes:
        listed = ", ".join(attributes)
        drawn += (
            f'<text x="10" y="{top + 32:.1f}" font-size="11" fill="{MUTED}">{safe(fit(listed, _NODE - 20, 11), 60)}'
            f"<title>{safe(listed, 200)}</title></text>"
        )
    return drawn


def _relation(label: str, pill: float, start: float, end: float) -> str:
    """A line from the subject to the label, and an arrow from there to the object."""
    left, half = _NODE + _SPACE, _SPACE / 2
    out = f"M {_NODE} {start:.1f} C {_NODE + half} {start:.1f} {left - half} {pill - 4:.1f} {left} {pill - 4:.1f}"
    back = f"M {left} {pill + 4:.1f} C {left - half} {pill + 4:.1f} {_NODE + half} {end:.1f} {_NODE + 7} {end:.1f}"
    head = f"M {_NODE + 1} {end:.1f} l 8 -3.6 v 7.2 z"
    return (
        f'<path d="{out} {back}" fill="none" stroke="{MUTED}" stroke-width="1.1"/><path d="{head}" fill="{MUTED}"/>'
        f'<rect x="{left}" y="{pill - _PILL_HEIGHT / 2:.1f}" width="{_PILL}" height="{_PILL_HEIGHT}" rx="10" '
        f'fill="{MUTED}" fill-opacity="0.1" stroke="{MUTED}" stroke-width="0.8"/>'
        f'<text x="{left + _PILL / 2}" y="{pill + 4:.1f}" font-size="11" font-style="italic" text-anchor="middle" '
        f'fill="{INK}">{safe(fit(label, _PILL - 14, 11), 60)}<title>{safe(label, 120)}</title></text>'
    )


def _told(graph: Graph) -> str:
    objects = [" ".join([*attributes, name]) for name, attributes in graph.objects]
    relations = [f"{graph.objects[s][0]} {label} {graph.objects[t][0]}" for s, label, t in graph.relations]
    return "; ".join([", ".join(objects) or "nothing", *relations])
