"""What drove each word of some captions: parts of the image, and what the caption says beside what a reference says."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from rlcap.reporting.drawing.heat import Picture, overlay
from rlcap.reporting.drawing.scene_graphs import draw_graphs
from rlcap.reporting.drawing.svg import Mark
from rlcap.reporting.drawing.transport import draw_plan
from rlcap.reporting.material import Material
from rlcap.reporting.page.blocks import Block, Bullets, Folded, Paragraph, Switch
from rlcap.reporting.page.explained import Explained, ExplainedImage, ScrollingFigure, Strip, StripAlone
from rlcap.reporting.reading.explanations import Explanation, Plan, picture_of, read_explanations
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.sections.gallery.pictures import picture_uri
from rlcap.reporting.sections.section import Section
from rlcap.reporting.tables import number

_MOST_IMAGES = 8
_MOST_PLANS = 4
# Explanations and the gallery share what pictures may add to the page.
_SHARE = 0.5
_PICTURE = (256, 76)
_SWITCH = "explanation"
_OF_TOKENS = "A row for each token of the caption: how its mass is shared among the tokens of the reference."
_OF_PATCHES = "For each token of the caption where in the image its mass goes, scaled for every token."
_WAYS = {
    "relevance": (
        "Relevance",
        "Attention and its gradient, propagated through all layers (Chefer, Gur and Wolf 2021): what the word drew on.",
    ),
    "gradient_attention": (
        "Gradient-weighted attention",
        "Attention times its gradient in the last layer that looks at the image.",
    ),
}


@dataclass(frozen=True)
class _Found:
    """The explanations of a method's run."""

    place: int
    run: Run
    explanations: Mapping[str, Explanation]


def section(material: Material) -> Section | None:
    """The section; None where no run has explanations of the split."""
    notes: list[str] = []
    found = [one for place in range(len(material.methods)) if (one := _of_method(material, place, notes)) is not None]
    if not found and not notes:
        return None
    chosen = _chosen(found)
    shown: list[ExplainedImage] = []
    left = int(material.options.megabytes * _SHARE * 1e6)
    for which, image_id in enumerate(chosen):
        image = _image(material, image_id, which, found)
        left -= len(image.html())
        if left < 0:
            notes.append(
                f"Of {len(chosen)} images {len(shown)} are shown: more would add over "
                f"{_SHARE * material.options.megabytes:g} MB to the page."
            )
            break
        shown.append(image)
    explained = len({image_id for one in found for image_id in one.explanations})
    if explained > len(chosen):
        notes.append(
            f"{explained:,} images are explained; shown are {len(chosen)}, those that most methods have first."
        )
    blocks: list[Block] = []
    if shown:
        blocks += [
            Switch("Map", _SWITCH, tuple((title, (Paragraph(what, quiet=True),)) for title, what in _WAYS.values())),
            Paragraph(
                "Over the image, for each word: dark where nothing counted, yellow where the most did, scaled for "
                "every word. Below the word its probability; the bar says how much of it came from the image, next to "
                "the caption's other words.",
                quiet=True,
            ),
            *shown,
        ]
    blocks.append(Bullets(tuple(notes), notes=True))
    return Section("explanations", "Explanations", tuple(blocks))


def _of_method(material: Material, place: int, notes: list[str]) -> _Found | None:
    """The explanations of a method's first run that has any."""
    for run in material.methods[place].runs:
        own: list[str] = []
        explanations = read_explanations(run.folder, material.options.split, own)
        notes += [f"{run.name}: {note}." for note in own]
        if explanations:
            return _Found(place, run, explanations)
    return None


def _chosen(found: Sequence[_Found]) -> list[str]:
    """The images that most methods explained, in the order of the files."""
    times: dict[str, int] = {}
    for one in found:
        for image_id in one.explanations:
            times[image_id] = times.get(image_id, 0) + 1
    return sorted(times, key=lambda image_id: -times[image_id])[:_MOST_IMAGES]


def _image(material: Material, image_id: str, which: int, found: Sequence[_Found]) -> ExplainedImage:
    of_image = [one for one in found if image_id in one.explanations]
    picture, anchor = _picture(material, image_id, of_image), f"explained-{which}"
    methods = tuple(
        _explained(
            one.explanations[image_id],
            one.place,
            material.marks[one.place],
            f"explanation-{which}-{one.place + 1}",
            picture,
            anchor,
        )
        for one in of_image
    )
    return ExplainedImage(image_id, anchor, picture, _SWITCH, methods)


def _picture(material: Material, image_id: str, of_image: Sequence[_Found]) -> Picture:
    """The first picture of the image that can be read; a square without one."""
    for one in of_image:
        uri = picture_uri(picture_of(one.run.folder, material.options.split, image_id), *_PICTURE)
        if uri:
            with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
                return Picture(uri, image.width, image.height)
    return Picture("", 200, 200)


def _explained(explanation: Explanation, place: int, mark: Mark, slug: str, picture: Picture, anchor: str) -> Explained:
    more: list[Block] = []
    if explanation.graph is not None:
        graph = draw_graphs(
            f"{slug}-graph", f"Scene graph: {explanation.caption}", explanation.graph, explanation.reference_graph
        )
        legend = "Objects of one colour are the same or synonyms in both; dashed ones have no counterpart."
        more.append(Folded("Scene graph", (Paragraph(legend, quiet=True), ScrollingFigure(graph))))
    for which, plan in enumerate(explanation.plans[:_MOST_PLANS]):
        title = f"Transport plan: {plan.reward}"
        if plan.grid is None:
            matrix = draw_plan(f"{slug}-plan-{which}", f"{title}: {explanation.caption}", plan)
            more.append(Folded(title, (Paragraph(_OF_TOKENS, quiet=True), ScrollingFigure(matrix))))
        else:
            cost = "" if plan.cost is None else f" Cost {number(plan.cost, 4)}."
            strip = _of_patches(plan, plan.grid)
            patches = StripAlone(f"{slug}-plan-{which}", f"{title}: {explanation.caption}", strip, picture, anchor)
            more.append(Folded(title, (Paragraph(_OF_PATCHES + cost, quiet=True), patches)))
    strips = tuple(_strip(explanation, way) for way in _WAYS)
    return Explained(place, mark, slug, explanation.caption, strips, tuple(more))


def _strip(explanation: Explanation, way: str) -> Strip | None:
    """One of the maps of each word; None where the file has none of them."""
    maps = explanation.maps.get(way)
    if maps is None or not len(explanation.words):
        return None
    details = [number(p, 2) for p in explanation.probability] or [""] * len(explanation.words)
    most = max(explanation.strength, default=0.0)
    strengths = tuple(max(one, 0.0) / most for one in explanation.strength) if most > 0 else ()
    words = tuple(zip(explanation.words, details, strict=True))
    return Strip(explanation.box, tuple(overlay(heat) for heat in maps), words, strengths)


def _of_patches(plan: Plan, grid: tuple[int, int]) -> Strip:
    """Where in the image the mass of each token goes."""
    most = plan.mass.max(axis=1, keepdims=True)
    heat = np.divide(plan.mass, most, out=np.zeros_like(plan.mass), where=most > 0)
    overlays = tuple(overlay(of_token.reshape(grid)) for of_token in heat)
    return Strip(plan.box, overlays, tuple((token, "") for token in plan.tokens))
