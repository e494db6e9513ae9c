"""What stands first: which method is better, by how much, how sure, and what to know before believing it."""

import numpy as np

from rlcap.reporting.columns import Column
from rlcap.reporting.drawing.forest import draw_forest
from rlcap.reporting.image_scores import image_scores
from rlcap.reporting.material import Material
from rlcap.reporting.page.blocks import Block, Figures, Headline, Remarks
from rlcap.reporting.statistics.estimates import Difference
from rlcap.reporting.tables import number

# More methods than this are told by the best of them and a figure.
_MOST_HEADLINES = 3


def blocks(material: Material) -> tuple[Block, ...]:
    """The headlines, the differences drawn, and what is missing or not comparable."""
    column = material.main
    remarks = (Remarks("Missing, damaged or not comparable", material.remarks),) if material.remarks else ()
    if column is None:
        return remarks
    others = [place for place in range(len(material.methods)) if place != material.baseline]
    if len(others) <= _MOST_HEADLINES:
        told: list[Block] = [_change(material, column, place) for place in others]
        if not others and column.estimates[0] is not None:
            told = [_alone(material, column)]
        return (*told, *remarks)
    return (_best(material, column), *_drawn(material, column), *remarks)


def _drawn(material: Material, column: Column) -> tuple[Block, ...]:
    name = material.baseline_method.name
    holds = [material.columns.holds(column, place) for place in range(len(material.methods))]
    title = f"{column.name}, difference from {name} and {material.options.confidence:.0%} interval; filled: it holds"
    figure = draw_forest("summary-differences", title, material.marks, column.differences, holds, width=400)
    return () if figure is None else (Figures((figure,), "wide"),)


def _alone(material: Material, column: Column) -> Headline:
    found, name = column.estimates[0], material.methods[0].name
    assert found is not None
    low, high = number(found.low), number(found.high)
    interval = "" if found.low is None else f"{material.options.confidence:.0%} interval {low} to {high}. "
    return Headline(f"{column.name} of {name}", after=number(found.value), evidence=f"{interval}{_basis(column, 0)}")


def _best(material: Material, column: Column) -> Headline:
    """The method that is better than all others; the one that scored highest where none is."""
    values = {place: found.value for place, found in enumerate(column.estimates) if found is not None}
    if column.best is not None:
        place, verdict = column.best, "is better than every other method"
    else:
        place, verdict = max(values, key=lambda place: column.better * values[place]), "scores highest, but not clearly"
    headline = _change(material, column, place) if place != material.baseline else _alone(material, column)
    p = [column.between(place, other) for other in values if other != place]
    closest = min((found for found in p if found is not None), key=lambda found: abs(found.value), default=None)
    nearest = ""
    if closest is not None and closest.low is not None:
        nearest = (
            f"Nearest other method: {number(-abs(closest.value), sign=True)} "
            f"(interval of the difference {number(closest.low, sign=True)} to {number(closest.high, sign=True)})."
        )
    return Headline(
        f"On {column.name}, {material.methods[place].name} {verdict}.",
        headline.before, headline.after, headline.change, headline.clear, headline.evidence,
        (*headline.remarks, *([nearest] if nearest else [])),
    )  # fmt: skip


def _change(material: Material, column: Column, place: int) -> Headline:
    """A method against the baseline."""
    before, after = material.baseline_method.name, material.methods[place].name
    found = column.differences[place]
    if found is None:
        reason = f"one of them has no {column.name} that can be set against the other's"
        return Headline(f"{after} is not compared with {before}: {reason}.", clear=False)
    holds = material.columns.holds(column, place)
    old, new = column.estimates[material.baseline], column.estimates[place]
    assert old is not None
    assert new is not None
    if holds:
        verb = "rose" if found.value > 0 else "fell"
    else:
        verb = "did not change" if found.value == 0 else "did not clearly change"
    change = number(found.value, sign=True)
    if old.value > 0:
        change = f"{number(100 * found.value / old.value, 1, sign=True)} %"
    return Headline(
        f"From {before} to {after}, {column.name} {verb}.",
        number(old.value), number(new.value), change, holds, evidence(material, column, place, found),
        _decoded_differently(material, place),
    )  # fmt: skip


def evidence(material: Material, column: Column, place: int, found: Difference) -> str:
    """How sure a difference is, and of what, in a few sentences."""
    said = [f"Difference {number(found.value, sign=True)}"]
    if found.low is not None:
        low, high = number(found.low, sign=True), number(found.high, sign=True)
        said.append(f"{material.options.confidence:.0%} interval {low} to {high}")
    p = material.columns.p(column, place)
    if p is not None:
        compared = sum(value is not None for value in column.p_values)
        corrected = f" corrected for {compared} comparisons" if compared > 1 and p != column.p_values[place] else ""
        said.append(f"p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}{corrected}")
    text = f"{', '.join(said)}. {_basis(column, place)}"
    counts = _images(material, column, place)
    return f"{text} {counts}" if counts else text


def _basis(column: Column, place: int) -> str:
    """What an interval was made from."""
    mine, theirs = column.runs[place], column.runs[column.baseline]
    seeds = [len(runs.values) for runs in (theirs, mine) if runs is not None]
    if column.images and max(seeds) > 1:
        counted = " and ".join(map(str, seeds)) if len(set(seeds)) > 1 else str(seeds[0])
        return f"Paired bootstrap over {column.images:,} images, and over seeds ({counted})."
    if column.images:
        return f"Paired bootstrap over {column.images:,} images; of one seed each, it holds for these runs alone."
    return "Over seeds alone." if max(seeds) > 1 else "One seed each: nothing tells how sure it is."


def _images(material: Material, column: Column, place: int) -> str:
    """On how many images a method is better, equal and worse, by their means over seeds."""
    found = image_scores(material, column.name)
    if found is None or found.of_corpus or found.signature != column.signature or place == material.baseline:
        return ""
    old, new = found.means.get(material.baseline), found.means.get(place)
    if old is None or new is None:
        return ""
    difference = new - old
    better, worse = int((difference > 0).sum()), int((difference < 0).sum())
    return f"Better on {better:,} images, equal on {np.sum(difference == 0):,}, worse on {worse:,}."


def _decoded_differently(material: Material, place: int) -> tuple[str, ...]:
    ways = [
        dict.fromkeys(run.evaluation.decoding or "unknown" for run in material.methods[method].runs)
        for method in (material.baseline, place)
    ]
    if ways[0] == ways[1]:
        return ()
    return (f"The captions were decoded differently: {', '.join(ways[0])} and {', '.join(ways[1])}.",)
