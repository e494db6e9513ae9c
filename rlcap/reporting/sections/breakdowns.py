"""Where methods differ: their scores by kinds of images, and image by image."""

from collections.abc import Sequence

from rlcap.reporting.drawing.canvas import slug_of
from rlcap.reporting.drawing.intervals import Point, draw_intervals
from rlcap.reporting.drawing.svg import Figure
from rlcap.reporting.image_groups import Breakdown, breakdowns_of
from rlcap.reporting.image_scores import ImageScores, comparable_metrics, image_scores
from rlcap.reporting.material import Material
from rlcap.reporting.page.blocks import Block, Bullets, Figures, Folded, Heading, Legend, Paragraph, Rows, Switch
from rlcap.reporting.page.csv_text import csv_of
from rlcap.reporting.sections.group_scores import GroupScores, score_groups
from rlcap.reporting.sections.image_pairs import pair_blocks
from rlcap.reporting.sections.section import Section
from rlcap.reporting.statistics.estimates import Difference
from rlcap.reporting.tables import Cell, Table, number, probability

_MOST_METRICS = 5
# Methods with more lines than this to a group could not be told apart.
_MOST_DRAWN = 12
_FILE = "tables/breakdowns.csv"
_GROUP = ("breakdown", "group", "images", "metric", "signature", "method", "seeds", "value", "low", "high")
_HEADER = (*_GROUP, "difference", "difference_low", "difference_high", "p", "p_corrected")


def section(material: Material) -> Section | None:
    """The section; None where no two groups and no two methods can be told apart."""
    names = comparable_metrics(material.columns.scores, material.options.metric, _MOST_METRICS)
    scores = [found for name in names if (found := image_scores(material, name)) is not None]
    if not scores:
        return None
    predictions = {place: run.evaluation.predictions for place, run in material.shown}
    known = [[of_run[image_id] for of_run in predictions.values()] for image_id in material.images.image_ids]
    breakdowns, more = breakdowns_of(
        [of_image[0] for of_image in known],
        [next((p.metadata for p in of_image if p.metadata), {}) for of_image in known],
    )
    scored = [score_groups(material, breakdown, scores) for breakdown in breakdowns]
    blocks: list[Block] = []
    if breakdowns:
        explanation = "Scores by what images and their references are like, with intervals over images and seeds."
        if len(scores[0].of_method) > 1:
            over = ""
            if material.options.correction != "none":
                over = ", corrected over the groups of a figure (Holm 1979); intervals are not corrected"
            explanation += f" Filled dots: differences from {material.baseline_method.name} that hold{over}."
        blocks += [Paragraph(explanation, quiet=True), Legend(material.marks)]
        choices = tuple(
            (of_metric.metric, tuple(_metric_blocks(material, place, of_metric, breakdowns, scored)))
            for place, of_metric in enumerate(scores)
        )
        blocks += [Switch("Metric", "breakdown", choices), Bullets(more, notes=True)]
    blocks += pair_blocks(material, scores[0])
    if not blocks:
        return None
    files = {_FILE: _csv(material, scores, breakdowns, scored)} if breakdowns else {}
    return Section("breakdowns", "Breakdowns", tuple(blocks), files)


def _metric_blocks(
    material: Material,
    metric: int,
    scores: ImageScores,
    breakdowns: Sequence[Breakdown],
    scored: Sequence[Sequence[GroupScores]],
) -> list[Block]:
    notes = []
    if scores.of_corpus:
        notes.append(
            f"{scores.metric} of a group is the mean of its images' own, which is not that of a corpus in the table of "
            "scores."
        )
    if scores.left_out:
        notes.append(f"Without a score of every image that compares: {', '.join(scores.left_out)}.")
    if len(scores.of_method) > _MOST_DRAWN:
        notes.append(f"Drawn are the first {_MOST_DRAWN} methods; the table has all.")
    blocks: list[Block] = [Bullets(tuple(notes), notes=True)] if notes else []
    for place, (breakdown, of_breakdown) in enumerate(zip(breakdowns, scored, strict=True)):
        slug = f"breakdown-{metric}-{slug_of(scores.metric)}-{place}-{slug_of(breakdown.title)}"
        one = of_breakdown[metric]
        blocks += [
            Heading(breakdown.title),
            Figures(_figures(material, slug, breakdown, one), "large"),
            Folded(
                f"{scores.metric} by {breakdown.title.lower()}: numbers",
                (Rows(_table(material, breakdown, one)), Bullets(breakdown.notes, notes=True)),
            ),
        ]
    return blocks


