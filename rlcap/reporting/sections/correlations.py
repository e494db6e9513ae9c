"""Whether the training reward and the held-out scores went together while training, and how the captions drifted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlcap.reporting.comparable import better_of
from rlcap.reporting.drawing.canvas import slug_of
from rlcap.reporting.drawing.curves import HELD_OUT, bounded, figure_group, is_score, smoothed
from rlcap.reporting.drawing.dots import draw_dots
from rlcap.reporting.drawing.kl_curves import REWARD, at_steps, fell
from rlcap.reporting.drawing.svg import Figure
from rlcap.reporting.material import Material
from rlcap.reporting.methods import Method
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.sections.over_optimization import FLAG, panel_keys
from rlcap.reporting.statistics.correlation import pearson, spearman
from rlcap.reporting.tables import Cell, Table, number

# Fewer points than this say nothing of a correlation.
LEAST_POINTS = 4
_DRIFTING = ("length", "repetition_rate", "bad_ending_rate", "ended_rate", "distinct_1", "distinct_2", "vocabulary")
_MOST_METRICS = 12


@dataclass(frozen=True)
class Agreement:
    """How a held-out score went with the training reward in one run.

    Attributes:
        spearman: the correlation of ranks over the validations after the start; None where one never changed.
        pearson: that of values.
        points: how many validations.
        fell: whether the score got worse while the reward rose.
    """

    spearman: float | None
    pearson: float | None
    points: int
    fell: bool


def agreement(run: Run, key: str) -> Agreement | None:
    """How a held-out quantity went with the training reward; None of a run that did not log both, or too rarely."""
    reward, held_out = run.curves.get(REWARD), run.curves.get(key)
    if reward is None or held_out is None:
        return None
    values, rewards = bounded(held_out).values, at_steps(reward, held_out.steps)
    after = held_out.steps > 0
    if after.sum() < LEAST_POINTS:
        return None
    return Agreement(
        spearman(rewards[after], values[after]),
        pearson(rewards[after], values[after]),
        int(after.sum()),
        fell(better_of(key, [run]) * values, rewards),
    )


def agreement_blocks(material: Material) -> tuple[Table | None, tuple[Figure, ...], tuple[str, ...]]:
    """The table of methods by held-out scores, a figure for each score, and the methods that measured too little."""
    trained = [(place, method) for place, method in enumerate(material.methods) if place not in material.starts]
    keys = sorted({key for _, method in trained for run in method.runs for key in run.curves if is_score(key)})
    keys = panel_keys([run for _, method in trained for run in method.runs], keys)[:_MOST_METRICS]
    found = {
        (place, key): [one for run in method.runs if (one := agreement(run, key)) is not None]
        for place, method in trained
        for key in keys
    }
    shown = [(place, method) for place, method in trained if any(found[place, key] for key in keys)]
    without = tuple(method.name for place, method in trained if (place, method) not in shown)
    if not shown:
        return None, (), without
    rows = [(Cell(method.name), *(_cell(found[place, key], method) for key in keys)) for place, method in shown]
    notes = (
        "Spearman's correlation of the training reward with each held-out score over a run's validations after its "
        f"start, mean over seeds; below it Pearson's, and how many validations. A run needs {LEAST_POINTS} of them; a "
        "seed whose reward or score never changed has no correlation.",
        "Both quantities move with the training step, so that a correlation over a handful of validations is weak "
        "evidence: a high one does not say that the reward is right; one against the score (below 0, or above 0 where "
        "less of the score is better) is reason to look.",
        f"Fell: {FLAG}. The score ends below its start or has lost more than half of its best gain, while the "
        "training reward ends above its start.",
    )
    table = Table("Agreement of reward and scores", ("Method", *keys), tuple(rows), notes)
    return table, _figures(material, keys, found) if len(shown) > 1 else (), without


def _figures(
    material: Material, keys: Sequence[str], found: dict[tuple[int, str], list[Agreement]]
) -> tuple[Figure, ...]:
    figures = []
    for number_in_order, key in enumerate(keys):
        values = {
            place: seeds
            for place in range(len(material.methods))
            if (seeds := [one.spearman for one in found.get((place, key), ()) if one.spearman is not None])
        }
        if values:
            slug = f"agreement-{number_in_order:02d}-{slug_of(key)}"
            figures.append(draw_dots(slug, f"Training reward and {key}", material.marks, values))
    return tuple(figures)


def _cell(found: Sequence[Agreement], method: Method) -> Cell:
    """The means over seeds, on how many points they rest, and whether the score fell."""
    if not found:
        return Cell()
    ranks = [one.spearman for one in found if one.spearman is not None]
    values = [one.pearson for one in found if one.pearson is not None]
    points = sorted({one.points for one in found})
    several = f"{points[0]}" if len(points) == 1 else f"{points[0]} to {points[-1]}"
    details = [f"Pearson {number(float(np.mean(values)), 2, sign=True)}" if values else "", f"{several} points"]
    if len(ranks) < len(method.runs):
        details.append(f"{len(ranks)} of {len(method.runs)} seeds")
    fallen = sum(one.fell for one in found)
    if fallen:
        details.append("fell" + (f" in {fallen} of {len(found)} seeds" if len(found) > 1 else ""))
    mean = float(np.mean(ranks)) if ranks else None
    return Cell(number(mean, 2, sign=True), "\n".join(filter(None, details)), bool(fallen), mean)


def drift_table(material: Material) -> Table | None:
    """How what captions are like changed from the start to the end of training; None where nothing of it was logged."""
    trained = [(place, method) for place, method in enumerate(material.methods) if place not in material.starts]
    logged = {key for _, method in trained for run in method.runs for key in run.curves}
    keys = [key for name in _DRIFTING for key in sorted(logged) if key.endswith(f"/{name}") and _is_of_captions(key)]
    rows = []
    for _, method in trained:
        cells = [_drift(method, key) for key in keys]
        if any(cell.detail for cell in cells):
            rows.append((Cell(method.name), *cells))
    if not rows:
        return None
    notes = (
        "From the first to the last value that was logged, mean over seeds; of long training curves from the moving "
        "average. caption/... is of sampled captions while training, the others of the held-out split.",
    )
    return Table("Drift of the captions", ("Method", *keys), tuple(rows), notes)


def _drift(method: Method, key: str) -> Cell:
    series = [smoothed(key, run.curves[key]) for run in method.runs if key in run.curves]
    series = [one for one in series if len(one.values) > 1]
    if not series:
        return Cell()
    start, end = (float(np.mean([one.values[at] for one in series])) for at in (0, -1))
    change = end - start
    if key.endswith("_rate"):
        text = f"{number(100 * start, 1)} → {number(100 * end, 1)} %"
        return Cell(text, f"{number(100 * change, 1, sign=True)} points", sort=change)
    digits = 0 if abs(start) >= 100 else 1 if abs(start) >= 2 else 3
    text = f"{number(start, digits)} → {number(end, digits)}"
    relative = f"{number(100 * change / abs(start), 0, sign=True)} %" if start else number(change, digits, sign=True)
    return Cell(text, relative, sort=change)


def _is_of_captions(key: str) -> bool:
    return key.startswith("caption/") or figure_group(key) == HELD_OUT
