"""Training curves: smoothing and thinning by hand, and the section of real run folders against each axis."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from rlcap.reporting import write_report
from rlcap.reporting.drawing.curves import (
    MOST_POINTS,
    curve_keys,
    moving_average,
    smoothed,
    smoothing_window,
    thin,
)
from rlcap.reporting.material import gather
from rlcap.reporting.options import ReportOptions
from rlcap.reporting.page.blocks import figures_of
from rlcap.reporting.reading.runs import Series, read_runs
from rlcap.reporting.sections import cost, reward_hacking
from rlcap.reporting.sections.curves import section


def section_of(folders):
    return section(gather(read_runs(folders, "test"), ReportOptions(resamples=100)))


@pytest.fixture(scope="module")
def of_two_runs(two_runs):
    return section_of(two_runs)


def test_moving_average_by_hand():
    assert moving_average(np.array([1.0, 2.0, 6.0, 0.0, 5.0]), 3) == pytest.approx([1.5, 3, 8 / 3, 11 / 3, 2.5])


def test_moving_average_keeps_straight_lines_and_constants():
    line = np.linspace(0, 1, 200)
    assert moving_average(line, 9)[4:-4] == pytest.approx(line[4:-4])
    assert set(moving_average(np.full(500, 9.2), 21)) == {9.2}


def test_only_long_training_curves_are_smoothed():
    assert (smoothing_window(60), smoothing_window(3000)) == (1, 151)
    series = Series(np.arange(3000.0), np.random.default_rng(0).normal(size=3000))
    assert smoothed("val/CIDEr-D", series) is series
    assert smoothed("reward/x", series).values[1500] == pytest.approx(series.values[1425:1576].mean())


def test_thinning_keeps_the_extremes_and_the_order():
    values = np.random.default_rng(0).normal(size=20_000)
    values[[123, 4567]] = 50, -50
    thinned = thin(Series(np.arange(20_000.0), values))
    assert len(thinned.steps) <= MOST_POINTS
    assert thinned.values.max() == 50
    assert thinned.values.min() == -50
    assert (np.diff(thinned.steps) > 0).all()
    short = Series(np.arange(5.0), np.arange(5.0))
    assert thin(short) is short


def test_every_quantity_has_a_figure_against_each_axis_and_counters_have_none(two_runs, of_two_runs):
    keys = curve_keys(read_runs(two_runs, "test").runs)
    assert keys[:3] == ["val/BLEU-4", "val/CIDEr-D", "val/length"]
    assert "reward/cider_d" in keys
    assert not {"step", "epoch", "images", "captions"} & set(keys)
    switch = of_two_runs.blocks[0]
    assert [name for name, _ in switch.choices] == ["training steps", "decoded captions", "wall time"]
    for _, blocks in switch.choices:
        figures = figures_of(blocks)
        assert sorted(figure.title.partition(" (")[0] for figure in figures) == sorted(keys)
        assert [figure.width for figure in figures] == [460] * 2 + [360] * (len(keys) - 2)  # CIDEr-D and entropy
    slugs = [figure.slug for figure in switch.figures]
    assert len(set(slugs)) == len(slugs) == 3 * len(keys)
    (notes,) = (block.items for block in of_two_runs.blocks[1:2])
    assert any("centred moving averages over 5% of the points; the thin line is as logged" in note for note in notes)


def test_ids_of_figures_on_one_page_do_not_clash(of_two_runs):
    ids = []
    for figure in of_two_runs.blocks[0].figures[:3]:
        elements = list(ElementTree.fromstring(figure.inline()).iter())
        of_figure = [element.get("id") for element in elements if element.get("id")]
        for element in elements:
            if element.get("href"):
                assert element.get("href")[1:] in of_figure
        ids += of_figure
    assert ids
    assert len(set(ids)) == len(ids)


def test_an_axis_that_no_run_tells_of_is_left_out_and_a_shorter_run_ends_earlier(make_seed):
    rows = [{"step": step, "reward/sampled": step / 10, "captions": 8 * step} for step in range(1, 11)]
    folders = [make_seed("a", 0, [1.0], rows=rows), make_seed("b", 0, [1.0], {"x": 1}, rows=rows[:4])]
    switch = section_of(folders).blocks[0]
    assert [name for name, _ in switch.choices] == ["training steps", "decoded captions"]
    against_captions = figures_of(switch.choices[1][1])[0].description
    assert against_captions.endswith("a from 0.1 at 8 to 1 at 80; b from 0.1 at 8 to 0.4 at 32")


def test_where_others_start_is_said_and_has_no_line(make_seed):
    rows = [{"step": step, "reward/sampled": step} for step in (1, 2)]
    loaded = {"policy": {"init_args": {"directory": "runs/start/checkpoints/5"}}}
    found = section_of([make_seed("start", 0, [1.0], rows=rows), make_seed("next", 1, [1.0], loaded, rows)])
    (figure,) = found.blocks[0].figures
    assert [mark.label for mark in figure.legend] == ["2 next"]
    assert "start is where others start and has no line." in found.blocks[1].items


def test_text_from_files_is_escaped_and_the_same_runs_give_the_same_files(make_seed, tmp_path):
    hostile = "<script>\x0b\"' $a$ 🐶 كلب \u202e"
    rows = [{"step": step, f"reward/{hostile}": step, f"val/{hostile}": 1, "captions": step} for step in range(3)]
    run = make_seed("<i>&'$x", 0, [1.0], rows=rows, seconds=[1.0, 1.0])
    written = []
    for output in (tmp_path / "one", tmp_path / "two"):
        page = write_report([run], output, ReportOptions(resamples=100)).read_text(encoding="utf-8")
        assert page.count("<script") == 1  # the page's own
        assert "<i>" not in page
        figures = {path.name: path.read_text(encoding="utf-8") for path in (output / "figures").iterdir()}
        assert len([name for name in figures if name.startswith("curve-")]) == 6  # two quantities, three axes
        for name, drawing in figures.items():
            ElementTree.fromstring(drawing)
            assert "<script" not in drawing, name
        written.append((page, figures))
    assert written[0] == written[1]
    assert re.search(r'<button[^>]*data-switch="axis"[^>]*>wall time</button>', page)


def test_a_run_that_diverged_is_drawn_all_the_same(make_seed):
    keys = ("reward/sampled", "policy/kl", "gradient/variance", "captions")
    rows = [
        {"step": step, **dict.fromkeys(keys, 1e308), "val/CIDEr-D": 1e308 * (-1) ** step, "val/length": -1e308}
        for step in range(100)
    ]
    folders = [make_seed(f"a-{seed}", seed, [1.0], rows=rows, seconds=[1e8] * 3) for seed in (0, 1)]
    material = gather(read_runs(folders, "test"), ReportOptions(resamples=100))
    for made in (section(material), cost.section(material), reward_hacking.section(material)):
        for figure in figures_of(made.blocks):
            assert not re.search(r"\b(nan|inf)\b", figure.drawing)
