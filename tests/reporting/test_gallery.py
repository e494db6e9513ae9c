import base64
import io

import numpy as np
from PIL import Image

from rlcap.reporting.gallery import choose_shelves, marked_words, picture_uri
from rlcap.reporting.reading.runs import read_runs


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


def test_gains_and_losses_are_the_largest_and_the_sample_is_of_the_rest(make_run):
    images = [f"i{place}" for place in range(12)]
    captions = dict.fromkeys(images, "a thing")
    before = make_run("before", captions, dict.fromkeys(images, 1.0))
    after = make_run("after", captions, {image_id: 1.0 + (place - 5) / 10 for place, image_id in enumerate(images)})
    shelves = choose_shelves(read_runs([before, after], "test"), "CIDEr-D", True, np.random.default_rng(0), size=2)
    chosen = [[example.image_id for example in shelf.examples] for shelf in shelves]
    assert [shelf.title for shelf in shelves] == ["Largest gains", "Largest losses", "A sample"]
    assert chosen[:2] == [["i11", "i10"], ["i0", "i1"]]
    assert len(chosen[2]) == 4
    assert not set(chosen[2]) & {"i11", "i10", "i0", "i1"}
    assert "Of 12 images" in shelves[0].explanation


def test_scores_that_cannot_be_compared_rank_nothing(make_run):
    runs = read_runs([make_run("a", {"1": "x"}, {"1": 0.0}), make_run("b", {"1": "y"}, {"1": 1.0})], "test")
    (shelf,) = choose_shelves(runs, "CIDEr-D", False, np.random.default_rng(0))
    assert shelf.title == "A sample"
    assert shelf.examples[0].gain is None


def test_pictures_are_written_anew_and_small(tmp_path):
    Image.new("RGB", (1000, 500), "red").save(tmp_path / "large.jpg", comment=b"secret comment")
    uri = picture_uri(tmp_path / "large.jpg")
    content = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    assert b"secret" not in content
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (320, 160)


def test_files_that_are_no_pictures_give_none(tmp_path):
    (tmp_path / "text.jpg").write_text("<svg onload=alert(1)>")
    Image.new("RGB", (10, 10)).save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-100])
    Image.new("1", (8000, 8000)).save(tmp_path / "bomb.jpg", "PNG")
    for name in ("text.jpg", "cut.jpg", "bomb.jpg", "missing.jpg", "n" * 5000 + ".jpg"):
        assert picture_uri(tmp_path / name) == ""
