"""The page in Chromium, driven over the WebDriver protocol: keys, touch, reload, undo, and the file after each step."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from annotating import Serve, WriteRun, lines_of

from rlcap.annotation.images import Open
from rlcap.annotation.pairs import make_questions
from rlcap.annotation.server import Server
from rlcap.annotation.session import Session
from rlcap.annotation.store import JudgementFile

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed"),
    pytest.mark.skipif(not DRIVER, reason="chromedriver is not installed"),
]
QUIET = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update"
LEFT, UP, RIGHT, DOWN, BACKSPACE = "\ue012", "\ue013", "\ue014", "\ue015", "\ue003"
HOSTILE = '<img src="http://outside.invalid/x.png" onerror="document.title=1"><script>document.title=2</script>&amp;'
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of elements in WebDriver


class Browser:
    """A page in a headless browser. https://www.w3.org/TR/webdriver2/"""

    def __init__(self, driver: str, profile: Path, size: tuple[int, int], dark: bool) -> None:
        self.driver = driver
        arguments = ["headless", "disable-sync", *QUIET.split(), f"user-data-dir={profile}"]
        arguments += [f"window-size={size[0]},{size[1]}", *(["force-dark-mode"] if dark else [])]
        options: dict[str, Any] = {"binary": CHROMIUM, "args": arguments}
        if size[0] < 500:  # narrower than a window can be
            options["mobileEmulation"] = {
                "deviceMetrics": {"width": size[0], "height": size[1], "pixelRatio": 2, "touch": True}
            }
        logs = {"browser": "ALL", "performance": "ALL"}
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": logs}
        made = self._send("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.session = f"/session/{made['sessionId']}"

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        request = Request(self.driver + path, content, {"Content-Type": "application/json"}, method=method)
        with urlopen(request, timeout=20) as answer:
            return json.load(answer)["value"]

    def open(self, address: str) -> None:
        self._send("POST", f"{self.session}/url", {"url": address})

    def reload(self) -> None:
        self._send("POST", f"{self.session}/refresh", {})

    def run(self, script: str, *arguments: Any) -> Any:
        return self._send("POST", f"{self.session}/execute/sync", {"script": script, "args": arguments})

    def press(self, *keys: str) -> None:
        presses = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        body = {"actions": [{"type": "key", "id": "keyboard", "actions": presses}]}
        self._send("POST", f"{self.session}/actions", body)

    def click(self, selector: str) -> None:
        found = self._send("POST", f"{self.session}/element", {"using": "css selector", "value": selector})
        self._send("POST", f"{self.session}/element/{found[ELEMENT]}/click", {})

    def log(self, kind: str) -> list[Any]:
        return self._send("POST", f"{self.session}/se/log", {"type": kind})  # type: ignore[no-any-return]

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._send("GET", f"{self.session}/screenshot")))

    def cut_off(self) -> None:
        conditions = {"offline": True, "latency": 0, "download_throughput": 1, "upload_throughput": 1}
        self._send("POST", f"{self.session}/chromium/network_conditions", {"network_conditions": conditions})

    def quit(self) -> None:
        self._send("DELETE", self.session)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where chromedriver listens; on a port it chose, which it names once it listens."""
    assert DRIVER is not None
    log = tmp_path_factory.mktemp("driver") / "log"
    with log.open("w") as output, subprocess.Popen([DRIVER, "--port=0"], stdout=output, stderr=output) as process:
        try:
            for _ in range(400):
                if "started successfully on port" in log.read_text():
                    break
                time.sleep(0.02)
            yield f"http://127.0.0.1:{int(log.read_text().rsplit('on port ', 1)[1].split('.')[0])}"
        finally:
            process.terminate()


@pytest.fixture
def browse(driver: str, tmp_path: Path) -> Iterator[Callable[..., Browser]]:
    """Opens browsers of a given size, which end with the test."""
    browsers: list[Browser] = []

    def start(width: int = 1280, height: int = 860, dark: bool = False) -> Browser:
        profile = tmp_path / f"profile{len(browsers)}"
        browsers.append(Browser(driver, profile, (width, height), dark))
        return browsers[-1]

    yield start
    for browser in browsers:
        try:
            browser.quit()
        except URLError:
            continue


def until(browser: Browser, script: str, *arguments: Any) -> None:
    """Wait until a script gives true."""
    end = time.monotonic() + 8
    while not browser.run(script, *arguments):
        assert time.monotonic() < end, (script, arguments, browser.run("return document.body.innerText"))
        time.sleep(0.02)


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


def test_judging_by_keys_reloading_and_taking_back(page: tuple[Server, Path], browse: Callable[..., Browser]) -> None:
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
    entries = browser.log("browser")
    assert [entry["message"] for entry in entries if entry["level"] != "INFO"] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
    requests = [event["params"]["request"]["url"] for event in events if event["method"].endswith("requestWillBeSent")]
    fetched = [url for url in requests if not url.startswith("chrome:")]  # the empty tab it opens with
    assert len(fetched) > 15
    assert all(url.startswith((server.address, "data:")) for url in fetched), fetched


def test_what_cannot_be_written_is_shown_and_asked_again(
    page: tuple[Server, Path], browse: Callable[..., Browser]
) -> None:
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
def test_the_page_fits_and_is_labelled(
    page: tuple[Server, Path], browse: Callable[..., Browser], width: int, dark: bool
) -> None:
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
