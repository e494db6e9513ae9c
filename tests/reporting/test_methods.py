"""Runs that differ in their seed alone are one method, and a method's row is the mean of its runs."""

import csv
import io
import time
from math import sqrt

import pytest
from PIL import Image

from rlcap.reporting import write_report
from rlcap.reporting.comparison import compare
from rlcap.reporting.method_table import method_columns, method_csv, method_table
from rlcap.reporting.methods import group_runs
from rlcap.reporting.reading.runs import read_runs

STEEP = [{"step": 0, "val/CIDEr-D": 1.0, "gradient/variance": 8.0}, {"step": 10, "policy/kl": 2.0, "captions": 60}]


def grouped(folders):
    methods, notes = group_runs(read_runs(folders, "test"))
    return [(method.name, method.places, method.seeds) for method in methods], notes


def table_of(folders):
    """Rows of the table by method, cells by column."""
    runs = read_runs(folders, "test")
    methods, notes = group_runs(runs)
    columns = method_columns(methods, "CIDEr-D", compare(runs, "CIDEr-D", 0))
    table = method_table(methods, columns, notes)
    rows = {row[0].text: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    return rows, table, list(csv.DictReader(io.StringIO(method_csv(methods, columns))))


def test_runs_that_differ_in_the_seed_alone_are_a_method(make_seed):
    names = ("start", "a-0", "b-0", "a-1", "b-7")
    settings = {"s": {"policy": "new"}, "a": {"algorithm": {"samples": 5}}, "b": {"algorithm": {"samples": 6}}}
    folders = [make_seed(name, int(name[-1]) if "-" in name else 0, [1.0], settings[name[0]]) for name in names]
    methods, notes = grouped(folders)
    assert methods == [("start", (0,), ("0",)), ("a", (1, 3), ("0", "1")), ("b", (2, 4), ("0", "7"))]
    assert notes == ()


def test_settings_without_effect_do_not_part_a_method_and_others_do(make_seed):
    same = [{"training": {"seed": seed, "steps": 9, "workers": seed, "trackers": ["x"] * seed}} for seed in range(3)]
    folders = [make_seed(f"a-{seed}", seed, [1.0], same[seed]) for seed in range(3)]
    longer = make_seed("a-3", 3, [1.0], {"training": {"seed": 3, "steps": 10}})
    methods, notes = grouped([*folders, longer])
    assert methods == [("a", (0, 1, 2), ("0", "1", "2")), ("a-3", (3,), ("3",))]
    assert notes == ("a-3 is a method of its own: it differs from a-0 in training.steps.",)


def test_lists_are_compared_to_their_ends(make_seed):
    folders = [make_seed(f"a-{seed}", seed, [1.0], {"layers": [*range(50), seed]}) for seed in range(2)]
    methods, _ = grouped(folders)
    assert [name for name, _, _ in methods] == ["a", "a-1"]


def test_names_that_do_not_end_in_the_seed_stay(make_seed):
    methods, _ = grouped([make_seed("resnet10", 0, [1.0]), make_seed("other", 1, [1.0])])
    assert methods == [("resnet10", (0, 1), ("0", "1"))]


def test_a_seed_that_was_run_twice_counts_once(make_seed):
    folders = [make_seed(name, 0, [score]) for name, score in (("a-0", 1.0), ("again", 9.0))]
    rows, table, _ = table_of(folders)
    assert rows["a"]["CIDEr-D [1]"].text == "1.000"
    assert table.notes[-1] == "again repeats seed 0 of a-0 and is left out."


@pytest.mark.parametrize("content", ["a: [", "training: {steps: 3}", "a: &a [*a]\ntraining: {seed: 0}"])
def test_a_run_whose_configuration_tells_no_seed_is_named_and_stands_alone(make_seed, content):
    folders = [make_seed(name, seed, [1.0]) for seed, name in enumerate(("a-0", "a-1", "a-2"))]
    for folder in folders[1:]:
        (folder / "config.yaml").write_text(content)
    methods, notes = grouped(folders)
    assert methods == [("a", (0,), ("0",)), ("a-1", (1,), ()), ("a-2", (2,), ())]
    assert notes == tuple(f"a-{n} stands alone: no configuration with a seed could be read." for n in (1, 2))


def test_a_row_by_hand(make_seed):
    start = make_seed("start", 0, [1.0, 1.0, 1.0, 1.0], {"policy": "new"}, seconds=[1.0])
    scores = ([2.0, 2.0, 2.0, 2.0], [3.0, 3.0, 3.0, 3.0], [1.0, 1.0, 1.0, 1.0])  # means 2, 3 and 1
    last = [{"step": 20, "val/CIDEr-D": value, "policy/kl": value, "gradient/variance": 2.0} for value in (3, 4, 8)]
    folders = [
        make_seed(f"a-{seed}", seed, scores[seed], rows=[*STEEP, last[seed]], seconds=[30.0 * (seed + 1)] * 20)
        for seed in range(3)
    ]
    rows, _, values = table_of([start, *folders])
    assert rows["start"]["Change of CIDEr-D"].text == rows["start"]["KL"].text == "–"
    shown = {title: (cell.text, cell.detail) for title, cell in rows["a"].items()}
    assert shown == {
        "Method": ("a", ""),
        "Seeds": ("3", "0, 1, 2"),
        "CIDEr-D [1]": ("2.000 ± 1.000", ""),
        "Change of CIDEr-D": ("+1.000 ± 1.000", "2 up of 3"),
        "Step tested": ("1,200", ""),
        "Last held-out CIDEr-D": ("5.000", ""),
        "Distinct-1": ("0.1000", ""),
        "Distinct-2": ("–", ""),
        "Vocabulary": ("123", ""),
        "Words": ("9.10", ""),
        "KL": ("5.00", ""),
        "Gradient variance, first": ("8.00", ""),
        "Gradient variance, last": ("2.00", ""),
        "Minutes": ("20.0", ""),  # 20 steps of 30, 60 and 90 seconds
        "Captions decoded": ("60", ""),
    }
    of_a = next(row for row in values if row["method"] == "a")
    assert float(of_a["KL mean"]) == 5.0
    assert float(of_a["KL deviation"]) == pytest.approx(sqrt(((3 - 5) ** 2 + (4 - 5) ** 2 + (8 - 5) ** 2) / 2))
    assert (of_a["seeds"], of_a["KL seeds"], of_a["Distinct-2 mean"], of_a["Distinct-2 seeds"]) == ("3", "3", "", "0")


def test_one_seed_has_no_deviation_and_one_measurement_no_last(make_seed):
    start = make_seed("start", 0, [1.0], {"policy": "new"})
    rows, _, values = table_of([start, make_seed("a-4", 4, [0.5], rows=STEEP)])
    assert rows["a"]["Seeds"].text == "1"
    assert rows["a"]["CIDEr-D [1]"].text == "0.500"
    assert (rows["a"]["Change of CIDEr-D"].text, rows["a"]["Change of CIDEr-D"].detail) == ("−0.500", "1 down of 1")
    assert rows["a"]["Gradient variance, first"].text == "8.00"
    assert rows["a"]["Gradient variance, last"].text == rows["a"]["Minutes"].text == "–"
    assert next(row for row in values if row["method"] == "a")["KL deviation"] == ""


def test_seeds_without_a_value_are_not_counted_as_zero(make_seed):
    start = make_seed("start", 0, [1.0], {"policy": "new"})
    whole, unfinished = make_seed("a-0", 0, [3.0], rows=STEEP), make_seed("a-1", 1, [9.0], rows=STEEP)
    for path in (unfinished / "evaluation" / "test").iterdir():
        path.unlink()
    rows, _, _ = table_of([start, whole, unfinished])
    assert (rows["a"]["CIDEr-D [1]"].text, rows["a"]["CIDEr-D [1]"].detail) == ("3.000", "1 of 2 seeds")
    assert rows["a"]["Change of CIDEr-D"].detail == "1 up of 1, 1 of 2 seeds"
    assert (rows["a"]["KL"].text, rows["a"]["KL"].detail) == ("2.00", "")


def test_a_column_holds_one_signature(make_seed):
    start = make_seed("start", 0, [1.0], {"policy": "new"}, signature="CIDEr-D|df:corpus")
    seeds = [make_seed(f"a-{n}", n, [n + 2.0], signature=f"CIDEr-D|df:{df}") for n, df in enumerate(("corpus", "coco"))]
    rows, table, _ = table_of([start, *seeds])
    assert table.columns[2:5] == ("CIDEr-D [1]", "CIDEr-D [2]", "Change of CIDEr-D")
    assert table.notes[:2] == ("[1] CIDEr-D|df:corpus", "[2] CIDEr-D|df:coco")
    assert [rows["a"][f"CIDEr-D [{n}]"].text for n in (1, 2)] == ["2.000", "3.000"]
    assert rows["start"]["CIDEr-D [2]"].text == "–"
    assert rows["a"]["Change of CIDEr-D"].detail == "1 up of 1, 1 of 2 seeds"


def test_the_files_hold_the_table_of_the_report(make_seed, tmp_path):
    hostile = "<b>x_|`"
    folders = [make_seed("start", 0, [1.0], {"policy": "new"})]
    folders += [make_seed(f"{hostile}-{seed}", seed, [2.0 + seed], rows=STEEP) for seed in range(2)]
    output = write_report(folders, tmp_path / "out").parent
    table = (output / "methods.md").read_text(encoding="utf-8")
    assert "| &lt;b&gt;x\\_\\|\\` | 2 (0, 1) | 2.500 ± 0.707 | +1.500 ± 0.707 (2 up of 2) |" in table
    assert f"## Methods over seeds\n\n{table}" in (output / "report.md").read_text(encoding="utf-8")
    page = (output / "report.html").read_text(encoding="utf-8")
    assert '<section id="methods">' in page
    assert "<bdi>&lt;b&gt;x_|`</bdi>" in page
    assert "<b>x" not in page
    with (output / "methods.csv").open(newline="", encoding="utf-8") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["start", hostile]


def test_before_and_after_are_no_table_of_methods(make_seed, tmp_path):
    folders = [make_seed("before", 0, [1.0], {"policy": "new"}), make_seed("after", 0, [2.0])]
    output = write_report(folders, tmp_path / "out").parent
    assert not list(output.glob("methods.*"))
    assert "Methods over seeds" not in (output / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def sixty(make_seed):
    """A start and 59 runs of 12 methods, with curves and a thumbnail."""
    rows = [
        {"step": step, "reward/x": step / 9, "val/CIDEr-D": 1 + step / 99, "policy/kl": step / 9} for step in range(9)
    ]
    folders = [make_seed("start", 0, [1.0] * 40, {"policy": {"class_path": "new"}}, rows=rows)]
    for place in range(59):
        settings = {"policy": {"init_args": {"directory": "out/start"}}, "algorithm": f"x.M{place % 12}"}
        scores = [1.5 + place % 12 / 10] * 40
        folders.append(make_seed(f"m{place % 12}-{place // 12}", place // 12, scores, settings, rows, [1.0] * 9))
    picture = folders[1] / "evaluation" / "test" / "images" / "i0.jpg"
    picture.parent.mkdir()
    Image.new("RGB", (8, 8)).save(picture)
    return folders


def test_many_runs_are_shown_by_their_methods(sixty, tmp_path):
    begun = time.process_time()
    output = write_report(sixty, tmp_path / "out").parent
    assert time.process_time() - begun < 15  # seconds of one core; about three as measured, checks of shapes included
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "start → 12 methods in 59 runs" in page
    assert "headline" not in page.split("</style>")[1]
    assert "Change of CIDEr-D from start (59 runs)" in page
    assert page.count('<details class="folded">') == 4  # changes, scores, caption statistics, runs
    assert page.count('<p class="by">') == 13  # one image, every method
    assert "Of the runs of a method, that of seed 0 is shown." in page
    assert "start is where others start and has no line." in page
    assert sorted(path.name for path in (output / "figures").iterdir()) == [
        "curve-01-reward-x.svg",
        "method-policy-kl.svg",
        "method-val-cider-d.svg",
        "time-per-phase.svg",
    ]
    with (output / "methods.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["seeds"] for row in rows] == ["1", *["5"] * 11, "4"]
