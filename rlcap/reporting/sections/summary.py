"""What stands first: which method is better, by how much, how sure, and what to know before believing it."""

from collections.abc import Sequence
from dataclasses import replace

from rlcap.reporting.columns import Column
from rlcap.reporting.drawing.forest import draw_forest
from rlcap.reporting.image_scores import image_scores
from rlcap.reporting.material import Material
from rlcap.reporting.page.blocks import Block, Figures, Heading
from rlcap.reporting.page.headline import Headline, Remarks
from rlcap.reporting.statistics.correction import holm
from rlcap.reporting.statistics.estimates import Difference
from rlcap.reporting.tables import number, probability

# More methods than this are told by the best of them and a figure.
_MOST_HEADLINES = 3
_MOST_NAMED = 5


def blocks(material: Material) -> tuple[Block, ...]:
    """The headlines, the differences drawn, and what is missing or not comparable."""
    column = material.main
    remarks = (Remarks("Missing, damaged or not comparable", material.remarks),) if material.remarks else ()
    if column is None:
        return remarks
    others = [place for place in range(len(material.methods)) if place != material.baseline]
    if not others:
        return (_alone(material, column, material.baseline), *remarks)
    if len(others) <= _MOST_HEADLINES:
        return (*(_change(material, column, place) for place in others), *remarks)
    return (_best(material, column), *_drawn(material, column), *remarks)


def named(material: Material, column: Column) -> str:
    """A column's metric as it is called in a sentence."""
    middle = material.options.aggregate == "interquartile_mean" and column.images
    return f"{column.name} (interquartile mean)" if middle else column.name


def _drawn(material: Material, column: Column) -> tuple[Block, ...]:
    name = material.baseline_method.name
    holds = [material.columns.holds(column, place) for place in range(len(material.methods))]
    corrected = "" if material.options.correction == "none" else ", corrected"
    title = f"{column.name}, {material.options.share} intervals; filled: p < {material.options.alpha:.2g}{corrected}"
    figure = draw_forest("summary-differences", title, material.marks, column.differences, holds, width=400)
    return () if figure is None else (Heading(f"Difference from {name}", material.marks), Figures((figure,), "wide"))


def _alone(material: Material, column: Column, place: int) -> Headline:
    """A method's number by itself."""
    found, name = column.estimates[place], material.methods[place].name
    if found is None:
        return Headline(f"{name} has no {column.name} that can be compared.", clear=False)
    interval = ""
    if found.low is not None:
        interval = f"{material.options.share} interval {number(found.low)} to {number(found.high)}. "
    basis = _basis(material, column, [place])
    return Headline(f"{named(material, column)} of {name}", after=number(found.value), evidence=f"{interval}{basis}")


def _best(material: Material, column: Column) -> Headline:
    """The method that is better than all others; the one that comes first, and what it cannot be told from, if none."""
    values = {place: found.value for place, found in enumerate(column.estimates) if found is not None}
    sign = column.better or 1
    place = max(values, key=lambda place: sign * values[place])
    name, remarks = material.methods[place].name, []
    others = [other for other in values if other != place]
    found = [column.between(place, other) for other in others]
    corrected = holm([None if one is None else one.p for one in found])
    unclear = [
        material.methods[other].name
        for other, p in zip(others, corrected, strict=True)
        if p is None or p >= material.options.alpha
    ]
    on = f"On {named(material, column)},"
    if not others:
        verdict = f"{on} {name} can be compared with no other method."
    elif not unclear:
        verdict = f"{on} {name} is better than every other method."
    else:
        verdict = f"{on} {name} scores {'highest' if sign > 0 else 'lowest'}, but not clearly."
        told = ", ".join(unclear[:_MOST_NAMED]) + (
            f" and {len(unclear) - _MOST_NAMED} more" if len(unclear) > _MOST_NAMED else ""
        )
        remarks.append(f"It cannot be told from {told}.")
    if others and not unclear:
        second = min(range(len(others)), key=lambda at: abs(values[others[at]] - values[place]))
        lead = found[second]
        if lead is not None and lead.low is not None and lead.high is not None:
            ends = sorted((sign * lead.low, sign * lead.high))
            remarks.append(
                f"It leads {material.methods[others[second]].name}, the next, by {number(abs(lead.value))} "
                f"({number(ends[0])} to {number(ends[1])})."
            )
    missing = [method.name for other, method in enumerate(material.methods) if other not in values]
    if missing:
        remarks.append(f"Without a {column.name} that can be compared: {', '.join(missing)}.")
    change = _change(material, column, place) if place != material.baseline else _alone(material, column, place)
    return replace(change, verdict=verdict, clear=change.clear, remarks=(*change.remarks, *remarks))


def _change(material: Material, column: Column, place: int) -> Headline:
    """A method against the baseline."""
    before, after = material.baseline_method.name, material.methods[place].name
    found = column.differences[place]
    if found is None:
        without = [name for at, name in ((material.baseline, before), (place, after)) if column.runs[at] is None]
        reason = f"{' and '.join(without)} has no {column.name} of this split that can be set against the other's"
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
        f"From {before} to {after}, {named(material, column)} {verb}.",
        number(old.value), number(new.value), change, holds, evidence(material, column, place, found),
    )  # fmt: skip


def evidence(material: Material, column: Column, place: int, found: Difference) -> str:
    """How sure a difference is, and of what, in a few sentences."""
    said = [f"Difference {number(found.value, sign=True)}"]
    if found.low is not None:
        low, high = number(found.low, sign=True), number(found.high, sign=True)
        said.append(f"{material.options.share} interval {low} to {high}")
    p, compared = material.columns.p(column, place), material.columns.corrected_for(column)
    if p is not None:
        corrected = f" corrected for {compared} comparisons" if compared > 1 else ""
        said.append(f"{probability(p)}{corrected}")
    counts = _images(material, column, place)
    return " ".join(filter(None, [f"{', '.join(said)}.", _basis(material, column, [material.baseline, place]), counts]))


def _basis(material: Material, column: Column, places: Sequence[int]) -> str:
    """What an interval was made from, and what it does not speak of."""
    of_places = {place: runs for place in places if (runs := column.runs[place]) is not None}
    seeds = [len(runs.values) for runs in of_places.values()]
    single = [material.methods[place].name for place, runs in of_places.items() if len(runs.values) == 1]
    if column.images < 2:
        return "Over seeds alone." if min(seeds) > 1 else "One seed: nothing tells how sure it is."
    if max(seeds) == 1:
        these = "this run" if len(seeds) == 1 else "these runs"
        return f"Bootstrap over {column.images:,} images; of one seed each, it holds for {these} alone."
    counted = " and ".join(map(str, seeds)) if len(set(seeds)) > 1 else str(seeds[0])
    text = f"Bootstrap over {column.images:,} images, and over seeds ({counted})."
    return text + (f" Of {single[0]} there is one: how others of its seeds would do is not counted." if single else "")


def _images(material: Material, column: Column, place: int) -> str:
    """On how many images a method is better, equal and worse, by their means over seeds."""
    found = image_scores(material, column.name)
    if found is None or found.of_corpus or found.signature != column.signature:
        return ""
    gains = found.gains(place, material.baseline)
    if gains is None:
        return ""
    better, worse = int((gains > 0).sum()), int((gains < 0).sum())
    return f"Better on {better:,} images, equal on {len(gains) - better - worse:,}, worse on {worse:,}."
