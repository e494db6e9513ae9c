"""Logs read by columns are what reading them value by value gives."""

import json
import tracemalloc
from collections import Counter

import numpy as np

from rlcap.reporting.reading.cache import Cache
from rlcap.reporting.reading.files import Source
from rlcap.reporting.reading.logs import pack_series, read_curves, read_timings, unpack_series

ODD = (None, True, "0.5", "nan", float("nan"), float("-inf"), 10**400, [1.0], {"a": 1})


def write(folder, rows):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(folder, "metrics.jsonl")


def value_by_value(rows):
    """The curves, and how many values of each key are none: the definition, one value after another."""
    points, odd = {}, Counter()
    for row in rows:
        for key, value in row.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and abs(value) < 10**300 and np.isfinite(value):
                points.setdefault(key, {})[row["step"]] = float(value)
            else:
                odd[key] += 1
    return {key: sorted(of_key.items()) for key, of_key in points.items()}, odd


def test_columns_hold_what_the_rows_say(tmp_path):
    """Rows of many layouts, in no order, with steps that come again and values that are none."""
    rng = np.random.default_rng(0)
    keys = [f"reward/{place}" for place in range(8)]
    rows = []
    for step in rng.integers(0, 2500, 5000).tolist():
        row = {"step": step, "images": 32 * step}
        for key in rng.permutation(keys)[: rng.integers(1, 8)].tolist():
            row[key] = ODD[rng.integers(len(ODD))] if rng.random() < 0.02 else float(rng.normal())
        rows.append(row)
    notes = []
    curves = read_curves(write(tmp_path, rows), notes)
    finite = Counter(
        (row["step"], key) for row in rows for key in row if key in keys and value_by_value([row])[0].get(key)
    )
    again = {step for (step, _), times in finite.items() if times > 1}
    expected, odd = value_by_value(rows)
    assert curves.keys() == expected.keys()
    for key, points in expected.items():
        assert list(zip(curves[key].steps.tolist(), curves[key].values.tolist(), strict=True)) == points
    assert {f"metrics.jsonl: {times} values of {key} are not finite numbers" for key, times in odd.items()} < {*notes}
    assert len(odd) == 8
    assert f"metrics.jsonl: {len(again)} steps were logged more than once (a resumed run?); the later is shown" in notes


def test_a_long_log_takes_the_memory_of_its_numbers(tmp_path):
    """The steps are held once, and nothing of the file stays."""
    rows = [{"step": step} | {f"reward/{key}": step / (key + 3) for key in range(10)} for step in range(20_000)]
    source = write(tmp_path, rows)
    tracemalloc.start()
    curves = read_curves(source, [])
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1.2 * 11 * 20_000 * 8 + 1e5  # an array that grew has some room left
    assert peak < 3e7
    assert len({id(series.steps) for series in curves.values()}) == 1


def test_what_is_packed_is_unpacked_to_the_bit(tmp_path):
    rows = [{"step": step, "a": step / 3} for step in range(5)] + [{"step": 2, "\ud800 b": 1e-320, "c": -0.0}]
    curves = read_curves(write(tmp_path, rows), [])
    again, notes = unpack_series(pack_series(curves, ["a note"]))
    assert list(again) == list(curves)
    assert notes == ["a note"]
    for key, series in curves.items():
        assert again[key].steps.tobytes() == series.steps.tobytes()
        assert again[key].values.tobytes() == series.values.tobytes()
    assert unpack_series(pack_series({}, [])) == ({}, [])


def test_timings_hold_seconds_and_bytes_alone(tmp_path):
    rows = [
        {"step": 1, "time/step": 2, "memory/peak": 5e9, "device": 1},
        {"step": 2, "time/step": -1, "memory/peak": -1},
    ]
    notes = []
    timings = read_timings(write(tmp_path, rows), notes)
    assert {key: series.values.tolist() for key, series in timings.items()} == {"time/step": [2], "memory/peak": [5e9]}
    assert notes == ["metrics.jsonl: 2 values are no times and were left out"]


def test_what_was_written_to_while_it_was_read_is_not_remembered(tmp_path):
    source = write(tmp_path, [{"step": 1, "a": 1.0}])
    cache = Cache(tmp_path / "cache")

    def read(source, notes):
        curves = read_curves(source, notes)
        with source.path.open("a") as file:
            file.write('{"step": 2, "a": 2.0}\n')
        return curves

    def remember(how):
        return cache.remembered(source, "log.npz", how, pack_series, unpack_series, [])["a"].steps.tolist()

    assert remember(read) == [1]
    assert not (tmp_path / "cache").exists()
    assert remember(read_curves) == [1, 2]
    assert len(list((tmp_path / "cache").iterdir())) == 1
