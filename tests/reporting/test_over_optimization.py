"""Scores against KL: where on the way a measurement stands, what counts as fallen, what the report shows of it."""

import csv
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from rlcap.reporting import write_report
from rlcap.reporting.drawing.kl_curves import Trace, at_steps, curve_of, fell, kl_at, traces_of
from rlcap.reporting.drawing.svg import MUTED, RUN_COLOURS, marks_of
from rlcap.reporting.material import gather
from rlcap.reporting.methods import Method
from rlcap.reporting.options import ReportOptions
from rlcap.reporting.page.blocks import html_of
from rlcap.reporting.reading.runs import Evaluation, Run, Series, read_runs
from rlcap.reporting.sections.over_optimization import over_optimization, panel_keys
from rlcap.reporting.sections.reward_hacking import section

KL = {"policy/kl": ([1, 11, 21, 31], [0.0, 1.0, 4.0, 9.0])}  # of the policies after 0, 10, 20 and 30 steps
REWARD = {"reward/sampled": ([1, 31], [0.0, 3.0])}
UTILITY = {"val/utility": ([0, 10, 20, 30], [0.5, 0.8, 0.7, 0.2])}


def array(values):
    return np.array(values, dtype=float)


def a_run(curves, config=None, name="run"):
    series = {key: Series(array(steps), array(values)) for key, (steps, values) in curves.items()}
    return Run(name, config or {}, {}, series, {}, Evaluation(Path(), None, None, "", {}, {}, {}), ())


def a_method(name, *seeds):
    runs = tuple(a_run(curves, name=f"{name}-{seed}") for seed, curves in enumerate(seeds))
    return Method(name, tuple(range(len(runs))), runs, tuple(map(str, range(len(runs)))))


def section_of(*methods):
    return over_optimization(methods, marks_of([method.name for method in methods]))


def test_kl_at_a_validation_by_hand():
    kl = Series(array([10, 20, 30]), array([9.0, 19.0, 49.0]))  # of the policies after 9, 19 and 29 steps
    assert kl_at(kl, array([0, 3, 9, 10, 20, 29, 30])).tolist() == pytest.approx([0, 3, 9, 10, 22, 49, 49])
    measured_at_once = Series(array([1, 11]), array([-1e-9, 2.0]))
    assert kl_at(measured_at_once, array([0, 5, 10])).tolist() == pytest.approx([0, 1, 2])


def test_many_logged_values_are_averaged_first():
    rng = np.random.default_rng(0)
    noisy = 10 + rng.normal(size=401)
    steps = np.arange(50.0, 351, 50)
    read = at_steps(Series(np.arange(1.0, 402), noisy), steps)
    assert read == pytest.approx([noisy[int(step) - 10 : int(step) + 11].mean() for step in steps])  # 21 are 5 %
    assert kl_at(Series(np.arange(1.0, 402), noisy), array([0, 400])) == pytest.approx([0, noisy[-11:].mean()])


def test_traces_of_a_run_by_hand():
    traces = traces_of(a_run({**KL, **REWARD, **UTILITY, "val/once": ([30], [1.0]), "caption/length": ([1], [9.0])}))
    assert list(traces) == ["training reward", "val/utility"]
    for trace in traces.values():
        assert trace.steps.tolist() == [0, 10, 20, 30]
        assert trace.kl.tolist() == [0, 1, 4, 9]
    assert traces["training reward"].values == pytest.approx([0, 1, 2, 3])
    assert traces["val/utility"].values.tolist() == [0.5, 0.8, 0.7, 0.2]


@pytest.mark.parametrize(
    "curves",
    [
        {**REWARD, **UTILITY},
        {**KL, **UTILITY},
        {**KL, **REWARD},
        {**KL, **REWARD, "val/utility": ([10, 20, 30], [1.0, 2.0, 3.0])},
        {**KL, **REWARD, "val/utility": ([0, 30], [1.0, 2.0])},
        {**REWARD, **UTILITY, "policy/kl": ([1, 31], [0.0, 0.0])},
    ],
    ids=["no KL", "no training reward", "nothing held out", "no start", "moved at one point", "never moved"],
)
def test_runs_that_measure_too_little_show_nothing(curves):
    assert traces_of(a_run(curves)) == {}
    assert section_of(a_method("a", curves)) is None


