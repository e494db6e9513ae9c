"""What training cost: time, memory, where a step's time went, and how soon a gain was reached."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from rlcap.reporting.comparable import better_of
from rlcap.reporting.drawing.bars import draw_phases, mean_phases
from rlcap.reporting.drawing.curves import AXES, HELD_OUT, Band, band_of, curve_keys, figure_group, main_keys
from rlcap.reporting.material import Material
from rlcap.reporting.methods import Method
from rlcap.reporting.page.blocks import AreaLegend, Block, Figures, Heading, Paragraph, Rows
from rlcap.reporting.page.csv_text import csv_of
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.sections.section import Section
from rlcap.reporting.tables import Cell, Table, duration, number, significant

_SHARES = (0.5, 0.9)
# Runs of one method that differ by more than this factor were not alone on their machine.
_MOST_SPREAD = 1.5
_MOST_COUNTED = 2.0**53
# No training is shorter; a rate over less would be no finite number.
_LEAST_SECONDS = 1e-6
_PHASES = (
    "Mean over logged steps and seeds. Rollout is acting without what is shown of it apart: encoding images, decoding "
    "captions, scoring. Other is what the phases leave of the step."
)
# What makes wall times of two runs two different things.
_MACHINE = ("device", "threads", "platform", "processes", "commit")


def training_seconds(run: Run) -> float | None:
    """What all training steps took."""
    return run.training_seconds


def seconds_per_step(run: Run) -> float | None:
    """The mean over all steps."""
    seconds = run.training_seconds
    return seconds / run.steps if seconds and run.steps else None


def per_second(run: Run, counter: str) -> float | None:
    """Images or captions for each second of training steps; None where none were counted."""
    seconds, steps = run.training_seconds, run.steps
    counts = None if steps is None else run.count_at(counter, np.array([steps], dtype=np.float64))
    if seconds is None or seconds < _LEAST_SECONDS or counts is None or not 0 < counts[0] < _MOST_COUNTED:
        return None
    return float(counts[0]) / seconds


def peak_gibibytes(run: Run) -> float | None:
    """The most memory that was logged."""
    peak = run.timings.get("memory/peak")
    return None if peak is None else float(peak.values.max()) / 2**30


def evaluation_seconds(run: Run) -> float | None:
    """What all measurements on the held-out split took while training."""
    seconds = run.timings.get("time/evaluate")
    return None if seconds is None else float(seconds.values.sum())


_Quantity = tuple[str, str, Callable[[Run], float | None], Callable[[float], str]]
QUANTITIES: tuple[_Quantity, ...] = (
    ("Training time", "training seconds", training_seconds, duration),
    ("Seconds per step", "seconds per step", seconds_per_step, significant),
    ("Images per second", "images per second", partial(per_second, counter="images"), significant),
    ("Captions per second", "captions per second", partial(per_second, counter="captions"), significant),
    ("Peak memory, GiB", "peak memory in GiB", peak_gibibytes, partial(number, digits=2)),
    ("Measuring", "seconds measuring", evaluation_seconds, duration),
)
"""Heading, heading in files, value and text of what each run cost."""


def section(material: Material) -> Section | None:
    """The table, the phases of a step, and what can be compared; None where no run was timed."""
    if not any(run.timings for run in material.runs):
        return None
    blocks: list[Block] = [Rows(cost_table(material))]
    phases = {place: found for place, method in enumerate(material.methods) if (found := mean_phases(method.runs))}
    figure = draw_phases(material.marks, phases)
    if figure is not None:
        several = material.marks if len(material.methods) > 1 else ()
        blocks += [Heading("Where a step's time goes", several), AreaLegend(figure.legend), Figures((figure,), "wide")]
        blocks.append(Paragraph(_PHASES, quiet=True))
    return Section("cost", "Cost", tuple(blocks), {"tables/cost.csv": cost_csv(material.methods)})


def cost_table(material: Material) -> Table:
    """Methods by what they cost: means over seeds, with the range of the seeds."""
    methods = material.methods
    shown = [one for one in QUANTITIES if any(one[2](run) is not None for run in material.runs)]
    targets = gains(material)
    soon = [
        (share, {place: reached(band, sign, level) for place, band in bands.items()})
        for share, level, sign, bands in targets
    ]
    rows = []
    for place, method in enumerate(methods):
        cells = [Cell(method.name)]
        cells += [_cell(method, value, text) for _, _, value, text in shown]
        cells += [_reached_cell(method, steps.get(place)) for _, steps in soon]
        cells.append(_machine(method))
        rows.append(tuple(cells))
    heads = [head for head, _, _, _ in shown] + [f"To {share:.0%} of the best gain" for share, _ in soon]
    return Table("Cost", ("Method", *heads, "Machine"), tuple(rows), _notes(material, bool(soon)))


def _cell(method: Method, value: Callable[[Run], float | None], text: Callable[[float], str]) -> Cell:
    found = [one for run in method.runs if (one := value(run)) is not None]
    if not found:
        return Cell()
    details = [f"{text(min(found))} to {text(max(found))}"] if text(min(found)) != text(max(found)) else []
    if len(found) < len(method.runs):
        details.append(f"{len(found)} of {len(method.runs)} seeds")
    if value is training_seconds and not all(run.finished for run in method.runs):
        details.append("not finished")
    mean = float(np.mean(found))
    return Cell(text(mean), "\n".join(details), sort=mean)


_Gain = tuple[float, float, int, Mapping[int, Band]]


def gains(material: Material) -> list[_Gain]:
    """Shares of the best gain with the level of the held-out main metric each asks for; empty where nothing gained.

    The gain is from the best mean over seeds that the baseline ever had to the best that any method had.
    """
    metric = material.options.metric
    keys = [key for key in main_keys(curve_keys(material.runs), metric) if figure_group(key) == HELD_OUT]
    if not keys:
        return []
    sign = better_of(metric, material.runs) or 1
    bands: dict[int, Band] = {}
    for place, method in enumerate(material.methods):
        seeds = [run.curves[keys[0]] for run in method.runs if keys[0] in run.curves]
        band = band_of(seeds) if seeds else None
        if band is not None:
            bands[place] = band
    if material.baseline not in bands:
        return []
    best = {place: float((sign * band.mean).max()) for place, band in bands.items()}
    start = best.pop(material.baseline)
    gain = max(best.values(), default=start) - start
    others = {place: bands[place] for place in best if place not in material.starts}
    return [(share, start + share * gain, sign, others) for share in _SHARES] if gain > 0 else []


def reached(band: Band, sign: int, level: float) -> float | None:
    """The first step at which a method's mean was as good as that; None where it never was."""
    at = np.flatnonzero(sign * band.mean >= level)
    return float(band.steps[at[0]]) if len(at) else None


