import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from rlcap.reporting.drawing.heat import overlay, upsampled
from rlcap.reporting.drawing.scene_graphs import counterparts, draw_graphs
from rlcap.reporting.drawing.transport import draw_plan
from rlcap.reporting.material import gather
from rlcap.reporting.options import ReportOptions
from rlcap.reporting.page.blocks import figures_of, html_of, markdown_of
from rlcap.reporting.page.explained import ExplainedImage
from rlcap.reporting.reading.explanations import WHOLE, Graph, Plan, read_explanations
from rlcap.reporting.reading.runs import read_runs
from rlcap.reporting.sections import explanations
from rlcap.reporting.sections.section import Section

GRAPH = {
    "objects": [{"name": "dog", "attributes": ["red"]}, {"name": "mat", "attributes": []}],
    "relations": [[0, "on", 1]],
}
PLAN = {"reward": "mover", "tokens": ["red", "dog"], "targets": ["a", "dog", "runs"], "cost": 0.25}
PLAN |= {"plan": [[0.5, 0.0, 0.0], [0.0, 0.375, 0.125]]}
PATCHES = {
    "reward": "patches",
    "tokens": ["dog"],
    "grid": [1, 2],
    "plan": [[0.2, 0.8]],
    "cost": 0.125,
    "box": [0, 0, 1, 1],
}


def explained(image_id: str = "a/1", **changes: Any) -> dict[str, Any]:
    """What ``rlcap explain`` writes of an image, with some of it changed."""
    maps = [[1.0, 0.5, 0.25, 0.0], [0.0, 0.0, 0.5, 1.0]]
    row = {
        "image_id": image_id,
        "caption": "red dog",
        "words": ["red", "dog"],
        "grid": [2, 2],
        "box": [0.25, 0, 0.75, 1],
    }
    row |= {"relevance": maps, "gradient_attention": maps[::-1], "strength": [0.5, 2.0], "probability": [0.875, 0.5]}
    return row | {"scene_graph": GRAPH, "reference_graph": GRAPH, "transport": [PLAN, PATCHES]} | changes