@pytest.mark.parametrize(
    ("values", "reward", "expected"),
    [
        ([0.5, 0.9, 0.8], [0, 1, 2], False),  # lost a quarter of the gain
        ([1, 3, 2], [0, 1, 2], False),  # lost half
        ([0.5, 0.9, 0.6], [0, 1, 2], True),
        ([0.5, 0.4, 0.4], [0, 1, 2], True),  # never gained
        ([0.5, 0.9, 0.4], [0, 1, 0], False),  # the reward did not rise
        ([0.5, 0.5, 0.5], [0, 1, 2], False),
        ([0.5, 0.2, 0.6], [0, 1, 2], False),  # came back
    ],
)
def test_what_fell_by_hand(values, reward, expected):
    assert fell(array(values), array(reward)) is expected


def test_a_curve_over_seeds_by_hand():
    one = Trace(array([0, 10, 20]), array([0, 2, 6]), array([1, 4, 3]))
    other = Trace(array([0, 10, 30]), array([0, 4, 8]), array([1, 2, 9]))
    curve = curve_of([one, other])
    assert (curve.kl.tolist(), curve.mean.tolist()) == ([0, 3], [1, 3])
    assert (curve.low.tolist(), curve.high.tolist()) == ([1, 2], [1, 4])
    assert curve_of([one, Trace(array([0, 5]), array([0, 1]), array([1, 2]))]) is None


def test_panels_are_those_asked_for_where_not_all_fit():
    runs = [a_run({}, {"evaluation": {"metrics": {"utility": {}, "proxy": {}}}}), a_run({}, {"evaluation": [1]})]
    few = ["val/BLEU-4", "val/CIDEr-D", "val/length", "val/proxy", "val/utility"]
    first = ["val/utility", "val/proxy", "val/CIDEr-D", "val/length"]
    assert panel_keys(runs, few) == [*first, "val/BLEU-4"]
    assert panel_keys(runs, [*few, "val/BLEU-1", "val/BLEU-2", "val/BLEU-3", "val/ROUGE-L"]) == first


def points_of(drawing, colour, width):
    """The points of the one line of that colour and width."""
    (path,) = re.findall(rf'<path d="([^"]*)"[^>]*stroke: {colour};[^>]*stroke-width: {width}[;"]', drawing)
    return array(re.findall(r"[ML] (\S+) (\S+)", path))


def test_a_panel_stands_over_the_square_root_of_kl():
    section = section_of(a_method("a", {**KL, **REWARD, **UTILITY}))
    assert [figure.title for figure in section.figures] == ["training reward", "val/utility"]
    line = points_of(section.figures[1].drawing, RUN_COLOURS[0], "1.8")
    assert np.diff(line[:, 0]) == pytest.approx([line[1, 0] - line[0, 0]] * 3, rel=1e-3)  # KL 0, 1, 4 and 9
    start = points_of(section.figures[1].drawing, MUTED, "0.9")
    assert start[:, 1] == pytest.approx([line[0, 1]] * 2, abs=0.02)  # level with the first point
    for figure in section.figures:
        ElementTree.fromstring(figure.standalone())
        ElementTree.fromstring(figure.inline())


@pytest.mark.parametrize(("last", "apart"), [(9.0, True), (2.25, False)], ids=["one column", "two columns"])
def test_numbers_are_moved_apart_only_where_lines_end_together(last, apart):
    other = {**KL, "policy/kl": ([1, 11, 21, 31], [0.0, 1.0, 1.5, last])}
    section = section_of(*(a_method(name, {**kl, **REWARD, **UTILITY}) for name, kl in (("a", KL), ("b", other))))
    texts = re.findall(r"<text ([^>]*)>(\d)</text>", section.figures[1].drawing)[-2:]
    assert [number for _, number in texts] == ["1", "2"]
    heights = [float(re.search(r'\by="([^"]*)"', attributes)[1]) for attributes, _ in texts]
    assert (abs(heights[0] - heights[1]) > 8) is apart


