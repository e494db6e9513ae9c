import base64
import io
import json
from collections import Counter
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from rlcap.markdown import clean
from rlcap.reporting.material import gather
from rlcap.reporting.options import ReportOptions
from rlcap.reporting.reading.files import Source
from rlcap.reporting.reading.runs import read_runs
from rlcap.reporting.sections.gallery import section
from rlcap.reporting.sections.gallery.choice import Grounds, Rule, choose, extremes
from rlcap.reporting.sections.gallery.pictures import SIZES, embed, picture_uri
from rlcap.reporting.sections.gallery.words import caption_distance, marked_words


def test_words_without_a_counterpart_are_marked():
    assert marked_words("a red box on a table", "a box on the table") == (
        ("a", False),
        ("red", True),
        ("box", False),
        ("on", False),
        ("a", True),
        ("table", False),
    )
    assert marked_words("", "a") == ()
    assert marked_words("same words", "same  words") == (("same", False), ("words", False))


def test_very_long_captions_are_marked_in_their_first_words_only():
    marked = marked_words("new " * 2500, "old " * 2500)
    assert len(marked) == 2500
    assert [differs for _, differs in marked] == [True] * 300 + [False] * 2200


def test_the_distance_of_captions_is_that_of_their_pairs():
    rng = np.random.default_rng(0)
    for count in (2, 3, 6):
        captions = [" ".join(rng.choice(list("abcdefg"), 4)) for _ in range(count)]
        pairs = [(set(one.split()), set(two.split())) for one, two in combinations(captions, 2)]
        expected = sum(len(one ^ two) for one, two in pairs) / sum(len(one | two) for one, two in pairs)
        assert caption_distance(captions) == pytest.approx(expected, rel=1e-12)
    assert caption_distance(["a b", "b a"]) == 0
    assert caption_distance(["a b", "a c"]) == pytest.approx(2 / 3)
    assert caption_distance(["", ""]) == caption_distance(["a"]) == 0


def grounds(gains, spread=None, distance=None):
    gains = np.array(gains, np.float64)
    zeros = np.zeros(gains.shape[1])
    return Grounds(
        gains,
        zeros if spread is None else np.array(spread, np.float64),
        zeros if distance is None else np.array(distance, np.float64),
    )


def test_methods_take_turns_at_gains_and_losses():
    nan = np.nan
    gains = [[9, 8, 7, -1, -2, nan, 0, 0], [1, 0, 0.5, -9, 0, -3, 0, 0]]
    found = extremes(grounds(gains, spread=[5, 5, 5, 5, 5, 5, 1, 2], distance=[0] * 8), range(8), 9)
    by_rule = {rule: [(c.image, c.method) for c in found if c.rule is rule] for rule in Rule}
    assert by_rule[Rule.GAIN] == [(0, 0), (2, 1), (1, 0)]  # the second method's largest gain was taken already
    assert by_rule[Rule.LOSS] == [(4, 0), (3, 1), (5, 1)]  # the first has no more when its turn comes again
    assert by_rule[Rule.DISAGREEMENT] == [(7, None), (6, None)]
    assert [choice.rule for choice in found[:3]] == [Rule.GAIN, Rule.LOSS, Rule.DISAGREEMENT]


def test_captions_that_differ_disagree_where_scores_do_not():
    found = extremes(grounds([[0, 0, 0, 0]], distance=[0.1, 0, 0.3, 0.2]), range(4), 3)
    assert [choice.image for choice in found] == [2]
    assert found[0].rule is Rule.DISAGREEMENT
    assert extremes(grounds([[0, 0]]), range(2), 3) == []


@pytest.mark.parametrize("places", [0, 1, 5, 40, 100])
def test_a_quarter_at_least_is_a_random_sample(places):
    rng = np.random.default_rng(1)
    of_images = grounds(rng.normal(size=(3, 60)), spread=rng.random(60))
    pool = range(0, 60, 2)
    found = choose(of_images, pool, places, np.random.default_rng(0))
    images = [choice.image for choice in found]
    assert len(images) == len(set(images)) == min(places, len(pool))
    assert set(images) <= set(pool)
    counts = Counter(choice.rule for choice in found)
    assert counts[Rule.SAMPLE] >= min(places, 30) - 3 * places // 4
    assert found == choose(of_images, pool, places, np.random.default_rng(0))


def content_of(uri):
    return base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))


