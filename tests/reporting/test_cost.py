"""What training cost, by hand: no second counted twice, and how soon a gain was reached."""

import csv
import json
from xml.etree import ElementTree

import pytest

from rlcap.reporting import write_report
from rlcap.reporting.drawing.bars import draw_phases, mean_phases, phase_seconds
from rlcap.reporting.drawing.svg import marks_of
from rlcap.reporting.material import gather
from rlcap.reporting.options import ReportOptions
from rlcap.reporting.reading.runs import read_runs
from rlcap.reporting.sections.cost import cost_table, section


@pytest.fixture
def timed(make_seed):
    """Writes a run whose steps were timed so; its environment where one is given."""

    def make(name, seed, timings, rows=(), settings=None, environment=None):
        folder = make_seed(name, seed, [1.0], settings, rows)
        (folder / "timings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in timings), encoding="utf-8")
        if environment:
            (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
        return folder

    return make


def runs_of(*folders):
    return read_runs(folders, "test").runs


def material_of(*folders, **options):
    return gather(read_runs(folders, "test"), ReportOptions(resamples=100, **options))


def cells_of(table, column):
    place = table.columns.index(column)
    return [row[place].text for row in table.rows]


def test_phases_leave_the_rest_of_a_step_to_other(timed):
    rows = [
        {"step": 1, "time/step": 2.0, "time/rollout": 1.0, "time/update": 0.5},
        {"step": 2, "time/step": 4.0, "time/rollout": 2.0},
    ]
    (run,) = runs_of(timed("a", 0, rows))
    assert phase_seconds(run) == {"rollout": 1.5, "update": 0.25, "other": 1.25}


def test_what_is_logged_within_the_rollout_is_never_counted_twice(timed):
    seconds = {"time/data": 0.5, "time/rollout": 3.0, "time/encode": 0.5, "time/decode": 1.0, "time/reward": 1.0}
    rows = [
        {"step": 1, **seconds, "time/update": 1.0, "time/step": 5.0, "memory/peak": 2**31},
        {"step": 1, "time/evaluate": 40.0},  # a line of its own, and no part of a step
    ]
    (run,) = runs_of(timed("a", 0, rows))
    phases = phase_seconds(run)
    assert list(phases.items()) == [
        ("data", 0.5), ("encode", 0.5), ("decode", 1.0), ("reward", 1.0), ("rollout", 0.5), ("update", 1.0),
        ("other", 0.5),
    ]  # fmt: skip
    assert sum(phases.values()) == 5.0  # time/step


def test_phases_of_seeds_are_their_mean_and_runs_without_times_have_no_bar(timed, make_seed):
    one = timed("a-0", 0, [{"step": 1, "time/step": 2.0, "time/update": 1.0}])
    other = timed("a-1", 1, [{"step": 1, "time/step": 4.0, "time/update": 4.0}])
    runs = runs_of(one, other, make_seed("a-2", 2, [1.0]))
    assert mean_phases(runs) == {"update": 2.5, "other": 0.5}
    figure = draw_phases(marks_of(list("abcdefg")), {6: mean_phases(runs)})
    assert ">7</text>" in figure.drawing  # the method's number
    assert ">3 s</text>" in figure.drawing
    assert mean_phases(runs[2:]) == {}
    assert draw_phases(marks_of(["a"]), {}) is None


def test_the_table_by_hand(timed):
    steps = [{"step": step, "time/step": 30.0, "memory/peak": 2**30 * step} for step in (1, 2, 3, 4)]
    counts = [{"step": 4, "images": 240, "captions": 1200, "reward/sampled": 1.0}]
    same = {"device": "cpu", "commit": "0123456789"}
    folders = [
        timed("a-0", 0, steps, counts, environment=same),
        timed("a-1", 1, steps[:2], [{"step": 2, "reward/sampled": 1.0}], environment=same),
    ]
    table = cost_table(material_of(*folders))
    texts = {column: cells_of(table, column)[0] for column in table.columns}
    assert texts == {
        "Method": "a", "Training time": "1.5 min", "Seconds per step": "30.0", "Images per second": "2.00",
        "Captions per second": "10.0", "Peak memory, GiB": "3.00", "Machine": "cpu",
    }  # fmt: skip
    details = {column: cell.detail for column, cell in zip(table.columns, table.rows[0], strict=True)}
    assert details["Training time"] == "1.0 min to 2.0 min"
    assert details["Images per second"] == "1 of 2 seeds"
    assert details["Machine"] == "01234567"
    assert "same kind of machine" in table.notes[-2]
    for name, environment in (("b", {**same, "device": "NVIDIA H200"}), ("c", {**same, "commit": "f" * 40})):
        notes = cost_table(material_of(*folders, timed(name, 0, steps, environment=environment))).notes
        assert any(note.endswith("their wall times and memory are not comparable between methods.") for note in notes)


def test_how_soon_a_gain_was_reached_by_hand(timed):
    def rows(*values):
        return [{"step": 10 * n, "captions": 50 * n, "val/CIDEr-D": value} for n, value in enumerate(values)]

    clock = [{"step": step, "time/step": 6.0} for step in range(1, 31)]
    table = cost_table(
        material_of(
            timed("start", 0, clock, rows(0.0, 3.0, 2.0)),
            timed("fast", 0, clock, rows(1.0, 5.0, 4.9, 4.5), {"x": 1}),  # the best gain is 2, from 3
            timed("slow", 0, clock, rows(1.0, 3.0, 4.0, 4.1), {"x": 2}),
        )
    )
    assert cells_of(table, "To 50% of the best gain") == ["–", "step 10", "step 20"]
    assert cells_of(table, "To 90% of the best gain") == ["–", "step 10", "–"]
    assert table.rows[2][table.columns.index("To 50% of the best gain")].detail == "100 captions\n2.0 min"
    no_gain = cost_table(material_of(timed("a", 0, clock, rows(3.0)), timed("b", 0, clock, rows(2.9), {"x": 1})))
    assert not [column for column in no_gain.columns if column.startswith("To ")]


def test_times_next_to_nothing_have_no_rate(timed):
    steps, counts = [{"step": 1, "time/step": 5e-324}], [{"step": 1, "images": 240, "captions": 1200}]
    table = cost_table(material_of(timed("a", 0, steps, counts)))
    assert "Training time" in table.columns
    assert not [column for column in table.columns if column.endswith("per second")]


def test_runs_without_times_have_no_such_section(make_seed):
    rows = [{"step": 1, "reward/sampled": 1.0}]
    assert section(material_of(make_seed("a", 0, [1.0], rows=rows))) is None


def test_the_report_of_run_folders(timed, tmp_path):
    hostile = "<b>|`"
    rows = [{"step": 1, "time/step": 2.0, f"time/{hostile}": 0.5}]
    run = timed(hostile, 0, rows, environment={"device": f"{hostile}GPU"})
    page = write_report([run], tmp_path / "out", ReportOptions(resamples=100))
    text = page.read_text(encoding="utf-8")
    assert '<section id="cost"><h2>Cost</h2>' in text
    assert "<b>|" not in text
    ElementTree.parse(tmp_path / "out" / "figures" / "time-per-phase.svg")
    with (tmp_path / "out" / "tables" / "cost.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["run"], row[f"seconds per step: {hostile}"], row["seconds per step: other"]) == (hostile, "0.5", "1.5")
