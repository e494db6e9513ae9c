"""Curves of methods: means and ranges by hand, colours that can be told apart, numbers that do not overlap."""

import dataclasses
import io
import itertools
import re
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from rlcap.reporting.drawing.bands import MOST_RAW, draw_lines, frame_of, lines_of
from rlcap.reporting.drawing.canvas import png
from rlcap.reporting.drawing.curves import AXES, STEPS, Band, band_of, main_keys
from rlcap.reporting.drawing.line_ends import spread_out
from rlcap.reporting.drawing.svg import METHOD_COLOURS, RUN_COLOURS, marks_of
from rlcap.reporting.methods import Method
from rlcap.reporting.reading.runs import Evaluation, Run, Series


def series(steps, values):
    return Series(np.array(steps, dtype=float), np.array(values, dtype=float))


def a_method(name, *seeds, directory=""):
    runs = tuple(
        Run(
            f"{name}-{seed}",
            {"policy": {"init_args": {"directory": directory}}},
            {},
            {key: series(range(len(values)), values) for key, values in curves.items()},
            {},
            Evaluation(Path(), None, None, "", {}, {}, {}),
            (),
        )
        for seed, curves in enumerate(seeds)
    )
    return Method(name, tuple(range(len(runs))), runs, tuple(map(str, range(len(runs)))))


def test_a_band_by_hand():
    band = band_of([series([0, 5, 10], [1, 2, 3]), series([0, 10, 20], [3, 7, 9]), series([0, 5, 10], [2, 2, 2])])
    assert band.steps.tolist() == [0, 10]  # what all of them logged
    assert band.mean.tolist() == [2, 4]
    assert band.low.tolist() == [1, 2]
    assert band.high.tolist() == [3, 7]
    assert band_of([series([0], [1]), series([1], [1])]) is None


def test_long_bands_are_thinned_evenly_from_end_to_end():
    band = band_of([series(range(5000), range(5000))], most=11)
    assert len(band.steps) == 11
    assert (band.steps[0], band.steps[-1]) == (0, 4999)
    assert np.ptp(np.diff(band.steps)) <= 1
    assert (band.mean == band.steps).all()


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([0.5], [0.5]),
        ([0.2, 0.9], [0.2, 0.9]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.9, 0.1, 0.1], [0.9, 0.05, 0.15]),
        ([1.3, 1.0], [1.0, 0.9]),  # beyond the frame
        ([0.5, 0.55, 0.62], [0.5 + 0.17 / 3 - 0.1, 0.5 + 0.17 / 3, 0.5 + 0.17 / 3 + 0.1]),
        ([-2.0, 0.0, 0.05], [0.0, 0.1, 0.2]),
    ],
    ids=str,
)
def test_places_are_moved_apart(places, expected):
    assert spread_out(places, 0.1) == pytest.approx(expected)


def test_places_keep_their_order_and_their_distance():
    for seed in range(50):
        places = list(np.random.default_rng(seed).random(12))
        moved = spread_out(places, 0.06)
        assert np.argsort(moved).tolist() == np.argsort(places).tolist()
        assert np.diff(sorted(moved)).min() >= 0.06 - 1e-9
        assert min(moved) >= 0
        assert max(moved) <= 1 + 1e-9


def flat(low, high):
    values = np.array([low, high], dtype=float)
    return Band(np.array([0.0, 1.0]), values, values, values)


def test_a_method_that_collapses_leaves_the_frame_and_a_few_never_do():
    usual = [flat(4, 5), flat(4, 5.2), flat(4, 5.4), flat(4, 5.6)]
    low, high = frame_of([*usual, flat(0, 4)])
    assert low == pytest.approx(4 - 1.5 * 1.4)  # first quartile of lows 4, third of highs 5.4
    assert high == pytest.approx(5.6)
    assert frame_of(usual) == (4, 5.6)
    assert frame_of([flat(0, 0)] * 5 + [flat(0, 9)]) == (0, 9)  # of no spread there is no far away
    assert frame_of([flat(4, 5), flat(0, 100)]) == (0, 100)