def test_pictures_are_written_anew_and_small(tmp_path):
    Image.new("RGB", (1000, 500), "red").save(tmp_path / "large.jpg", comment=b"secret comment")
    content = content_of(picture_uri(Source(tmp_path, "large.jpg")))
    assert b"secret" not in content
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (320, 160)


def test_files_that_are_no_pictures_give_none(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "text.jpg").write_text("<svg onload=alert(1)>")
    Image.new("RGB", (10, 10)).save(run / "whole.jpg")
    (run / "cut.jpg").write_bytes((run / "whole.jpg").read_bytes()[:-100])
    Image.new("1", (8000, 8000)).save(run / "bomb.jpg", "PNG")
    Image.new("RGB", (10, 10)).save(tmp_path / "outside.jpg")
    (run / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    assert picture_uri(Source(run, "whole.jpg"))
    for name in ("text.jpg", "cut.jpg", "bomb.jpg", "missing.jpg", "link.jpg", "n" * 5000 + ".jpg"):
        assert picture_uri(Source(run, name)) == ""
    shown = embed([[Source(run, "cut.jpg"), Source(run, "whole.jpg")], []], 1.0)
    assert [bool(uri) for uri in shown.uris] == [True, False]
    assert shown.note == ""


def test_pictures_become_coarser_until_they_fit_and_then_fewer(tmp_path):
    rng = np.random.default_rng(0)
    for place in range(4):  # noise is what JPEG takes most bytes for
        Image.fromarray(rng.integers(0, 255, (300, 400, 3), np.uint8)).save(tmp_path / f"{place}.png")
    sources = [[Source(tmp_path, f"{place}.png")] for place in range(4)]
    whole = embed(sources, 100.0)
    sizes = {}
    for widest, quality in SIZES:
        sizes[widest, quality] = sum(len(picture_uri(source, widest, quality)) for [source] in sources)
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
    assert whole.note == ""
    assert sum(map(len, whole.uris)) == sizes[SIZES[0]]
    smaller = embed(sources, sizes[SIZES[2]] / 1e6)
    assert sum(map(len, smaller.uris)) == sizes[SIZES[2]]
    assert "at most 256 pixels wide and high, in JPEG of quality 68, to fit into" in smaller.note
    fewer = embed(sources, sizes[SIZES[-1]] / 2 / 1e6 + 1e-4)
    assert [bool(uri) for uri in fewer.uris] == [True, True, False, False]
    assert "fit the pictures of the first 2 images" in fewer.note
    assert embed(sources, 0.0).uris == ("",) * 4


class Gallery(HTMLParser):
    """The cards of a gallery as text, and all tags."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.cards, self._open = set(), [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.add(tag)
        assert not [key for key in attributes if key.startswith("on")]
        if tag == "article":
            assert "hidden" not in attributes  # without its script the page shows all
            self.cards.append(
                {"id": attributes["data-id"], "captions": [], "gains": [], "scores": [], "references": []}
            )
        if tag == "div" and "line" in attributes.get("class", "").split():
            self.cards[-1]["scores"].append(attributes.get("data-score"))
        if tag not in {"img", "input", "path"}:
            self._open.append((tag, attributes.get("class", "")))
            if self.cards and tag == "p" and attributes.get("class") == "caption":
                self.cards[-1]["captions"].append("")

    def handle_endtag(self, tag):
        if tag != "path":
            assert self._open.pop()[0] == tag

    def handle_data(self, data):
        kinds = [kind for _, kind in self._open]
        if "caption" in kinds:
            self.cards[-1]["captions"][-1] += data
        if any(kind.startswith("gain ") for kind in kinds):
            self.cards[-1]["gains"].append(data)
        if "references" in kinds and self._open[-1][0] == "li":
            self.cards[-1]["references"].append(data)


def gallery_of(runs, tmp_path, **options):
    material = gather(read_runs(runs, "test", tmp_path / "cache"), ReportOptions(resamples=100, **options))
    found = section(material)
    assert found is not None
    paragraph, cards = found.blocks
    return paragraph.words, Gallery(cards.html()), cards.markdown()


def test_cards_hold_every_method_with_its_gain_over_the_baseline(make_seed, tmp_path):
    runs = [
        make_seed("before", 0, [1.0, 2.0, 3.0]),
        make_seed("after-0", 0, [1.5, 2.0, 1.0], {"algorithm": "after"}),
        make_seed("after-1", 1, [9.0, 9.0, 9.0], {"algorithm": "after"}),
        make_seed("other-0", 0, [7.0, 7.0, 7.0], {"algorithm": "other"}, signature="CIDEr-D|df:other|refs:5"),
    ]
    told, found, markdown = gallery_of(runs, tmp_path, baseline="before")
    by_id = {card["id"]: card for card in found.cards}
    assert {image: card["gains"] for image, card in by_id.items()} == {
        "i0": ["+0.500"],
        "i1": ["0.000"],
        "i2": ["−2.000"],
    }
    assert by_id["i2"]["scores"] == ["3.0", "1.0", None]  # a score of another signature is compared with none
    assert all(card["captions"] == ["a thing"] * 3 for card in found.cards)
    assert told.startswith("All 3 images, none with a thumbnail: 1 with the largest gains in CIDEr-D (methods in turn)")
    assert "Gains are over before" in told
    assert "captions are those of its first run" in told
    assert "- after (1.500): a thing" in markdown


def test_samples_and_further_scores_are_folded(make_run, tmp_path):
    run = make_run("a", {"1": "x"}, {"1": 0.5})
    path = run / "evaluation" / "test" / "predictions.jsonl"
    row = json.loads(path.read_text(encoding="utf-8"))
    row |= {"samples": ["one <i>", "two"], "scores": {"CIDEr-D": 0.5, "<b>": 0.25}}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    _, cards = section(gather(read_runs([run], "test", tmp_path / "cache"), ReportOptions(resamples=100))).blocks
    html = cards.html()
    assert '<ul><li dir="auto">one &lt;i&gt;</li><li dir="auto">two</li></ul>' in html
    assert "<summary>1 reference</summary>" in html
    assert "<bdi>&lt;b&gt;</bdi>" in html
    assert "<td>0.250</td>" in html
    assert html.count("<details") == 3
    assert " open" not in html


def test_images_without_a_thumbnail_are_shown_where_places_are_left(make_run, tmp_path):
    images = {f"i{place}": float(place) for place in range(40)}
    runs = [make_run(name, dict.fromkeys(images, name), images) for name in ("a", "b")]
    for place in range(5):
        path = runs[1] / "evaluation" / "test" / "images" / f"i{place}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 20)).save(path)
    told, found, _ = gallery_of(runs, tmp_path, images=8)
    assert told.startswith("All 5 images with a thumbnail, of 40: 2 on which methods disagree most and 3 others. ")
    assert "Of the others, without a picture: 1 on which methods disagree most." in told  # a third of three places
    assert {card["id"] for card in found.cards[:5]} == {f"i{place}" for place in range(5)}
    assert len(found.cards) == 6
    assert gallery_of(runs, tmp_path, images=3)[0].startswith(
        "Of 5 images with a thumbnail, of 40: 2 on which methods disagree most and 1 at random (seed 0). Gains"
    )


def test_no_gallery_where_none_is_asked_for(make_run, tmp_path):
    run = make_run("a", {"1": "x"}, {"1": 0.0})
    reading = read_runs([run], "test", tmp_path / "cache")
    assert section(gather(reading, ReportOptions(images=0))) is None
    told, found, _ = gallery_of([run], tmp_path)
    assert told.startswith("Shown is 1 image, none with a thumbnail.")
    assert [card["captions"] for card in found.cards] == [["x"]]


HOSTILE = (
    "</p></article><script>document.title = 1</script><img src=x onerror=alert(1)> & \" ' `",
    "قطة تجلس على الطاولة \u202e reversed \u2066 isolate",
    "👩‍👩‍👧‍👦 e\u0301\u0323\u0323\u0323 \x07 \ud800 \u0000 zero",
    "long " * 2000,
    "x" * 10_000,
    "",
)


def test_captions_are_only_ever_text(make_run, tmp_path):
    images = {f"<b>{place}": caption for place, caption in enumerate(HOSTILE)}
    scores = dict.fromkeys(images, 1.0)
    runs = [make_run("a", images, scores), make_run("</div><b>", dict.fromkeys(images, "<i>other"), scores)]
    _, found, markdown = gallery_of(runs, tmp_path)
    assert not found.tags & {"script", "i", "iframe"}
    by_id = {card["id"]: card["captions"] for card in found.cards}
    assert by_id == {
        image: [" ".join(clean(" ".join(c.split())).split(" ")), "<i>other"] for image, c in images.items()
    }
    assert "<" not in markdown
    assert max(map(len, markdown.splitlines())) < 5000
