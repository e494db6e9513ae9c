"""What all sections of a report draw on: the runs, grouped into methods, and the numbers by which they are compared."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from rlcap.reporting.columns import Column, Columns, make_columns
from rlcap.reporting.doubts import check_metric, doubts_of, unmeasured
from rlcap.reporting.drawing.kept import Drawings
from rlcap.reporting.drawing.svg import Mark, marks_of
from rlcap.reporting.images import SharedImages, shared_images
from rlcap.reporting.methods import Method, group_runs
from rlcap.reporting.options import ReportOptions
from rlcap.reporting.reading.files import ReportError, as_mapping
from rlcap.reporting.reading.runs import Reading, Run


@dataclass(frozen=True)
class Material:
    """What a report is made from.

    Attributes:
        options: how it is made.
        runs: in the order they were given.
        methods: runs of one configuration over seeds, in the order of their first runs.
        marks: how each method is drawn throughout.
        baseline: the place of the method that the others are compared with.
        images: those on which runs are compared.
        columns: the numbers by which they are.
        remarks: what is missing, damaged, left out or not comparable, one line each.
        grouping: what is odd about the grouping, one line each.
        drawings: those of earlier reports.
    """

    options: ReportOptions
    runs: tuple[Run, ...]
    methods: tuple[Method, ...]
    marks: tuple[Mark, ...]
    baseline: int
    images: SharedImages
    columns: Columns
    remarks: tuple[str, ...]
    grouping: tuple[str, ...]
    drawings: Drawings = field(default_factory=Drawings)

    @property
    def main(self) -> Column | None:
        """The column of the main metric; None where no run has it."""
        return self.columns.main(self.options.metric)

    @property
    def baseline_method(self) -> Method:
        """The method that the others are compared with."""
        return self.methods[self.baseline]

    @cached_property
    def starts(self) -> frozenset[int]:
        """The places of methods that other methods started from: what they logged is of another training."""
        return starts_of(self.methods)

    @cached_property
    def shown(self) -> tuple[tuple[int, Run], ...]:
        """The place of each method that captioned the shared images, and the run that stands for it: its first."""
        return tuple(
            (place, run)
            for place, method in enumerate(self.methods)
            for run in [run for run in method.runs if run.name in self.images.compared][:1]
        )


def gather(reading: Reading, options: ReportOptions, drawings: Drawings | None = None) -> Material:
    """The material of the runs that were read.

    Raises:
        ReportError: if the baseline is none of the methods, or a name is given to none or twice.
    """
    check_metric(reading.runs, options.metric)
    methods, notes = group_runs(reading.runs)
    former = [method.name for method in methods]
    methods = _named(methods, options)
    baseline = _baseline(methods, former, options)
    members = [run for method in methods for run in method.runs]
    images = shared_images(members, methods[baseline].runs[0], options.metric)
    columns = make_columns(methods, images, baseline, options)
    doubts = doubts_of(methods, methods[baseline], options.metric)
    left = [note for note in notes if "left out" in note]
    own = [f"{run.name}: {note}." for run in reading.runs for note in run.notes]
    return Material(
        options=options,
        runs=reading.runs,
        methods=methods,
        marks=marks_of([method.name for method in methods]),
        baseline=baseline,
        images=images,
        columns=columns,
        remarks=(
            *reading.left_out,
            *own,
            *unmeasured(reading.runs, options.split),
            *images.remarks,
            *doubts,
            *columns.remarks,
            *left,
        ),
        grouping=tuple(note for note in notes if note not in left),
        drawings=drawings or Drawings(),
    )


def _started_from(policy: object) -> Iterator[tuple[str, ...]]:
    """The folders of the runs that a policy, or one within it, is loaded from, as the parts of their paths."""
    arguments = as_mapping(as_mapping(policy).get("init_args"))
    if isinstance(arguments.get("directory"), str):
        parts = tuple(part for part in Path(arguments["directory"]).parts if part not in (".", ".."))
        parts = parts[: parts.index("checkpoints")] if "checkpoints" in parts else parts
        yield from [parts] if parts else []
    if "policy" in arguments:
        yield from _started_from(arguments["policy"])


def _named(methods: Sequence[Method], options: ReportOptions) -> tuple[Method, ...]:
    """The methods with the names that were asked for."""
    unknown = options.names.keys() - {method.name for method in methods}
    if unknown:
        known = ", ".join(method.name for method in methods)
        raise ReportError(f"no method is called {sorted(unknown)[0]!r}: name one of {known}")
    named = tuple(method.called(options.names.get(method.name, method.name)) for method in methods)
    names = [method.name for method in named]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ReportError(f"two methods would be called {twice!r}: give each a name of its own")
    return named


def starts_of(methods: Sequence[Method]) -> frozenset[int]:
    """The places of the methods that others started from: by the ends of paths, since run folders may have moved."""
    runs = {run.folder.resolve().parts: place for place, method in enumerate(methods) for run in method.runs}
    found = set()
    for method in methods:
        for parts in (parts for run in method.runs for parts in _started_from(run.config.get("policy"))):
            ends = {folder: _common_end(folder, parts) for folder in runs}
            longest = max(ends.values())
            found |= {runs[folder] for folder, length in ends.items() if length == longest > 0}
    return frozenset(found)


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    """How many parts two paths have in common at their ends."""
    same = (mine == theirs for mine, theirs in zip(reversed(one), reversed(other), strict=False))
    return sum(1 for _ in takewhile(bool, same))


def _baseline(methods: Sequence[Method], former: Sequence[str], options: ReportOptions) -> int:
    """The place of the method, or of the method of the run, that was asked for; without, of where others started."""
    asked = options.baseline
    if asked is None:
        starts = starts_of(methods)
        return next(iter(starts)) if len(starts) == 1 else 0
    for place, (method, old) in enumerate(zip(methods, former, strict=True)):
        folders = {str(run.folder.resolve()) for run in method.runs}
        if asked in (method.name, old, *(run.name for run in method.runs)) or str(Path(asked).resolve()) in folders:
            return place
    known = ", ".join(method.name for method in methods)
    raise ReportError(f"no method or run is called {asked!r}: the baseline is one of {known}")
