"""The page in Chromium, driven over the WebDriver protocol: keys, touch, reload, undo, and the file after each step."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from annotating import Serve, WriteRun, lines_of
from browser import Browse, Browser, needs_browser, until

from rlcap.annotation.images import Open
from rlcap.annotation.pairs import make_questions
from rlcap.annotation.server import Server
from rlcap.annotation.session import Session
from rlcap.annotation.store import JudgementFile

pytestmark = needs_browser
LEFT, UP, RIGHT, DOWN, BACKSPACE = "\ue012", "\ue013", "\ue014", "\ue015", "\ue003"
HOSTILE = '<img src="http://outside.invalid/x.png" onerror="document.title=1"><script>document.title=2</script>&amp;'


def settled(browser: Browser, progress: str) -> dict[str, str]:
    """The texts of the page once it shows this progress and its picture."""
    until(browser, "return !busy && visible && byId('progress').textContent.startsWith(arguments[0])", progress)
    shown = "Object.fromEntries(['left-text', 'right-text', 'said', 'progress'].map(id => [id, byId(id).textContent]))"
    texts = browser.run(f"return {shown}")
    assert isinstance(texts, dict)
    return texts


def judged(path: Path) -> list[tuple[str, ...]]:
    """What the file holds: the better caption and the worse, or both and that they are tied."""
    return [(*row["tied"], "tied") if "tied" in row else (row["chosen"], row["rejected"]) for row in lines_of(path)]


def two_runs(write_run: WriteRun, images: int = 8) -> dict[str, dict[str, str]]:
    """Captions of two runs: the second image has no thumbnail, the third has captions that are written as HTML."""
    captions = {
        run: {f"photo/{place}": f"{run} sees a thing on the {place + 1}. table" for place in range(images)}
        for run in ("old", "new")
    }
    for run, own in captions.items():
        own["photo/2"] = f"{run} {HOSTILE}"
        write_run(run, own, without=("photo/1",))
    return captions


@pytest.fixture
def page(
    write_run: WriteRun, serve: Serve, tmp_path: Path, thumbnails: Callable[[Path], dict[str, Open]]
) -> tuple[Server, Path]:
    """The server of a page about two runs, and its file."""
    captions, path = two_runs(write_run), tmp_path / "j.jsonl"
    images = thumbnails(tmp_path / "old")
    session = Session(list(captions), make_questions(captions, 0), JudgementFile(path), None, images)
    return serve(session, images), path


def test_judging_by_keys_reloading_and_taking_back(page: tuple[Server, Path], browse: Browse) -> None:
    server, path = page
    browser = browse()
    browser.open(server.address)
    expected: list[tuple[str, ...]] = []
    skipped = None
    for count, (key, answer) in enumerate([(LEFT, "left"), ("d", "right"), (DOWN, "tie"), (UP, "skip"), ("A", "left")]):
        texts = settled(browser, f"{min(count, len(expected))} of 8")
        left, right = texts["left-text"], texts["right-text"]
        browser.press(key)
        if answer == "skip":
            skipped = (left, right)
            until(browser, "return byId('said').textContent === 'Skipped' && !busy")
        else:
            lines = {"left": (left, right), "right": (right, left), "tie": (left, right, "tied")}
            expected.append(lines[answer])
            settled(browser, f"{len(expected)} of 8")
        assert judged(path) == expected
    texts = settled(browser, "4 of 8 · 1 skipped · ")
    assert "per minute" in texts["progress"]
    assert texts["said"] == "Saved: left"

    browser.reload()
    again = settled(browser, "4 of 8 · 1 skipped")
    assert (again["left-text"], again["right-text"]) == (texts["left-text"], texts["right-text"])
    assert judged(path) == expected

    browser.press(BACKSPACE)
    texts = settled(browser, "3 of 8 · 1 skipped")
    assert (texts["left-text"], texts["right-text"]) == expected.pop()
    assert judged(path) == expected
    browser.press("u")
    texts = settled(browser, "3 of 8 · ")
    assert (texts["left-text"], texts["right-text"]) == skipped
    browser.click("#right")
    settled(browser, "4 of 8")
    expected.append((skipped[1], skipped[0]))
    assert judged(path) == expected

    # A question whose picture is not there yet is not answered.
    assert not browser.run("visible = false; act('left'); const sent = busy; visible = true; return sent")
    browser.click("#keys")  # shortcuts off
    browser.press("a", RIGHT)
    browser.click("#keys")
    assert settled(browser, "4 of 8")
    for count in range(4, 8):
        settled(browser, f"{count} of 8")
        browser.press("T")
    until(browser, "return !byId('finished').hidden && byId('asking').hidden && !byId('undo').hidden")
    assert browser.run("return document.activeElement.id") == "finished-title"
    assert browser.run("return byId('progress').textContent").startswith("8 of 8")
    assert judged(path)[:4] == expected
    assert len(judged(path)) == 8

    assert any(HOSTILE in caption for row in judged(path) for caption in row)
    assert browser.run("return document.title") == "Which caption is better?"
    assert browser.complaints() == []
    fetched = browser.requested()
    assert len(fetched) > 15
    assert all(url.startswith((server.address, "data:")) for url in fetched), fetched


def test_what_cannot_be_written_is_shown_and_asked_again(page: tuple[Server, Path], browse: Browse) -> None:
    server, path = page
    browser = browse()
    browser.open(server.address)
    texts = settled(browser, "0 of 8")
    away = path.rename(path.with_name("away"))
    browser.press(LEFT)
    until(browser, "return !byId('error').hidden && !busy")
    assert "was removed, so nothing is saved" in browser.run("return byId('error').textContent")
    after = settled(browser, "0 of 8")
    assert after["left-text"] == texts["left-text"]
    assert not path.exists()
    away.rename(path)
    browser.press(LEFT)
    settled(browser, "1 of 8")
    assert browser.run("return byId('error').hidden")
    assert judged(path) == [(texts["left-text"], texts["right-text"])]

    browser.cut_off()
    browser.press(LEFT)
    until(browser, "return !byId('error').hidden && !busy")
    assert "There is no answer, so nothing was saved" in browser.run("return byId('error').textContent")
    assert len(judged(path)) == 1


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_is_labelled(page: tuple[Server, Path], browse: Browse, width: int, dark: bool) -> None:
    server, path = page
    browser = browse(width, 800, dark)
    browser.open(server.address)
    texts = settled(browser, "0 of 8")
    assert browser.run("return document.documentElement.clientWidth") == width
    sizes = browser.run("return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert sizes[0] <= width
    assert sizes[1] <= 800  # an image, two captions and all buttons without scrolling
    boxes = browser.run(
        "return [...document.querySelectorAll('button')].map(b => [b.getBoundingClientRect().height, b.innerText])"
    )
    assert len(boxes) == 5
    assert all(height >= 44 and label.strip() for height, label in boxes), boxes
    named = browser.run(
        "return byId('left').getAttribute('aria-labelledby').split(' ').map(id => byId(id).textContent).join(': ')"
    )
    assert named == f"Left: {texts['left-text']}"
    assert browser.run("return byId('picture').alt").startswith("Image photo/")
    order = []
    for _ in range(5):
        browser.press("\ue004")  # Tab
        order.append(browser.run("return document.activeElement.id"))
    assert order == ["left", "right", "tie", "skip", "undo"]
    browser.click("#tie")
    settled(browser, "1 of 8")
    assert judged(path)[0][2] == "tied"
    if "RLCAP_SCREENSHOTS" in os.environ:
        for count in (2, 3):
            browser.screenshot(Path(os.environ["RLCAP_SCREENSHOTS"]) / f"{width}-{dark}-{count}.png")
            browser.click("#right")
            settled(browser, f"{count} of 8")
