from xml.etree import ElementTree

import numpy as np
import pytest

from rlcap.reporting.figures import (
    MOST_POINTS,
    curve_keys,
    draw_curves,
    draw_phases,
    drawing_notes,
    moving_average,
    phase_seconds,
    smoothing_window,
    thin,
)
from rlcap.reporting.reading.runs import Evaluation, Run, Series, read_runs


def a_run(folder, curves, timings, name="run"):
    series = {key: Series(np.arange(len(values), dtype=float), np.array(values)) for key, values in curves.items()}
    return Run(name, {}, {}, series, timings, Evaluation(folder, None, None, "", {}, {}, {}), ())


def test_moving_average_by_hand():
    assert moving_average(np.array([1.0, 2.0, 6.0, 0.0, 5.0]), 3) == pytest.approx([1.5, 3, 8 / 3, 11 / 3, 2.5])


def test_moving_average_keeps_straight_lines_and_constants():
    line = np.linspace(0, 1, 200)
    assert moving_average(line, 9)[4:-4] == pytest.approx(line[4:-4])
    assert set(moving_average(np.full(500, 9.2), 21)) == {9.2}


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


def test_what_was_done_to_curves_is_said(tmp_path):
    assert drawing_notes([a_run(tmp_path, {"reward/a": [1.0] * 60}, {})]) == ()
    notes = drawing_notes([a_run(tmp_path, {"reward/a": [1.0] * 3000}, {})])
    assert "moving average" in notes[0]
    assert "1,000 points" in notes[1]
    assert smoothing_window(60) == 1
    assert smoothing_window(3000) == 151


def test_phases_leave_the_rest_of_a_step_to_other(tmp_path):
    timings = {"time/step": np.array([2.0, 4.0]), "time/rollout": np.array([1.0, 2.0]), "time/update": np.array([0.5])}
    assert phase_seconds(a_run(tmp_path, {}, timings)) == {"rollout": 1.5, "update": 0.25, "other": 1.25}
    timings["time/reward"] = np.array([0.5, 0.5])  # was spent within the rollout
    assert phase_seconds(a_run(tmp_path, {}, timings)) == {"rollout": 1.0, "reward": 0.5, "update": 0.25, "other": 1.25}
    assert draw_phases([a_run(tmp_path, {}, {})]) is None


def test_every_quantity_has_a_figure_and_counters_have_none(two_runs):
    runs = read_runs(two_runs, "test")
    keys = curve_keys(runs)
    assert keys[:3] == ["val/BLEU-4", "val/CIDEr-D", "val/length"]
    assert "reward/cider_d" in keys
    assert not {"step", "epoch", "images", "captions"} & set(keys)
    figures = draw_curves(runs)
    assert [figure.title for figure in figures] == keys
    assert len({figure.slug for figure in figures}) == len(figures)


def test_figures_are_well_formed_and_repeatable_whatever_the_names(tmp_path):
    curves = {"reward/<b>&\"' $x_1$ \u202e \ud800 \x00 🐶 كلب": [1.0, 2.0]}
    run = a_run(tmp_path, curves, {"time/<i>$": np.array([1.0])}, name="<script>\x0b\"' $a$ 🐶 " + "n" * 500)
    phases = draw_phases([run])
    for figure in (*draw_curves([run]), phases):
        ElementTree.fromstring(figure.standalone())
        inline = figure.inline()
        ElementTree.fromstring(inline)
        assert "<script" not in figure.standalone() + inline
        assert "http" not in inline
    assert draw_phases([run]) == phases


def test_ids_of_figures_on_one_page_do_not_clash(two_runs):
    ids = []
    for figure in draw_curves(read_runs(two_runs, "test"))[:3]:
        elements = list(ElementTree.fromstring(figure.inline()).iter())
        of_figure = [element.get("id") for element in elements if element.get("id")]
        for element in elements:
            if element.get("href"):
                assert element.get("href")[1:] in of_figure
        ids += of_figure
    assert ids
    assert len(set(ids)) == len(ids)
