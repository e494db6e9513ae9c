"""Curves and timings: JSON lines read into arrays, without keeping an object for each number."""

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from rlcap.markdown import clean
from rlcap.reporting.reading.files import LONGEST_KEY, Source, as_number
from rlcap.reporting.reading.lines import read_objects

# Columns of metrics.jsonl that say when a row was written, not what was measured.
COUNTERS = ("step", "epoch", "images", "captions")
STEP_SECONDS = "time/step"

_AT_ONCE = 2048  # rows made into arrays together
_MOST_KEYS = 2000
_MOST_NAMED = 10  # keys that notes name one by one
_LAST_STEP = 2.0**53  # the steps below are whole numbers to the bit
_MOST_SECONDS = 1e9
_MOST_BYTES = 1e18


@dataclass(frozen=True)
class Series:
    """One logged quantity against the training step, steps ascending and distinct."""

    steps: Float[np.ndarray, " points"]
    values: Float[np.ndarray, " points"]


@dataclass
class _Column:
    """The finite values of a key with their steps and the rows they stood in, as the bytes of arrays that grow."""

    steps: bytearray = field(default_factory=bytearray)
    rows: bytearray = field(default_factory=bytearray)
    values: bytearray = field(default_factory=bytearray)

    def series(self) -> tuple[Series, Float[np.ndarray, " repeated"]]:
        """The last value of each step, and the steps that were logged more than once."""
        steps, rows, values = (np.frombuffer(part, np.float64) for part in (self.steps, self.rows, self.values))
        if (np.diff(steps) > 0).all():
            return Series(steps, values), steps[:0]
        order = np.lexsort((rows, steps))
        steps, values = steps[order], values[order]
        last = np.append(np.diff(steps) > 0, True)
        return Series(steps[last], values[last]), np.unique(steps[~last])


class _Table:
    """Collects rows by the keys they hold, and makes columns of them a few thousand rows at a time."""

    def __init__(self) -> None:
        self.columns: dict[str, _Column] = {}
        self.without_step = 0
        self.odd_values = 0
        self._keys: set[str] = set()
        self.not_finite: Counter[str] = Counter()
        self._waiting: dict[tuple[str, ...], tuple[list[int], list[list[Any]]]] = {}
        self._held = self._rows = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a row."""
        self._rows += 1
        numbers, values = self._waiting.setdefault(tuple(row), ([], []))
        numbers.append(self._rows)
        values.append(list(row.values()))
        self._held += 1
        if self._held >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Take in the rows that wait."""
        for keys, (numbers, values) in self._waiting.items():
            self._take(keys, np.array(numbers, np.float64), list(zip(*values, strict=True)))
        self._waiting.clear()
        self._held = 0

    def _take(self, keys: Sequence[str], rows: Float[np.ndarray, " rows"], columns: Sequence[Sequence[object]]) -> None:
        if "step" not in keys:
            self.without_step += len(rows)
            return
        steps = _numbers(columns[keys.index("step")])
        known = np.isfinite(steps) & (steps >= 0) & (steps < _LAST_STEP) & (np.floor(steps) == steps)
        self.without_step += int((~known).sum())
        for key, column in zip(keys, columns, strict=True):
            if key not in self._keys:
                if not 0 < len(key) <= LONGEST_KEY or len(self._keys) >= _MOST_KEYS:
                    self.odd_values += len(column)
                    continue
                self._keys.add(key)
            values = _numbers(column)
            finite = np.isfinite(values) & known
            lost = int(known.sum() - finite.sum())
            if lost:
                self.not_finite[key] += lost
            if finite.any():
                into = self.columns.setdefault(key, _Column())
                into.steps += steps[finite].tobytes()
                into.rows += rows[finite].tobytes()
                into.values += values[finite].tobytes()


def _numbers(column: Sequence[object]) -> Float[np.ndarray, " rows"]:
    """The values as numbers, NaN for those that are none."""
    if set(map(type, column)) == {float}:
        return np.array(column, np.float64)
    numbers = (as_number(value) for value in column)
    return np.array([np.nan if number is None else number for number in numbers], np.float64)