def test_the_table_by_hand():
    better = {"val/utility": ([0, 10, 20, 30], [0.5, 0.6, 0.7, 0.8]), "val/length": ([0, 10, 20, 30], [9, 9, 8, 5])}
    section = section_of(
        a_method("start", {"val/utility": ([10], [1.0])}),
        a_method("a", {**KL, **REWARD, **UTILITY, **better, **UTILITY}, {**KL, **REWARD, **better}),
        a_method("b", {**KL, **REWARD, **better}),
    )
    rows = [[cell.text for cell in row] for row in section.table.rows]
    assert section.table.columns == ("Quantity", "Method", "Start", "Best", "at KL", "End", "at KL", "Flag")
    assert rows == [
        ["training reward", "a", "0.000", "3.000", "9.00", "3.000", "9.00", ""],
        ["training reward", "b", "0.000", "3.000", "9.00", "3.000", "9.00", ""],
        ["val/length", "a", "9.000", "–", "–", "5.000", "9.00", ""],
        ["val/length", "b", "9.000", "–", "–", "5.000", "9.00", ""],
        ["val/utility", "a", "0.500", "0.700", "1.00", "0.500", "9.00", "fell while the reward rose (1 of 2 seeds)"],
        ["val/utility", "b", "0.500", "0.800", "9.00", "0.800", "9.00", ""],
    ]
    assert section.findings == ("a: val/utility (1 of 2 seeds) fell while the reward rose.",)
    assert any(note.startswith("Not drawn: start (") for note in section.notes)
    assert section_of(a_method("b", {**KL, **REWARD, **better})).findings == (
        "No held-out score drawn here fell while the reward rose; the others are in the table of agreement below.",
    )


def rows_of(curves):
    """The rows of metrics.jsonl."""
    steps = sorted({step for steps, _ in curves.values() for step in steps})
    points = {key: dict(zip(*curve, strict=True)) for key, curve in curves.items()}
    return [{"step": s, **{key: of_key[s] for key, of_key in points.items() if s in of_key}} for s in steps]


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_report_of_run_folders(make_seed, tmp_path, seeds):
    hostile = "<b>|`"
    rows = rows_of({**KL, **REWARD, **UTILITY, f"val/{hostile}": UTILITY["val/utility"]})
    folders = [make_seed(f"{hostile}-{seed}", seed, [1.0], rows=rows) for seed in range(seeds)]
    output = write_report(folders, tmp_path / "out").parent
    page = (output / "report.html").read_text(encoding="utf-8")
    assert '<section id="reward-hacking"><h2>Reward hacking</h2>' in page
    assert "<b>|" not in page
    markdown = (output / "report.md").read_text(encoding="utf-8")
    pictures = re.findall(r"\(figures/(over-optimization-[^)]*)\)", markdown)
    assert sorted(pictures) == sorted(path.name for path in (output / "figures").glob("over-optimization-*"))
    assert len(pictures) == 3
    count = "" if seeds == 1 else " (2 of 2 seeds)"
    assert f"| fell while the reward rose{count} |" in markdown
    with (output / "tables" / "over_optimization.csv").open(newline="", encoding="utf-8") as file:
        points = [row for row in csv.DictReader(file) if row["quantity"] == "val/utility"]
    assert [row["run"] for row in points] == [f"{hostile}-{seed}" for seed in range(seeds) for _ in range(4)]
    assert [float(row["kl"]) for row in points[:4]] == [0, 1, 4, 9]
    assert [float(row["value"]) for row in points[:4]] == [0.5, 0.8, 0.7, 0.2]


def test_runs_without_kl_have_no_such_panels(two_runs):
    found = section(gather(read_runs(two_runs, "test"), ReportOptions(resamples=100)))
    assert "Over-optimisation" not in html_of(found.blocks)
    assert not found.files
