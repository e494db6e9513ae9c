"""A report in Chromium, opened from its file: sorting, filtering, keys, and that nothing is asked for or run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browse, Browser, needs_browser

from rlcap.reporting import write_report

pytestmark = needs_browser
TAB, ENTER, DOWN, UP, END, HOME = "\ue004", "\ue007", "\ue015", "\ue013", "\ue010", "\ue011"
HERE = Path(__file__).parent
IMAGES = 40
METHODS = [f"method_{place}" for place in range(6)]
HOSTILE = (
    "</p></script><script>document.title = 'run'</script><img src=http://outside.invalid/x.png "
    "onerror=\"document.title='run'\"> \u202e backwards " + "long " * 2000
)
VISIBLE = "[...document.querySelectorAll('.card')].filter(card => !card.hidden)"


@pytest.fixture(scope="module")
def runs(whole_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six methods of three seeds; the first of the last says something hostile of an image, and nothing of another."""
    folder = tmp_path_factory.mktemp("runs")
    written = [
        whole_run(folder / f"{method}-{seed}", 0.3 + 0.1 * place, f"{method}.Method", seed, images=IMAGES, steps=60)
        for place, method in enumerate(METHODS)
        for seed in range(3 * place, 3 * place + 3)
    ]
    for run in written:
        rows = rows_of(run)
        if run is written[-3]:
            rows[3]["caption"] = HOSTILE
            rows[4]["caption"] = ""
        path = run / "evaluation" / "test" / "predictions.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return written