def read_curves(source: Source, notes: list[str]) -> dict[str, Series]:
    """The quantities of metrics.jsonl by key; of a step logged more than once, the last values."""
    return _read(source, notes)


def read_timings(source: Source, notes: list[str]) -> dict[str, Series]:
    """What timings.jsonl says of ``time/...``, in seconds, and ``memory/peak``, in bytes."""
    timings = {}
    unusable = 0
    for key, series in _read(source, notes, ("time/", "memory/")).items():
        possible = (series.values >= 0) & (series.values < (_MOST_SECONDS if key.startswith("time/") else _MOST_BYTES))
        unusable += int((~possible).sum())
        if possible.any():
            timings[key] = Series(series.steps[possible], series.values[possible])
    if unusable:
        notes.append(f"{source.name}: {unusable} values are no times and were left out")
    return timings


def pack_series(series: Mapping[str, Series], notes: list[str]) -> bytes:
    """An .npz file: for each array of steps the matrix of the values logged at them, and the keys as JSON."""
    steps: list[Float[np.ndarray, " _points"]] = []
    members: list[list[str]] = []
    for name, one in series.items():
        place = next((place for place, known in enumerate(steps) if known is one.steps), len(steps))
        if place == len(steps):
            steps.append(one.steps)
            members.append([])
        members[place].append(name)
    about = json.dumps({"notes": notes, "order": list(series), "members": members})
    arrays = {"about": np.frombuffer(about.encode(), np.uint8)}
    for place, names in enumerate(members):
        arrays |= {f"steps_{place}": steps[place], f"values_{place}": np.stack([series[name].values for name in names])}
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # its other argument is a truth value
    return file.getvalue()


def unpack_series(content: bytes) -> tuple[dict[str, Series], list[str]]:
    """The quantities and the notes that were packed."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        about = json.loads(arrays["about"].tobytes())
        found: dict[str, Series] = {}
        for place, names in enumerate(about["members"]):
            steps, values = arrays[f"steps_{place}"], arrays[f"values_{place}"]
            found |= {name: Series(steps, row) for name, row in zip(names, values, strict=True)}
    return {name: found[name] for name in about["order"]}, about["notes"]


def _read(source: Source, notes: list[str], only: tuple[str, ...] = ("",)) -> dict[str, Series]:
    """The quantities of a log whose keys begin so."""
    table = _Table()
    for row in read_objects(source, notes, parse_int=float):
        table.add(row)
    table.flush()
    series: dict[str, Series] = {}
    repeated: set[float] = set()
    steps: list[Float[np.ndarray, " _points"]] = []
    for key, column in table.columns.items():
        if not key.startswith(only):
            continue
        found, twice = column.series()
        # columns logged at the same steps share one array of them
        shared = next((known for known in steps if np.array_equal(known, found.steps)), None)
        if shared is None:
            steps.append(found.steps)
        series[key] = found if shared is None else Series(shared, found.values)
        if key not in COUNTERS:  # training and evaluation rows share their counters
            repeated.update(twice.tolist())
    notes.extend(f"{source.name}: {note}" for note in _remarks(table, repeated, only))
    return series


def _remarks(table: _Table, repeated: set[float], only: tuple[str, ...]) -> list[str]:
    remarks = []
    if table.without_step:
        remarks.append(f"{table.without_step} rows name no step and were left out")
    if repeated:
        remarks.append(f"{len(repeated)} steps were logged more than once (a resumed run?); the later is shown")
    if table.odd_values:
        remarks.append(
            f"{table.odd_values} values were left out: their keys are empty, longer than {LONGEST_KEY} characters or "
            f"beyond the first {_MOST_KEYS:,}"
        )
    lost = {key: times for key, times in table.not_finite.items() if key.startswith(only)}
    remarks += [
        f"{times} values of {clean(key)} are not finite numbers" for key, times in list(lost.items())[:_MOST_NAMED]
    ]
    if len(lost) > _MOST_NAMED:
        remarks.append(f"{len(lost) - _MOST_NAMED} further keys have values that are not finite numbers")
    return remarks