def write_explanations(folder: Path, rows: list[dict[str, Any]], version: object = 1, pictures: bool = True) -> Path:
    """A run folder with nothing but a logged row and the explanations of its test split."""
    into = folder / "explanations" / "test"
    (into / "images").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n')
    (into / "explanations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (into / "explanations.json").write_text(json.dumps({"version": version}))
    for row in rows if pictures else []:
        path = into / "images" / f"{quote(str(row.get('image_id')), safe='')}.jpg"
        Image.new("RGB", (60, 40), "teal").save(path)
    return folder


def made_of(*folders: Path, **options: Any) -> Section | None:
    return explanations.section(gather(read_runs(folders, "test"), ReportOptions(**options)))


class _Tags(HTMLParser):
    """All start tags and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_each_word_shows_the_image_under_its_maps(tmp_path):
    made = made_of(write_explanations(tmp_path / "run", [explained()]))
    page = html_of(made.blocks)
    tags = _Tags(page).found
    pictures = [attrs for tag, attrs in tags if tag == "image" and "id" in attrs]
    # Twice two words, and the one token of the plan on patches, over one picture that the page holds once.
    overlays = [attrs for tag, attrs in tags if tag == "image" and "preserveaspectratio" in attrs]
    assert [picture["id"] for picture in pictures] == ["explained-0"]
    assert page.count("data:image/jpeg") == 1
    assert len(overlays) == 5
    assert sum(tag == "use" and attrs["href"] == "#explained-0" for tag, attrs in tags) == 6
    assert [float(overlays[0][key]) for key in ("x", "y", "width", "height")] == [15, 0, 30, 40]
    assert re.findall(r"<bdi>(\w+)</bdi><small>([\d.]+)</small>", page) == [("red", "0.88"), ("dog", "0.50")] * 2
    assert re.findall(r'style="width:(\d+)%"', page) == ["25", "100"] * 2
    panels = [
        (attrs["data-choice"], "hidden" in attrs) for _, attrs in tags if attrs.get("data-panel") == "explanation"
    ]
    assert panels == [("0", False), ("1", True)] * 2
    assert "Cost 0.1250." in page


def test_maps_are_bilinear_between_the_middles_of_cells():
    fine = upsampled(np.array([[0.0, 1.0]]), pixels=8)
    assert fine.shape == (4, 8)
    # Middles of the cells lie at 2 and 6 of 8 pixels; the middle of pixel n at n + 0.5.
    assert fine[0] == pytest.approx([0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1])
    with Image.open(io.BytesIO(base64.b64decode(overlay(np.array([[0.0, 1.0]])).partition(",")[2]))) as picture:
        pixels = np.asarray(picture.convert("RGBA"), np.int64)
    assert (np.diff(pixels[0].sum(axis=1)) >= 0).all()  # brighter and less transparent from left to right
    assert pixels[0, 0, :3].tolist() == [0, 0, 4]
    assert pixels[0, 0, 3] == pytest.approx(255 * 0.42, abs=1)
    assert pixels[0, -1, 3] == pytest.approx(255 * 0.7, abs=1)


@pytest.mark.parametrize(
    ("changes", "why", "kept"),
    [
        ({"relevance": [[1.0, 0.5, 0.25], [0, 0, 1]]}, "relevance does not fit its words or its grid", "Scene graph"),
        ({"relevance": [[1.0, 0.5], [1.0]]}, "relevance holds what is no number", "Scene graph"),
        ({"relevance": [[float("nan")] * 4] * 2}, "relevance holds numbers that are not finite", "Scene graph"),
        ({"grid": [10**9, 10**9]}, "grid is no pair of rows and columns from 1 to 64", "Scene graph"),
        ({"grid": "2x2"}, "grid is no pair of rows and columns from 1 to 64", "Scene graph"),
        ({"box": [0.5, 0, 0.5, 1]}, "box is empty", "Scene graph"),
        ({"box": [0, 0, 1e308, 1]}, "box is no left, top, right and bottom", "Scene graph"),
        ({"probability": [0.5]}, "probability does not fit its words or its grid and was left out", "preserveAspect"),
        ({"strength": {"red": 1}}, "strength holds what is no number and was left out", "preserveAspect"),
        ({"words": ["red", 2]}, "words are no list of texts, so the maps were left out", "Scene graph"),
        ({"scene_graph": {"objects": "dog"}}, "scene_graph has no objects or no relations", "preserveAspect"),
        ({"scene_graph": GRAPH | {"relations": [[0, "on", 7]]}}, "has a relation that is none", "preserveAspect"),
        ({"scene_graph": GRAPH | {"relations": [[0, 3, 1]]}}, "has a relation that is none", "preserveAspect"),
        ({"reference_graph": {"objects": [3], "relations": []}}, "has an object without a name", "Scene graph"),
        ({"transport": [PLAN | {"plan": [[1]]}]}, "a transport plan was left out: plan does not fit", "Scene graph"),
        (
            {"transport": [PLAN | {"plan": [[-1] * 3] * 2}]},
            "a transport plan was left out: it moves less than nothing",
            "Scene graph",
        ),
        ({"transport": [3, PLAN]}, "a transport plan was left out: its reward has no name", "Transport plan: mover"),
        ({"words": ["w"] * 50, "relevance": [[1.0] * 4] * 50}, "captions of more than 40 words are cut", "Scene graph"),
    ],
    ids=lambda value: (
        None if isinstance(value, dict) else "" if value in ("Scene graph", "preserveAspect") else value[:24]
    ),
)
def test_damaged_parts_are_named_and_left_out(tmp_path, changes, why, kept):
    made = made_of(write_explanations(tmp_path / "run", [explained(**changes)]))
    page = html_of(made.blocks)
    assert re.search(rf"run: explanations/test/explanations\.jsonl: [^<]*{re.escape(why)}[^<]* \(1 row\)\.", page)
    assert kept in page
    for figure in figures_of(made.blocks):
        ElementTree.fromstring(figure.standalone())


def test_files_that_cannot_be_read_are_named(tmp_path):
    other = write_explanations(tmp_path / "other", [explained()], version=2)
    assert "other: explanations/test is of version 2, this report reads version 1" in html_of(made_of(other).blocks)
    torn = write_explanations(tmp_path / "torn", [explained(), {"caption": 3}])
    with (torn / "explanations/test/explanations.jsonl").open("a") as file:
        file.write("[]\n{")
    notes: list[str] = []
    assert list(read_explanations(torn, "test", notes)) == ["a/1"]
    assert len(notes) == 3
    (tmp_path / "none").mkdir()
    (tmp_path / "none/metrics.jsonl").write_text('{"step": 1, "loss": 2}\n')
    assert made_of(tmp_path / "none") is None


def test_hostile_words_are_text(tmp_path):
    evil = "'\"><script>alert('1')</script>\u202e" + "w" * 3000
    graph = {"objects": [{"name": evil, "attributes": [evil]}] * 2, "relations": [[0, evil, 1]]}
    row = explained(evil[:90], caption=evil, words=[evil, evil], scene_graph=graph, reference_graph=graph)
    row["transport"] = [PLAN | {"reward": evil, "tokens": [evil] * 2, "targets": [evil] * 3}]
    made = made_of(write_explanations(tmp_path / "run", [row], pictures=False))
    page = html_of(made.blocks)
    assert "<script" not in page
    assert "\u202e" not in page + markdown_of(made.blocks)
    assert "no picture" in page
    assert len(figures_of(made.blocks)) == 3
    for figure in figures_of(made.blocks):
        tree = ElementTree.fromstring(figure.standalone())
        assert not [node for node in tree.iter() if node.tag.endswith("script")]


def test_images_of_most_methods_come_first_and_fit_into_half_of_the_room(tmp_path):
    rows = [explained(f"i{place}") for place in range(10)]
    one = write_explanations(tmp_path / "one", rows)
    two = write_explanations(tmp_path / "two", rows[::-1][:3])
    blocks = made_of(one, two).blocks
    images = [block for block in blocks if isinstance(block, ExplainedImage)]
    assert [image.image_id for image in images] == ["i7", "i8", "i9", "i0", "i1", "i2", "i3", "i4"]
    assert [len(image.methods) for image in images] == [2, 2, 2, 1, 1, 1, 1, 1]
    assert "10 images are explained; shown are 8" in html_of(blocks)
    size = len(images[0].html()) + len(images[1].html())
    few = made_of(one, two, megabytes=2 * (size + 100) / 1e6).blocks
    assert sum(isinstance(block, ExplainedImage) for block in few) == 2
    assert "Of 8 images 2 are shown" in html_of(few)


def test_markdown_links_the_figures_that_are_written(tmp_path):
    made = made_of(write_explanations(tmp_path / "run", [explained()]))
    linked = re.findall(r"\(figures/(.+?)\.svg\)", markdown_of(made.blocks))
    assert linked == [figure.slug for figure in figures_of(made.blocks)]
    assert linked == [f"explanation-0-1{ending}" for ending in ("", "-graph", "-plan-0", "-plan-1")]
    assert "red dog" in markdown_of(made.blocks)


def test_objects_go_together_by_name_and_attributes_and_then_by_synonym():
    graph = Graph((("square", ("red",)), ("square", ("blue",)), ("couch", ()), ("dog", ())), ())
    reference = Graph((("sofa", ()), ("square", ("blue",)), ("cat", ())), ())
    assert counterparts(graph, reference) == {1: 1, 2: 0}
    drawing = draw_graphs("s", "t", graph, reference).drawing
    assert drawing.count("stroke-dasharray") == 3  # square, dog and cat
    colours = re.findall(r'<rect x="0"[^>]*fill="(#\w+)" fill-opacity="0.16"', drawing)
    assert len(colours) == 4
    assert (colours[0], colours[1]) == (colours[3], colours[2])


def test_objects_and_relations_do_not_overlap():
    names = tuple((f"object number {place} of a long name", ("old", "new") if place % 2 else ()) for place in range(8))
    relations = (*((0, "in front of", place) for place in range(1, 8)), (7, "on", 0), (7, "near", 1))
    figure = draw_graphs("s", "t", Graph(names, relations), None)
    boxes = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', figure.drawing)
    assert len(boxes) == 8 + 9
    found = [tuple(map(float, box)) for box in boxes]
    for place, (x, y, width, height) in enumerate(found):
        assert x + width <= figure.width
        assert y + height <= figure.height
        for other_x, other_y, _, other_height in found[place + 1 :]:
            assert x != other_x or y + height <= other_y or other_y + other_height <= y


def test_a_plan_shows_the_share_of_each_token():
    plan = Plan("mover", ("red", "dog"), ("a", "dog", "runs"), None, WHOLE, np.array(PLAN["plan"]), 0.25)
    drawing = draw_plan("s", "t", plan).drawing
    assert re.findall(r'fill-opacity="([\d.]+)"', drawing) == ["1.00", "0.75", "0.25"]
    assert re.findall(r"<title>(.+?)</title>", drawing) == [
        "red → a: 100% of the token",
        "dog → dog: 75% of the token",
        "dog → runs: 25% of the token",
    ]
    assert "cost 0.2500" in drawing
    scale = np.array([[1e308], [5e-324]])  # sums of numbers as large as these are infinite
    extreme = draw_plan("s", "t", replace(plan, mass=np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 1.0]]) * 2 * scale)).drawing
    assert re.findall(r'fill-opacity="([\d.]+)"', extreme) == ["0.50"] * 4
