import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from rlcap.reporting.drawing.scatter import Sides, coverage, draw_scatter, sides
from rlcap.reporting.drawing.svg import marks_of
from rlcap.reporting.image_groups import breakdowns_of, by_categories, by_length, by_objects, by_value, equal_bins
from rlcap.reporting.material import Material, gather
from rlcap.reporting.options import ReportOptions
from rlcap.reporting.page.blocks import figures_of, html_of, markdown_of
from rlcap.reporting.reading.predictions import Prediction
from rlcap.reporting.reading.runs import read_runs
from rlcap.reporting.sections import breakdowns
from rlcap.reporting.statistics.correction import holm
from rlcap.reporting.statistics.estimates import difference, estimate
from rlcap.reporting.statistics.resampling import image_resamples, mean_runs

SIGNATURE = "CIDEr-D|df:coco|refs:1|v:0.1.0"
KINDS = ["day"] * 40 + ["night"] * 25 + ["dusk"] * 5


def _write(folder: Path, seed: int, width: int, scores: Sequence[float], metadata: Sequence[dict[str, Any]]) -> Path:
    """A run whose images have these scores and metadata."""
    test = folder / "evaluation" / "test"
    test.mkdir(parents=True)
    rows = [
        {
            "image_id": f"i{place:03d}",
            "caption": "a thing",
            "references": ["a dog"],
            "scores": {"CIDEr-D": score},
            "metadata": known,
        }
        for place, (score, known) in enumerate(zip(scores, metadata, strict=True))
    ]
    (test / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = {"images": len(rows), "scores": {"CIDEr-D": {"value": float(np.mean(scores)), "signature": SIGNATURE}}}
    (test / "scores.json").write_text(json.dumps(summary))
    (folder / "config.yaml").write_text(yaml.safe_dump({"training": {"seed": seed}, "policy": {"width": width}}))
    return folder


def _scores(method: int, seed: int) -> list[float]:
    rng = np.random.default_rng([method, seed])
    return [round(float(score), 3) for score in rng.normal(1 + method * (np.array(KINDS) == "day"), 0.5)]


def _material(tmp_path: Path, metadata: Sequence[dict[str, Any]]) -> Material:
    """Two methods of two seeds; the second is better by day."""
    folders = [
        _write(tmp_path / f"{name}-{seed}", seed, method, _scores(method, seed), metadata)
        for method, name in enumerate(["plain", "better"])
        for seed in range(2)
    ]
    return gather(read_runs(folders, "test"), ReportOptions(resamples=200))


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def _prediction(*references: str) -> Prediction:
    return Prediction("i", "a thing", references, {})


def test_numbers_of_groups_are_those_of_their_images_alone(tmp_path):
    made = breakdowns.section(_material(tmp_path, [{"light": kind} for kind in KINDS]))
    rows = [row for row in _rows(made.files["tables/breakdowns.csv"]) if row["breakdown"] == "light"]
    assert [(row["group"], row["images"], row["method"]) for row in rows] == [
        ("day", "40", "plain"),
        ("day", "40", "better"),
        ("night", "25", "plain"),
        ("night", "25", "better"),
    ]
    plain, better = (np.array([_scores(method, seed) for seed in range(2)]) for method in range(2))
    p_values = []
    for place, group in ((1, slice(0, 40)), (3, slice(40, 65))):
        images = group.stop - group.start
        runs, baseline = (mean_runs(scores[:, group], image_resamples(images, 200, 0)) for scores in (better, plain))
        apart, own = difference(runs, baseline), estimate(runs)
        assert float(rows[place]["value"]) == pytest.approx(better[:, group].mean(), abs=1e-12)
        assert float(rows[place]["difference"]) == pytest.approx((better - plain)[:, group].mean(), abs=1e-12)
        found = [float(rows[place][key]) for key in ("low", "high", "difference_low", "difference_high", "p")]
        assert found == pytest.approx([own.low, own.high, apart.low, apart.high, apart.p], rel=1e-9)
        p_values.append(apart.p)
    assert [float(rows[place]["p_corrected"]) for place in (1, 3)] == pytest.approx(holm(p_values), rel=1e-9)
    assert rows[0]["difference"] == rows[0]["p"] == ""
    assert "Left out, with fewer than 20 images: dusk." in html_of(made.blocks)


def test_what_holds_after_correction_is_marked(tmp_path):
    made = breakdowns.section(_material(tmp_path, [{"light": kind} for kind in KINDS]))
    (figure,) = [figure for figure in figures_of(made.blocks) if figure.slug.endswith("light-difference")]
    corrected = [float(row["p_corrected"]) for row in _rows(made.files["tables/breakdowns.csv"]) if row["p_corrected"]]
    assert figure.drawing.count("<circle") == 2
    assert figure.drawing.count('fill="none" stroke=') == sum(p >= 0.05 for p in corrected) == 1


def test_values_are_binned_evenly_and_small_bins_join_the_smaller_neighbour():
    even = equal_bins(np.arange(100.0), bins=5, least=20)
    assert [list(places) for places in even] == [list(range(start, start + 20)) for start in range(0, 100, 20)]
    # The middle ranks 0.2, 0.5, 0.75 and 0.9 of 1, 2, 3 and 4 fall into the bins 1, 2, 3 and 4 of five.
    values = np.repeat([1.0, 2.0, 3.0, 4.0], [40, 20, 30, 10])
    assert [len(places) for places in equal_bins(values, bins=5, least=1)] == [40, 20, 30, 10]
    assert [len(places) for places in equal_bins(values, bins=5, least=15)] == [40, 20, 40]
    assert [len(places) for places in equal_bins(values, bins=5, least=35)] == [60, 40]
    assert [len(places) for places in equal_bins(np.ones(9), bins=5, least=20)] == [9]


def test_references_are_as_long_as_their_mean():
    short, long = _prediction("a dog", "two small dogs runs"), _prediction("one two three four five")
    found = by_length([short] * 20 + [long] * 30 + [_prediction()])
    assert [(group.label, len(group.images)) for group in found.groups] == [("3 words", 20), ("5 words", 30)]
    assert "Images left out for want of it: 1." in found.notes
    assert by_length([short] * 20 + [long] * 19) is None


def test_objects_are_those_of_the_metadata_or_else_those_that_references_name():
    told = by_objects([_prediction("a dog")] * 40, [{"objects": 1}] * 20 + [{"objects": 3}] * 20)
    assert (told.title, [group.label for group in told.groups]) == ("Objects", ["1 object", "3 objects"])
    one, three = _prediction("a dog"), _prediction("a dog and a cat on a table")
    named = by_objects([one] * 20 + [three] * 20, [{"objects": "many"}, *[{}] * 39])
    assert (named.title, [group.label for group in named.groups]) == ("Objects named", ["1 object", "3 objects"])
    assert "scene graph parser" in named.notes[0]


def test_an_image_counts_in_each_of_its_categories():
    own = [{"categories": ["dog", "cat"]}] * 20 + [{"categories": ["dog"]}] * 5 + [{"categories": ["owl"]}] * 3 + [{}]
    found = by_categories(own)
    assert [(group.label, list(group.images)) for group in found.groups] == [
        ("dog", list(range(25))),
        ("cat", list(range(20))),
    ]
    assert "The 2 most frequent of at least 20 images of 3 categories." in found.notes
    many = [{"categories": [f"c{place:02d}" for place in range(15)]}] * 20
    assert [group.label for group in by_categories(many).groups] == [f"c{place:02d}" for place in range(12)]


def test_only_texts_and_truth_values_of_a_few_kinds_make_groups():
    metadata = [
        {"light": "day" if place % 2 else "night", "flash": place % 2 == 0, "width": place % 2, "file": f"{place}.jpg"}
        for place in range(50)
    ]
    found, more = breakdowns_of([_prediction("a dog")] * 50, metadata)
    assert [(one.title, [group.label for group in one.groups]) for one in found] == [
        ("flash", ["no", "yes"]),
        ("light", ["day", "night"]),
    ]
    assert more == ()
    _, more = breakdowns_of([_prediction("a dog")] * 50, [dict.fromkeys("abcdef", kind["light"]) for kind in metadata])
    assert more == tuple(f"Not broken down by {key}: 4 keys of the metadata are." for key in "ef")
    assert by_value("light", metadata, least=26) is None


def test_hostile_metadata_is_text(tmp_path):
    key, values = "<img src=x>|$a$", ["'\"><script>x</script>#24292f url(#a)", "\u202eevil" + "m" * 5000]
    made = breakdowns.section(_material(tmp_path, [{key: values[place % 2]} for place in range(len(KINDS))]))
    page = html_of(made.blocks)
    assert "<script>x" not in page
    assert "<img src" not in page
    assert "\u202e" not in page + markdown_of(made.blocks)
    assert "m" * 200 not in page
    for figure in figures_of(made.blocks):
        ElementTree.fromstring(figure.standalone())
        ElementTree.fromstring(figure.inline().replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
    (figure,) = [figure for figure in figures_of(made.blocks) if figure.slug.endswith("img-src-x-a")]
    assert "'\"><script>x</script>#24292f url(#a)" in "".join(ElementTree.fromstring(figure.standalone()).itertext())


def test_a_scatter_counts_images_above_on_and_below_the_diagonal():
    xs, ys = np.array([0.0, 1.0, 2.0, 0.3, 5.0]), np.array([1.0, 1.0, 0.0, 0.1 + 0.2, 6.0])
    assert sides(xs, ys) == Sides(above=2, on=2, below=1)
    first, second = marks_of(["one", "two"])
    figure = draw_scatter("s", "CIDEr-D", (0, first, xs), (1, second, ys))
    for words in ("2 above", "2 on the diagonal", "1 below", "↑ 2", "1 →"):
        assert f">{words}</text>" in figure.drawing
    assert 'mask="url(#s-dots)"' in figure.inline()
    assert '<mask id="s-dots"' in figure.inline()
    assert "higher on 2, the same on 2, lower on 1; means 1.660 and 1.660" in figure.description


def test_dots_hide_what_others_left_and_thousands_weigh_little():
    once, twice = (coverage(np.full(times, 100.0), np.full(times, 50.0)) for times in (1, 2))
    assert once[125, 250] == pytest.approx(255 * 0.42, abs=255 / 31)
    assert twice[125, 250] == pytest.approx(255 * (1 - 0.58**2), abs=255 / 31)
    assert once[125, 258] == once[0, 0] == 0
    rng = np.random.default_rng(0)
    xs, ys = rng.gamma(1, 1, 5000), rng.gamma(1, 1, 5000)
    marks = marks_of(["one", "two"])
    assert len(draw_scatter("s", "m", (0, marks[0], xs), (1, marks[1], ys)).drawing) < 60_000


def test_methods_are_drawn_against_the_baseline_and_the_two_best_against_one_another(tmp_path):
    folders = [
        _write(tmp_path / name, 0, place, np.arange(30.0) + shift, [{}] * 30)
        for place, (name, shift) in enumerate([("b", 0.0), ("low", -1.0), ("best", 2.0), ("good", 1.0)])
    ]
    made = breakdowns.section(gather(read_runs(folders, "test"), ReportOptions(resamples=100)))
    titles = [figure.title for figure in figures_of(made.blocks)]
    assert titles == ["2 low against 1 b", "3 best against 1 b", "4 good against 1 b", "3 best against 4 good"]


def test_runs_without_captions_have_no_breakdowns(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n')
    assert breakdowns.section(gather(read_runs([tmp_path / "run"], "test"), ReportOptions())) is None