def _reached_cell(method: Method, step: float | None) -> Cell:
    if step is None:
        return Cell()
    at = np.array([step])
    captions, minutes = (axis.of_seeds(method.runs, at) for axis in AXES[1:])
    details = [] if captions is None else [f"{number(float(captions[0]), 0)} captions"]
    details += [] if minutes is None else [duration(60 * float(minutes[0]))]
    return Cell(f"step {number(step, 0)}", "\n".join(details), sort=step)


def _machine(method: Method) -> Cell:
    """On what the runs of a method ran."""
    devices = dict.fromkeys(_text(run, "device") for run in method.runs)
    commits = dict.fromkeys(_text(run, "commit")[:8] for run in method.runs)
    return Cell(", ".join(filter(None, devices)) or "unknown", ", ".join(filter(None, commits)))


def _text(run: Run, key: str) -> str:
    value = run.environment.get(key)
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _notes(material: Material, soon: bool) -> tuple[str, ...]:
    timed = [run for run in material.runs if run.timings]
    notes = [
        "Means over seeds, below them the range of the seeds. Training time is that of the training steps alone; "
        "measuring on the held-out split comes on top."
    ]
    if soon:
        notes.append(
            f"To a share of the best gain: the first validation at which the held-out {material.options.metric}, mean "
            f"over seeds, made that share of the way from the best of {material.baseline_method.name} to the best of "
            "any method; a dash where it never did. How far apart validations are is each run's own choice."
        )
    differing = [key for key in _MACHINE if len({_text(run, key) for run in timed}) > 1]
    if differing:
        notes.append(
            f"The runs differ in {' and '.join(differing)}: their wall times and memory are not comparable between "
            "methods."
        )
    else:
        notes.append(
            "As far as the runs tell, all ran on the same kind of machine and code; what else the machine did at the "
            "time is not known."
        )
    factor = max((_spread_of(method) for method in material.methods), default=1.0)
    if factor > _MOST_SPREAD:
        notes.append(
            f"Seconds per step of runs that differ in their seed alone differ by up to {factor:.1f} times: something "
            "else used the machine, and methods cannot be compared by these times."
        )
    if any("memory/peak" in run.timings for run in timed):
        notes.append("Peak memory: of tensors on a CUDA device; elsewhere of the whole process.")
    if any(not run.finished for run in material.runs):
        notes.append("Of a run that is not finished the cost is that so far.")
    return tuple(notes)


def _spread_of(method: Method) -> float:
    """How many times slower the slowest run of a method was than its fastest."""
    found = [seconds for run in method.runs if (seconds := seconds_per_step(run))]
    return max(found) / min(found) if found else 1.0


def cost_csv(methods: Sequence[Method]) -> str:
    """The cost of every run with every digit; what is missing is empty."""
    phases = [mean_phases([run]) for method in methods for run in method.runs]
    names = sorted({phase for of_run in phases for phase in of_run})
    runs = [(method, run) for method in methods for run in method.runs]
    return csv_of(
        ["method", "run", *(head for _, head, _, _ in QUANTITIES), *(f"seconds per step: {name}" for name in names)],
        [
            [method.name, run.name, *(value(run) for _, _, value, _ in QUANTITIES), *map(of_run.get, names)]
            for (method, run), of_run in zip(runs, phases, strict=True)
        ],
    )
