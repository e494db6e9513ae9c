"""Methods by metrics: the main table, what the captions are like, and who is better than whom."""

from collections.abc import Sequence
from itertools import count

from rlcap.reporting.columns import Column
from rlcap.reporting.drawing.canvas import slug_of
from rlcap.reporting.drawing.forest import draw_forest
from rlcap.reporting.drawing.svg import Figure
from rlcap.reporting.material import Material
from rlcap.reporting.names import MEANINGS, STATISTICS
from rlcap.reporting.page.blocks import Block, Figures, Folded, Heading, Rows
from rlcap.reporting.page.csv_text import csv_of
from rlcap.reporting.page.latex import latex_table
from rlcap.reporting.sections.section import Section
from rlcap.reporting.statistics.correction import holm
from rlcap.reporting.tables import Cell, Table, number, probability

_UP, _DOWN = "▲", "▼"
_DIGITS = {
    "vocabulary": 0,
    "samples_vocabulary": 0,
    "length": 2,
    "length_deviation": 2,
    "distinct_1": 4,
    "distinct_2": 4,
}
_CORRECTED = {
    "column": "Holm's correction for the comparisons of a column",
    "table": "Holm's correction for all comparisons of the tables",
    "none": "no correction for many comparisons",
}


def section(material: Material) -> Section | None:
    """The tables and their files; None where no run was scored."""
    columns, alone = material.columns, uncompared_table(material)
    if not columns.all and alone is None:
        return None
    blocks: list[Block] = []
    files = {"tables/scores.csv": scores_csv(material), "tables/runs.csv": runs_csv(material)}
    if columns.scores:
        table = score_table(material)
        blocks.append(Rows(table))
        files["tables/scores.tex"] = latex_table(table)
        figures = _forests(material)
        if figures:
            baseline = material.baseline_method.name
            title = f"Every metric: difference from {baseline}, {material.options.share} interval"
            blocks += [Heading(title, material.marks), Figures(figures)]
    statistics = statistics_table(material)
    if statistics is not None:
        blocks += [Heading("What the captions are like"), Rows(statistics)]
    pairs = pair_table(material)
    if pairs is not None:
        blocks.append(Folded(pairs.title, (Rows(pairs),)))
    if alone is not None:
        blocks.append(Folded(f"{alone.title} ({len(alone.rows)} runs)", (Rows(alone),), opened=not columns.scores))
    return Section("scores", "Scores", tuple(blocks), files)


def score_table(material: Material) -> Table:
    """Methods by metrics: mean, interval, difference from the baseline and whether it holds."""
    columns = material.columns.scores
    places = count(1)
    heads = [f"{column.name} [{next(places)}]" for column in columns]
    rows = [
        (Cell(method.name), _seeds(material, place), *(_cell(material, column, place) for column in columns))
        for place, method in enumerate(material.methods)
    ]
    signatures = [f"[{place}] {column.signature}" for place, column in enumerate(columns, start=1)]
    return Table("Scores", ("Method", "Seeds", *heads), tuple(rows), (*signatures, *_notes(material)))


def uncompared_table(material: Material) -> Table | None:
    """The scores of runs that are compared with none, each of its own images; None where there are no such runs."""
    runs = [run for run in material.runs if run.name not in material.images.compared and run.evaluation.scores]
    keys = list(dict.fromkeys((name, score.signature) for run in runs for name, score in run.evaluation.scores.items()))
    if not runs:
        return None
    rows = []
    for run in runs:
        own = {(name, score.signature): score.value for name, score in run.evaluation.scores.items()}
        cells = (Cell(number(own.get(key)), sort=own.get(key)) for key in keys)
        rows.append((Cell(run.name), Cell(number(run.evaluation.images, 0)), *cells))
    heads = (f"{name} [{place}]" for place, (name, _) in enumerate(keys, start=1))
    signatures = [f"[{place}] {signature or 'signature unknown'}" for place, (_, signature) in enumerate(keys, start=1)]
    return Table("Not compared", ("Run", "Images", *heads), tuple(rows), (*signatures, "Each run of its own images."))


def statistics_table(material: Material) -> Table | None:
    """What the captions of each method are like, apart from how good they are."""
    columns = list(material.columns.statistics)
    if not columns:
        return None
    known = list(STATISTICS)
    columns.sort(key=lambda column: known.index(column.name) if column.name in STATISTICS else len(known))
    rows = [
        (Cell(method.name), *(_cell(material, column, place) for column in columns))
        for place, method in enumerate(material.methods)
    ]
    heads = (STATISTICS.get(column.name, column.name) for column in columns)
    note = (
        "Means over seeds; below, intervals over seeds alone, since a sample of the images has fewer different words."
    )
    present = {column.name for column in columns}
    meanings = tuple(meaning for name, meaning in MEANINGS.items() if name in present)
    return Table("What the captions are like", ("Method", *heads), tuple(rows), (note, *meanings))


