"""Pictures of plans: what they say, in well-formed SVG whatever the words are."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from rewards.base import RewardError
from rewards.draw_plan import draw_patches, draw_plan

SVG = "{http://www.w3.org/2000/svg}"
NASTY = ["</svg><script>alert(1)</script>", 'a "b" & <c>', "nul\x00and\ud800", "数据", ""]


def shown(element: ElementTree.Element) -> str:
    """The text of an element without that of its tooltip."""
    return (element.text or "") + "".join(child.tail or "" for child in element)


def texts(svg: str, tag: str) -> list[str]:
    return [shown(element) for element in ElementTree.fromstring(svg).iter(f"{SVG}{tag}")]


def test_a_row_is_shared_among_columns() -> None:
    plan = np.array([[0.25, 0.0, 0.25], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    svg = draw_plan(plan, ["a", "cat", "nothing"], ["the", "feline", "here"])
    root = ElementTree.fromstring(svg)
    numbers = [text.text for text in root.iter(f"{SVG}text") if "number" in text.get("class", "")]
    assert numbers == ["50", "50", "100"]
    assert "cat → feline: 100% of the word, mass 0.5000" in texts(svg, "title")
    opacities = [rect.get("fill-opacity") for rect in root.iter(f"{SVG}rect") if rect.get("class") == "mass"]
    assert opacities == ["0.500", "0.000", "0.500", "0.000", "1.000", "0.000", "0.000", "0.000", "0.000"]
    assert {"caption ↓", "reference →", "a", "cat", "the", "feline"} <= set(texts(svg, "text"))
    assert "prefers-color-scheme: dark" in svg


@pytest.mark.parametrize("picture", ["plan", "patches"])
def test_words_are_text_and_never_markup(picture: str) -> None:
    if picture == "plan":
        svg = draw_plan(np.full((5, 5), 0.04), NASTY, NASTY, row_name="<b>", column_name="&")
    else:
        svg = draw_patches(np.full((5, 4), 0.05), NASTY, (2, 2))
    assert {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(svg).iter()} <= {
        *("svg", "title", "style", "rect", "text", "g")
    }
    assert "nul\ufffdand\ufffd" in texts(svg, "text")
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")  # nothing is fetched


def test_everything_lies_inside_the_picture() -> None:
    """Labels as wide as they are at most: 0.58 em a letter."""
    words = ["a-word-of-more-than-twenty-two-letters", "b", "a-word-of-more-than-twenty-two-letters"]
    root = ElementTree.fromstring(draw_plan(np.full((3, 3), 1 / 9), words, words))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for rect in root.iter(f"{SVG}rect"):
        assert float(rect.get("x", 0)) + float(rect.get("width", 0)) <= width
        assert float(rect.get("y", 0)) + float(rect.get("height", 0)) <= height
    for text in root.iter(f"{SVG}text"):
        label = shown(text)
        if text.get("transform"):
            x, y = map(float, text.get("transform", "").split(")")[0].removeprefix("translate(").split())
            reach = len(label) * 0.58 * 13 * 0.7071
            assert y - reach > 0
            assert x + reach < width
        elif text.get("text-anchor") == "end":
            assert float(text.get("x", 0)) - len(label) * 0.58 * 13 > 0


def test_patches_as_dark_as_their_share() -> None:
    plan = np.array([[0.25, 0.0, 0.0, 0.0, 0.25, 0.0], [0.125, 0.125, 0.0, 0.25, 0.0, 0.0]])
    image = Image.new("RGB", (60, 200), (200, 30, 30))
    svg = draw_patches(plan, ["dog", "grass"], (2, 3), image)
    root = ElementTree.fromstring(svg)
    opacities = [float(rect.get("fill-opacity", 0)) for rect in root.iter(f"{SVG}rect") if rect.get("class") == "mass"]
    np.testing.assert_allclose(np.array(opacities) / 0.85, [1, 0, 0, 0, 1, 0, 0.5, 0.5, 0, 1, 0, 0], atol=1e-3)
    assert "grass → row 2, column 1: 50.0% of the word" in texts(svg, "title")
    (held,) = root.iter(f"{SVG}image")
    assert held.get("href", "").startswith("data:image/jpeg;base64,")
    assert [use.get("href") for use in root.iter(f"{SVG}use")] == [f"#{held.get('id')}"] * 2


def test_a_plan_that_does_not_fit() -> None:
    with pytest.raises(RewardError, match=r"a plan of shape \(1, 2\) does not fit 1 rows and 1 columns"):
        draw_plan(np.ones((1, 2)), ["a"], ["b"])
    with pytest.raises(RewardError, match=r"a plan of shape \(1, 2\) does not fit 1 rows and 4 columns"):
        draw_patches(np.ones((1, 2)), ["a"], (2, 2))
    with pytest.raises(RewardError, match=r"holds masses of 0 or more, got -1"):
        draw_plan(np.array([[-1.0]]), ["a"], ["b"])
    ElementTree.fromstring(draw_plan(np.zeros((0, 1)), [], ["b"]))  # a caption without tokens is a picture too
    ElementTree.fromstring(draw_patches(np.zeros((0, 1)), [], (1, 1)))