def drawn(key, methods, axis=STEPS, large=True, without=frozenset()):
    marks = marks_of([method.name for method in methods])
    return draw_lines("figure", key, lines_of(key, methods, marks, without), axis, large)


def test_main_quantities_are_the_metric_and_what_learning_costs():
    keys = [
        "val/BLEU-4",
        "val/CIDEr-D",
        "val/my/CIDEr-D",
        "gradient/variance",
        "policy/kl",
        "policy/entropy",
        "reward/x",
    ]
    assert main_keys(keys, "CIDEr-D") == ["val/CIDEr-D", "policy/kl", "policy/entropy", "gradient/variance"]


def test_a_figure_compares_methods_and_numbers_their_ends():
    start = a_method("start", {"val/CIDEr-D": [0, 4]})
    one = a_method("one", {"val/CIDEr-D": [4, 5]}, {"val/CIDEr-D": [4, 7]})
    two = a_method("two", {"val/CIDEr-D": [4, 3], "reward/x": [1, 1]})
    figure = drawn("val/CIDEr-D", [start, one, two], without=frozenset({0}))
    assert figure.title == "val/CIDEr-D (mean and range over seeds)"
    assert [mark.label for mark in figure.legend] == ["2 one", "3 two"]
    assert "one from 4 at 0 to 6 at 1; two from 4 at 0 to 3 at 1" in figure.description
    assert re.findall(r">([^<>]+)</text>", figure.drawing)[-2:] == ["2", "3"]  # beside the ends of the lines
    assert RUN_COLOURS[1] in figure.drawing
    assert "var(--run-1)" in figure.inline()
    for document in (figure.standalone(), figure.inline()):
        ElementTree.fromstring(document)
    assert drawn("reward/x", [start, one]) is None


def test_what_a_single_run_logged_is_drawn_beside_its_average_where_lines_are_few():
    noisy = np.random.default_rng(0).normal(size=400)
    few = [a_method(f"m{place}", {"reward/x": noisy}) for place in range(MOST_RAW)]
    lines = lines_of("reward/x", few, marks_of([method.name for method in few]))
    assert all(line.raw.values.min() == noisy.min() and line.raw.values.max() == noisy.max() for line in lines)
    assert np.ptp(lines[0].band.mean) < np.ptp(noisy) / 2
    many = [*few, a_method("more", {"reward/x": noisy})]
    assert all(line.raw is None for line in lines_of("reward/x", many, marks_of([method.name for method in many])))
    (held_out,) = lines_of("val/x", [a_method("a", {"val/x": noisy})], marks_of(["a"]))
    assert held_out.raw is None


def a_timed_run(name, steps, values, captions, seconds):
    """A run with a validation at each step, its captions so far, and the seconds of each training step."""
    timed = series(range(1, len(seconds) + 1), seconds)
    curves = {"val/x": series(steps, values), "captions": series(steps, captions)}
    return Run(name, {}, {}, curves, {"time/step": timed}, Evaluation(Path(), None, None, "", {}, {}, {}), ())


def test_where_steps_lie_on_each_axis_by_hand():
    one = a_timed_run("a-0", [0, 2, 4], [1, 2, 3], [0, 100, 200], [30, 30, 60, 60])
    other = a_timed_run("a-1", [0, 2, 4], [1, 4, 5], [0, 300, 400], [90, 90, 120, 120])
    places = [axis.of_seeds((one, other), np.array([0.0, 2.0, 4.0])).tolist() for axis in AXES]
    assert places == [[0, 2, 4], [0, 200, 300], [0, 2, 5]]  # minutes: 1 and 3, then 3 and 7
    figures = [drawn("val/x", [Method("a", (0, 1), (one, other), ("0", "1"))], axis) for axis in AXES]
    assert [figure.slug for figure in figures] == ["figure", "figure-captions", "figure-minutes"]
    ends = ("a from 1 at 0 to 4 at 4", "a from 1 at 0 to 4 at 300", "a from 1 at 0 to 4 at 5")
    assert all(end in figure.description for end, figure in zip(ends, figures, strict=True))