def pair_table(material: Material) -> Table | None:
    """Every method against every other on the main metric; None for fewer than three methods."""
    column, methods = material.main, material.methods
    if column is None or len(methods) < 3:
        return None
    pairs = [(one, other) for one in range(len(methods)) for other in range(one)]
    found = {pair: column.between(*pair) for pair in pairs}
    corrected = dict(zip(pairs, holm([None if f is None else f.p for f in found.values()]), strict=True))
    rows = []
    for one, method in enumerate(methods):
        cells = [Cell(method.name)]
        for other in range(len(methods)):
            pair = (max(one, other), min(one, other))
            difference = found.get(pair)
            if one == other or difference is None:
                cells.append(Cell())
                continue
            p, sign = corrected[pair], 1 if one > other else -1
            value = sign * difference.value
            holds = p is not None and p < material.options.alpha
            arrow = f" {_UP if value > 0 else _DOWN}" if holds else ""
            cells.append(Cell(number(value, sign=True) + arrow, probability(p), sort=value))
        rows.append(tuple(cells))
    return Table(
        f"Every method against every other on {column.name}",
        ("Row less column", *(method.name for method in methods)),
        tuple(rows),
        (
            f"{_UP} and {_DOWN}: holds, by Holm's correction for all {len(pairs)} pairs, which are more than the table "
            "of scores is corrected for; below, the corrected p-value.",
        ),
    )


def _seeds(material: Material, place: int) -> Cell:
    method = material.methods[place]
    return Cell(str(len(method.runs)), ", ".join(method.seeds) if len(method.seeds) > 1 else "", sort=len(method.runs))


def _cell(material: Material, column: Column, place: int) -> Cell:
    found = column.estimates[place]
    if found is None:
        return Cell()
    details = []
    if found.low is not None:
        low, high = _number(column, found.low), _number(column, found.high)
        details.append(f"{low} to {high}" if low != high else "")
    difference = column.differences[place]
    if difference is not None:
        arrow = f" {_UP if difference.value > 0 else _DOWN}" if material.columns.holds(column, place) else ""
        details.append(f"{_number(column, difference.value, sign=True)}{arrow}")
    if found.seeds < len(material.methods[place].runs):
        details.append(f"{found.seeds} of {len(material.methods[place].runs)} seeds")
    text = _number(column, found.value)
    return Cell(text, "\n".join(filter(None, details)), strong=column.best == place, sort=found.value)


def _number(column: Column, value: float | None, sign: bool = False) -> str:
    if value is not None and column.name.endswith("_rate"):
        return f"{number(100 * value, 1, sign)} %"
    return number(value, _DIGITS.get(column.name, 3), sign)


def _notes(material: Material) -> tuple[str, ...]:
    """How to read the table."""
    options, baseline = material.options, material.baseline_method.name
    several = any(len(method.runs) > 1 for method in material.methods)
    what = "Interquartile means over images" if options.aggregate == "interquartile_mean" else "Means over images"
    images = f"{len(material.images.image_ids):,} images"
    crossed = " and over seeds (Student's t)" if several else ""
    notes = [
        f"{what}{', then over seeds' if several else ''}; below, the {options.share} interval, by bootstrap "
        f"over {images} ({options.resamples:,} resamples, seed {options.seed}){crossed}. Of one seed it holds for that "
        "run alone.",
    ]
    if any(not column.images for column in material.columns.scores):
        notes.append("A score that is no mean over images, apart from BLEU, has an interval over seeds alone.")
    if options.aggregate == "interquartile_mean":
        notes.append("BLEU, and scores that are no mean over images, are of all images.")
    if len(material.methods) > 1:
        notes.append(
            f"Below that, the difference from {baseline} on the same images; {_UP} and {_DOWN}: it holds "
            f"(p < {options.alpha:.2g}, {_CORRECTED[options.correction]})."
        )
        notes.append("Bold: better than every other method of the column, by Holm's correction; none where none is.")
    return (*notes, *material.grouping)


def _forests(material: Material) -> tuple[Figure, ...]:
    """The differences on all metrics but the main one."""
    columns = [column for column in material.columns.scores if column is not material.main]
    if len(material.methods) < 3:
        return ()
    drawn = []
    for place, column in enumerate(columns, start=1):
        holds = [material.columns.holds(column, method) for method in range(len(material.methods))]
        slug = f"difference-{place:02d}-{slug_of(column.name)}"
        figure = draw_forest(slug, column.name, material.marks, column.differences, holds)
        if figure is not None:
            drawn.append(figure)
    return tuple(drawn)


def scores_csv(material: Material) -> str:
    """Every number of the tables with every digit, one a line; what is missing is empty."""
    rows: list[Sequence[object]] = []
    for column in material.columns.all:
        for place, method in enumerate(material.methods):
            found, difference = column.estimates[place], column.differences[place]
            if found is None:
                continue
            row: list[object] = [method.name, column.name, column.signature, found.seeds, column.images]
            row += [found.value, found.low, found.high, found.error]
            if difference is None:
                row += [None] * 5
            else:
                p = material.columns.p(column, place)
                row += [difference.value, difference.low, difference.high, difference.p, p]
            rows.append(row)
    heads = ["method", "metric", "signature", "seeds", "images", "value", "low", "high", "error"]
    return csv_of([*heads, "difference", "difference_low", "difference_high", "p", "p_corrected"], rows)


def runs_csv(material: Material) -> str:
    """The number of every run, as its folder says it."""
    rows: list[Sequence[object]] = []
    for method in material.methods:
        for run in method.runs:
            seed = run.setting("training", "seed")
            for metric, score in run.evaluation.scores.items():
                rows.append([run.name, method.name, seed, metric, score.signature, score.value])
            for name, value in run.evaluation.statistics.items():
                rows.append([run.name, method.name, seed, name, "", value])
    return csv_of(["run", "method", "seed", "metric", "signature", "value"], rows)