def rows_of(run: Path) -> list[dict[str, Any]]:
    lines = (run / "evaluation" / "test" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def page(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(runs, tmp_path_factory.mktemp("report"))


def shown(browser: Browser) -> list[str]:
    """The ids of the images that are shown, in order."""
    return browser.run(f"return {VISIBLE}.map(card => card.dataset.id)")  # type: ignore[no-any-return]


def pick(browser: Browser, control: str, value: str) -> None:
    """Choose or type as a reader would."""
    browser.run(
        "const control = document.querySelector(`[data-control=${arguments[0]}]`); control.value = arguments[1];"
        "control.dispatchEvent(new Event('input', {bubbles: true}))",
        control,
        value,
    )


def click(browser: Browser, selector: str) -> None:
    """Click what the links that stay above might cover."""
    browser.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
    browser.click(selector)


def count(browser: Browser) -> str:
    return browser.run("return document.querySelector('.controls output').textContent")  # type: ignore[no-any-return]


def test_the_gallery_sorts_filters_and_counts(page: Path, runs: list[Path], browse: Browse) -> None:
    browser = browse()
    browser.open(page.as_uri())
    rows = {
        method: {row["image_id"]: row for row in rows_of(run)} for method, run in zip(METHODS, runs[::3], strict=True)
    }
    score = {method: {i: row["scores"]["CIDEr-D"] for i, row in own.items()} for method, own in rows.items()}
    assert count(browser) == f"{IMAGES} of {IMAGES} images, the first 12 shown"
    assert len(shown(browser)) == 12
    click(browser, ".further")
    assert len(shown(browser)) == IMAGES
    assert browser.run(f"return document.activeElement === {VISIBLE}[12]")
    assert count(browser) == f"{IMAGES} of {IMAGES} images"

    pick(browser, "method", "2")
    pick(browser, "other", "4")
    pick(browser, "sort", "gain")
    click(browser, ".further")
    gains = {image: score["method_2"][image] - score["method_4"][image] for image in rows["method_2"]}
    assert shown(browser) == sorted(gains, key=lambda image: -gains[image])
    line = f"{VISIBLE}[0].querySelector('.line[data-method=\"2\"]')"
    assert browser.run(f"return {line}.querySelector('.gain').textContent") == f"+{max(gains.values()):.3f}"
    best = shown(browser)[0]
    words = set(rows["method_4"][best]["caption"].split())
    new = browser.run(f"return [...{line}.querySelectorAll('mark')].flatMap(mark => mark.textContent.split(' '))")
    own = rows["method_2"][best]["caption"].split()
    assert [word for word in own if word not in words] == [word for word in new if word not in words]
    assert browser.run(f"return {line}.querySelector('.caption').textContent") == " ".join(own)

    pick(browser, "sort", "loss")
    click(browser, ".further")
    assert shown(browser) == sorted(gains, key=lambda image: gains[image])
    pick(browser, "sort", "disagreement")
    click(browser, ".further")
    spread = {i: float(np.std([score[method][i] for method in METHODS])) for i in gains}
    assert shown(browser) == sorted(spread, key=lambda image: -spread[image])
    pick(browser, "sort", "random")
    click(browser, ".further")
    assert sorted(shown(browser)) == sorted(gains) != shown(browser)
    pick(browser, "sort", "id")
    assert shown(browser) == sorted(gains)[:12]

    pick(browser, "kept", "loss")
    losses = [image for image in sorted(gains) if gains[image] < 0]
    assert shown(browser) == losses[:12]
    assert count(browser).startswith(f"{len(losses)} of {IMAGES} images")
    pick(browser, "kept", "words")
    changed = [i for i in sorted(gains) if rows["method_2"][i]["caption"] != rows["method_4"][i]["caption"]]
    assert count(browser).startswith(f"{len(changed)} of {IMAGES} images")
    pick(browser, "kept", "all")
    pick(browser, "find", "  BACKWARDS ")
    assert shown(browser) == ["shapes/0003"]
    assert count(browser) == f"1 of {IMAGES} images"
    click(browser, '.shown [data-method="5"]')  # what is hidden is not searched
    assert shown(browser) == []
    assert not browser.run("return document.querySelector('.nothing').hidden")
    click(browser, "[data-control=again]")
    assert len(shown(browser)) == 12
    assert browser.run("return document.querySelectorAll('.line[hidden]').length") == 0

    pick(browser, "find", "said of no image")
    assert shown(browser) == []
    browser.devtools("Emulation.setEmulatedMedia", media="print")  # on paper nothing is left out
    seen = "return [...document.querySelectorAll(arguments[0])].filter(one => one.getClientRects().length).length"
    assert browser.run(seen, ".card") == IMAGES
    assert browser.run(seen, ".line") == IMAGES * len(METHODS)
    assert browser.run(seen, ".controls, .further, .nothing, nav") == 0

    assert browser.complaints() == []
    requested = browser.requested()
    assert page.as_uri() in requested
    assert all(url == page.as_uri() or url.startswith("data:") for url in requested), requested


def test_cards_are_gone_through_by_keys(page: Path, browse: Browse) -> None:
    browser = browse()
    browser.open(page.as_uri())
    browser.run("document.querySelector('[data-control=sort]').focus()")
    kinds = []
    for _ in range(12):
        browser.press(TAB)
        kinds.append(browser.run("return document.activeElement.dataset.control || document.activeElement.className"))
    assert kinds == ["method", "other", "kept", "find", *[""] * 6, "again", "card"]
    active = f"return {VISIBLE}.indexOf(document.activeElement)"
    assert browser.run(active) == 0
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    places = []
    for key in ("j", DOWN, "k", UP, UP, END):
        browser.press(key)
        places.append(browser.run(active))
    assert places == [1, 2, 1, 0, 0, 11]
    browser.press("j")  # past the last that is shown
    assert browser.run(active) == 12
    opened = "return document.activeElement.querySelector('.references').open"
    assert not browser.run(opened)
    browser.press(ENTER)
    assert browser.run(opened)
    assert browser.run("return document.activeElement.querySelectorAll('.references li').length") == 3
    browser.press(ENTER, HOME)
    assert browser.run(active) == 0


def test_tables_are_sorted_by_their_headings(page: Path, browse: Browse) -> None:
    browser = browse()
    browser.open(page.as_uri())
    column = browser.run(
        "const heads = [...document.querySelector('#scores thead').rows[0].cells];"
        "return heads.findIndex(head => head.textContent.includes('CIDEr'))"
    )
    names = "return [...document.querySelector('#scores tbody').rows].map(row => row.cells[0].textContent)"
    values = (
        f"return [...document.querySelector('#scores tbody').rows].map(row => Number(row.cells[{column}].dataset.sort))"
    )
    heading = f"#scores th:nth-child({column + 1})"
    before, scores = browser.run(names), browser.run(values)
    assert before == METHODS
    ranked = sorted(range(6), key=lambda place: -scores[place])
    assert ranked != list(range(6))
    click(browser, f"{heading} button")
    assert browser.run(names) == [METHODS[place] for place in ranked]
    assert browser.run(f"return document.querySelector('{heading}').ariaSort") == "descending"
    browser.press(ENTER)
    assert browser.run(names) == [METHODS[place] for place in reversed(ranked)]
    click(browser, "#scores th:first-child button")
    assert browser.run(f"return document.querySelector('{heading}').ariaSort") is None
    assert browser.run(names) == METHODS
    click(browser, "#scores th:first-child button")
    assert browser.run(names) == METHODS[::-1]
    click(browser, "#scores th:first-child button")
    assert browser.run(names) == METHODS


def test_switches_of_a_name_change_together(page: Path, browse: Browse) -> None:
    browser = browse()
    browser.open(page.as_uri())
    switches = browser.run(
        "return [...new Set([...document.querySelectorAll('[data-switch]')].map(b => b.dataset.switch))]"
    )
    assert switches
    for name in switches:
        click(browser, f'[data-switch="{name}"][data-choice="1"]')
        panels = browser.run(
            "return [...document.querySelectorAll(`[data-panel='${arguments[0]}']`)]"
            ".map(panel => [panel.dataset.choice, panel.hidden])",
            name,
        )
        assert panels
        assert all(hidden == (choice != "1") for choice, hidden in panels)
        pressed = browser.run(
            "return [...document.querySelectorAll(`[data-switch='${arguments[0]}'][aria-pressed=true]`)]"
            ".map(button => button.dataset.choice)",
            name,
        )
        assert set(pressed) == {"1"}


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)], ids=["narrow-dark", "wide-light"])
def test_the_page_fits_is_readable_and_runs_nothing_of_captions(
    page: Path, browse: Browse, width: int, dark: bool
) -> None:
    browser = browse(width, 900, dark)
    browser.open(page.as_uri())
    browser.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    click(browser, ".further")
    assert browser.run("return innerWidth") == width
    assert browser.run("return document.documentElement.scrollWidth") <= width
    wide = browser.run(
        "return [...document.querySelectorAll('section *')].filter(one => !one.closest('.scroll, svg') &&"
        " one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 200))"
    )
    assert wide == []
    boxes, overlaps = browser.run((HERE / "overlaps.js").read_text(encoding="utf-8"))
    assert boxes > 20
    assert overlaps == []
    contrasts = browser.run((HERE / "contrast.js").read_text(encoding="utf-8"))
    assert len(contrasts) > 200
    assert [found for found in contrasts if found[0] < 4.5] == []
    background = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") is not dark
    assert browser.run("return document.title") != "run"
    said = browser.run(
        'return document.querySelector(\'[data-id="shapes/0003"] [data-method="5"] .caption\').textContent'
    )
    assert said == " ".join(HOSTILE.replace("\u202e", "\ufffd").split())
    assert browser.run("return document.querySelector('[data-id=\"shapes/0003\"] .said').clientHeight") < 3000
    browser.log("browser")
    browser.run(
        "const script = document.createElement('script'); script.textContent = 'document.title = \"run\"';"
        "document.body.append(script)"
    )
    assert browser.run("return document.title") != "run"  # the policy allows the page's own script alone
    assert any("Content Security Policy" in line for line in browser.complaints())