def test_a_method_that_does_not_tell_is_not_on_the_axis():
    untimed = a_method("untimed", {"val/x": [1, 2]})
    no_captions = Method("b", (0,), (a_timed_run("b", [0, 1], [1, 2], [0, 0], [60.0]),), ("0",))
    _, captions, minutes = AXES
    assert drawn("val/x", [untimed], captions) is None
    assert drawn("val/x", [no_captions], captions) is None  # decodes none
    assert [mark.label for mark in drawn("val/x", [untimed, no_captions], minutes).legend] == ["2 b"]


def test_variances_over_decades_are_logarithmic():
    noisy = a_method("a", {"gradient/variance": [1, 1000], "policy/kl": [1, 1000]})
    assert drawn("policy/kl", [noisy]).title == "policy/kl"
    assert drawn("gradient/variance", [noisy]).title == "gradient/variance, logarithmic"
    for least in (0, 1e-300):
        zero = a_method("a", {"gradient/variance": [least, 1000]})
        assert drawn("gradient/variance", [zero]).title == "gradient/variance"


def test_a_png_holds_the_figure_with_title_and_legend_whatever_the_names():
    methods = [a_method(f"$x_1$ {place} 🐶 \u0643 \x0b\ud800", {"val/x": [1, 2]}) for place in range(3)]
    figure = drawn("val/x", methods)
    image = Image.open(io.BytesIO(png(figure)))
    size = figure.width, figure.height + 26 + 18 * 3
    assert image.size == pytest.approx([side * 200 / 72 for side in size], abs=1)
    shades = np.asarray(image.convert("RGB"))
    for colour in RUN_COLOURS[:3]:  # in the legend, above the axes
        target = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
        assert (np.abs(shades[: shades.shape[0] // 4].astype(int) - target).max(axis=2) == 0).any()
    assert png(dataclasses.replace(figure, draw=None)) is None


# --- colours

_CONE = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                  [0.0883024619, 0.2817188376, 0.6299787005]])  # fmt: skip
_LAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                 [0.0259040371, 0.7827717662, -0.8086757660]])  # fmt: skip
# What a deuteranope sees of linear RGB: Machado et al. 2009, table 1.
_DEUTERANOPE = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                         [-0.011820, 0.042940, 0.968881]])  # fmt: skip


def linear(colour):
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    """Ottosson 2020: a space in which distances are about as large as they look."""
    return _LAB @ np.cbrt(_CONE @ np.clip(rgb, 0, 1))


def contrast(one, other):
    """WCAG 2: of non-text at least 3."""
    light, dark = sorted((linear(colour) @ [0.2126, 0.7152, 0.0722] for colour in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def themes():
    """The colours of methods in the light and in the dark theme, each with its paper."""
    sheets = files("rlcap.reporting.page").joinpath("page.css").read_text(encoding="utf-8").split("@media", 2)[:2]
    return [
        (re.search(r"--paper: (#\w+)", sheet)[1], [re.search(rf"--method-{n}: (#\w+)", sheet)[1] for n in range(12)])
        for sheet in sheets
    ]


def test_the_page_has_the_colours_of_the_figures():
    assert tuple(themes()[0][1]) == METHOD_COLOURS


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_twelve_methods_can_be_told_apart(theme):
    paper, colours = themes()[theme]
    assert min(contrast(colour, paper) for colour in colours) >= 3
    pairs = list(itertools.combinations(range(12), 2))
    apart = {pair: np.linalg.norm(oklab(linear(colours[pair[0]])) - oklab(linear(colours[pair[1]]))) for pair in pairs}
    assert min(apart.values()) > 0.1  # some five times what can just be seen
    dashes = [mark.dash for mark in marks_of([""] * 12)]
    for one, other in pairs:
        seen = [oklab(_DEUTERANOPE @ linear(colours[place])) for place in (one, other)]
        assert dashes[one] != dashes[other] or np.linalg.norm(seen[0] - seen[1]) > 0.06
    assert len({(mark.colour, mark.dash) for mark in marks_of([""] * 24)}) == 24