def _figures(material: Material, slug: str, breakdown: Breakdown, scored: GroupScores) -> tuple[Figure, ...]:
    """The numbers of every group, and beside them the differences from the baseline."""
    values, differences = [], []
    drawn = [method for method, runs in enumerate(scored.columns[0].runs) if runs is not None][:_MOST_DRAWN]
    for place, (group, column) in enumerate(zip(breakdown.groups, scored.columns, strict=True)):
        detail = f"{len(group.images):,} images"
        estimates = [(method, found) for method in drawn if (found := column.estimates[method]) is not None]
        values.append(
            (
                group.label,
                detail,
                [Point(method, found.value, found.low, found.high) for method, found in estimates],
            )
        )
        apart = [(method, d) for method in drawn if (d := column.differences[method]) is not None]
        differences.append(
            (
                group.label,
                detail,
                [Point(method, d.value, d.low, d.high, scored.holds(place, method)) for method, d in apart],
            )
        )
    metric, marks = scored.columns[0].name, material.marks
    figures = [draw_intervals(slug, metric, values, marks, drawn)]
    if any(points for _, _, points in differences):
        baseline = marks[material.baseline].label
        figures.append(
            draw_intervals(
                f"{slug}-difference", f"{metric} less that of {baseline}", differences, marks, drawn, zero=True
            )
        )
    return tuple(figures)


def _table(material: Material, breakdown: Breakdown, scored: GroupScores) -> Table:
    shown = [place for place, runs in enumerate(scored.columns[0].runs) if runs is not None]
    rows = []
    for place, (group, column) in enumerate(zip(breakdown.groups, scored.columns, strict=True)):
        cells = [Cell(group.label), Cell(number(len(group.images), 0), sort=float(len(group.images)))]
        for method in shown:
            found, apart = column.estimates[method], column.differences[method]
            assert found is not None
            lines = [_interval(found.low, found.high)]
            if apart is not None:
                lines += [f"{number(apart.value, sign=True)} {_interval(apart.low, apart.high, sign=True)}"]
                lines += [probability(scored.corrected[place][method])]
            cells.append(
                Cell(number(found.value), "\n".join(filter(None, lines)), scored.holds(place, method), found.value)
            )
        rows.append(tuple(cells))
    notes = (
        "Below each number its interval, then the difference from the baseline with its interval and p-value"
        + ("" if material.options.correction == "none" else " (Holm over the groups)")
        + ". Bold: the difference holds.",
    )
    columns = (breakdown.title, "Images", *(material.marks[place].label for place in shown))
    return Table(breakdown.title, columns, tuple(rows), notes if len(shown) > 1 else (), run=False)


def _interval(low: float | None, high: float | None, sign: bool = False) -> str:
    return "" if low is None or high is None else f"[{number(low, sign=sign)}, {number(high, sign=sign)}]"


def _csv(
    material: Material,
    scores: Sequence[ImageScores],
    breakdowns: Sequence[Breakdown],
    scored: Sequence[Sequence[GroupScores]],
) -> str:
    """Every number with every digit, one a line."""
    rows: list[Sequence[object]] = []
    for breakdown, of_breakdown in zip(breakdowns, scored, strict=True):
        for each, one in zip(scores, of_breakdown, strict=True):
            for group, column, corrected in zip(breakdown.groups, one.columns, one.corrected, strict=True):
                first = (breakdown.title, group.label, len(group.images), each.metric, each.signature)
                for method, found, apart, p in zip(
                    material.methods, column.estimates, column.differences, corrected.values(), strict=True
                ):
                    if found is not None:
                        own = (method.name, found.seeds, found.value, found.low, found.high)
                        rows.append([*first, *own, *_of_difference(apart), p])
    return csv_of(_HEADER, rows)


def _of_difference(found: Difference | None) -> tuple[float | None, ...]:
    return (None,) * 4 if found is None else (found.value, found.low, found.high, found.p)
