"""A headless Chromium, driven over the WebDriver protocol."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed"),
    pytest.mark.skipif(not DRIVER, reason="chromedriver is not installed"),
]
QUIET = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update"
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of elements in WebDriver
Browse = Callable[..., "Browser"]


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
        try:
            with urlopen(request, timeout=20) as answer:
                return json.load(answer)["value"]
        except HTTPError as error:
            raise URLError(json.load(error)["value"]["message"].split("\n")[0]) from error

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

    def devtools(self, command: str, **parameters: Any) -> Any:
        """What a command of the Chrome DevTools protocol gives."""
        return self._send("POST", f"{self.session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def cut_off(self) -> None:
        conditions = {"offline": True, "latency": 0, "download_throughput": 1, "upload_throughput": 1}
        self._send("POST", f"{self.session}/chromium/network_conditions", {"network_conditions": conditions})

    def requested(self) -> list[str]:
        """The addresses that were asked for since the log was last read; the empty tab it opens with aside."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        urls = [event["params"]["request"]["url"] for event in events if event["method"].endswith("requestWillBeSent")]
        return [url for url in urls if not url.startswith("chrome:")]

    def complaints(self) -> list[str]:
        """What the console was told but for information, since it was last read."""
        return [entry["message"] for entry in self.log("browser") if entry["level"] != "INFO"]

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
def browse(driver: str, tmp_path: Path) -> Iterator[Browse]:
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
