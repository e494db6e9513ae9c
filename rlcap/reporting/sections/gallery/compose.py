"""The gallery of a report: images where methods differ most and a random sample, with every method's caption."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from rlcap.reporting.material import Material
from rlcap.reporting.page.blocks import Paragraph
from rlcap.reporting.reading.files import Source
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.sections.gallery.cards import Cards, Example, Line
from rlcap.reporting.sections.gallery.choice import Choice, Grounds, Rule, choose, extremes
from rlcap.reporting.sections.gallery.pictures import embed
from rlcap.reporting.sections.gallery.words import caption_distance, marked_words
from rlcap.reporting.sections.section import Section

# At most so many images without a picture stand beside those that have one.
_UNPICTURED = 12


def section(material: Material) -> Section | None:
    """The gallery, and how its images were chosen; None where nothing was captioned or no image is asked for."""
    image_ids, shown = material.images.image_ids, material.shown
    if not image_ids or not shown or not material.options.images:
        return None
    scores = comparable_scores(material)
    # The row of the baseline; the first method that captioned stands in for one that did not.
    first = next((row for row, (place, _) in enumerate(shown) if place == material.baseline), 0)
    best = _best(material, first)
    better = -1 if material.main is not None and material.main.better < 0 else 1
    grounds = _grounds(shown, image_ids, better * scores, first)
    thumbnails = _thumbnails(shown, image_ids)
    pictured = [place for place, sources in enumerate(thumbnails) if sources]
    choices, rule = _choose(material, grounds, pictured)
    chosen = [image_ids[choice.image] for choice in choices]
    pictures = embed([thumbnails[choice.image] for choice in choices], material.options.megabytes)
    names = [material.marks[place].label for place, _ in shown]
    whole = len(pictured or image_ids) <= material.options.images
    disagreement = sorted(choices, key=lambda c: (-grounds.spread[c.image], -grounds.distance[c.image], c.image))
    examples = tuple(
        Example(
            image_id=image_id,
            picture=picture,
            reason=_reason(choice, names, whole),
            lines=_lines(material, image_id, scores[:, choice.image], first, best),
            references=shown[first][1].evaluation.predictions[image_id].references,
            disagreement=disagreement.index(choice),
        )
        for choice, image_id, picture in zip(choices, chosen, pictures.uris, strict=True)
    )
    marks = tuple((place, material.marks[place]) for place, _ in shown)
    cards = Cards(marks, shown[first][0], shown[best][0], better, examples)
    told = [rule, _marking(names, first, best), _seeds(material), pictures.note]
    return Section("gallery", "Gallery", (Paragraph(" ".join(filter(None, told)), quiet=True), cards))


def comparable_scores(material: Material) -> Float[np.ndarray, "methods images"]:
    """The main metric of each shown method's captions; NaN where it is unknown or carries another signature."""
    main, image_ids = material.main, material.images.image_ids
    scores = np.full((len(material.shown), len(image_ids)), np.nan)
    for row, (place, run) in enumerate(material.shown):
        if main is not None and main.runs[place] is not None:
            own = run.evaluation.predictions
            scores[row] = [own[image_id].scores.get(main.name, np.nan) for image_id in image_ids]
    return scores


def _grounds(
    shown: Sequence[tuple[int, Run]],
    image_ids: Sequence[str],
    scores: Float[np.ndarray, "methods images"],
    first: int,
) -> Grounds:
    known = np.isfinite(scores)
    counts = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, scores, 0).sum(axis=0) / counts
    spread = np.sqrt((np.where(known, scores - means, 0) ** 2).sum(axis=0) / counts)  # over methods
    spread[spread < 1e-9] = 0  # rounding is no disagreement
    distance = [caption_distance([run.evaluation.predictions[i].caption for _, run in shown]) for i in image_ids]
    return Grounds(scores - scores[first], spread, np.array(distance))


def _choose(material: Material, grounds: Grounds, pictured: Sequence[int]) -> tuple[list[Choice], str]:
    """The images, and in words how they were chosen."""
    count, places = len(material.images.image_ids), material.options.images
    rng = np.random.default_rng(material.options.seed)
    pool = pictured or range(count)
    choices = choose(grounds, pool, places, rng)
    whole = len(pool) <= places
    kept = f"{len(pool):,} {'image' if len(pool) == 1 else 'images'}"
    kept += f" with a thumbnail, of {count:,}" if pictured else ", none with a thumbnail"
    if all(choice.rule is Rule.SAMPLE for choice in choices) and whole:
        told = f"Shown are all {kept}." if count > 1 else f"Shown is {kept}."
    else:
        told = f"{'All' if whole else 'Of'} {kept}: {_counted(choices, material, whole)}."
    further = []
    if pictured:
        rest = sorted(set(range(count)) - set(pictured))
        further = extremes(grounds, rest, min(_UNPICTURED, places - len(choices)))
    if further:
        told += f" Of the others, without a picture: {_counted(further, material)}."
    return [*choices, *further], told


def _counted(choices: Sequence[Choice], material: Material, whole: bool = False) -> str:
    """How many images were chosen by each rule; where all are shown, none was drawn."""
    turns = " (methods in turn)" if len(material.shown) > 2 else ""
    metric = material.options.metric
    names = {
        Rule.GAIN: f"{{}} with the largest gains in {metric}{turns}",
        Rule.LOSS: f"{{}} with the largest losses{turns}",
        Rule.DISAGREEMENT: "{} on which methods disagree most",
        Rule.SAMPLE: "{} others" if whole else f"{{}} at random (seed {material.options.seed})",
    }
    counts = {rule: sum(choice.rule is rule for choice in choices) for rule in names}
    parts = [names[rule].format(f"{number:,}") for rule, number in counts.items() if number]
    return ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else "".join(parts)


def _reason(choice: Choice, names: Sequence[str], whole: bool) -> str:
    """Why an image is shown, and whose gain or loss it is; empty where all are shown and none was drawn."""
    if choice.rule is Rule.SAMPLE and whole:
        return ""
    if choice.method is None or len(names) == 2:
        return choice.rule.value
    return f"{choice.rule.value}: {names[choice.method]}"


def _best(material: Material, first: int) -> int:
    """The row of the method that the baseline's own captions are compared with: the best of the others."""
    rows = [row for row in range(len(material.shown)) if row != first]
    estimates = material.main.estimates if material.main is not None else ()
    better = material.main.better if material.main is not None else 1
    scored = {
        row: better * found.value
        for row in rows
        if estimates and (found := estimates[material.shown[row][0]]) is not None
    }
    return max(scored, key=lambda row: scored[row]) if scored else rows[-1] if rows else first


def _lines(
    material: Material, image_id: str, scores: Float[np.ndarray, " methods"], first: int, best: int
) -> tuple[Line, ...]:
    predictions = [run.evaluation.predictions[image_id] for _, run in material.shown]
    metric = material.options.metric
    lines = []
    for row, (prediction, (place, _)) in enumerate(zip(predictions, material.shown, strict=True)):
        other = predictions[best if row == first else first].caption
        gain = float(scores[row] - scores[first])
        lines.append(
            Line(
                method=place,
                words=marked_words(prediction.caption, other),
                score=prediction.scores.get(metric),
                gain=gain if row != first and np.isfinite(gain) else None,
                scores=tuple(prediction.scores.items()),
                samples=prediction.samples,
                comparable=bool(np.isfinite(scores[row])),
            )
        )
    return tuple(lines)


def _marking(names: Sequence[str], first: int, best: int) -> str:
    if len(names) < 2:
        return ""
    return (
        f"Gains are over {names[first]}. Marked words are not in its caption; in its own caption, they are not in that "
        f"of {names[best]}."
    )


def _seeds(material: Material) -> str:
    """Which run stands for methods of several."""
    several = any(len(method.runs) > 1 for method in material.methods)
    return "Of a method with several seeds, the captions are those of its first run." if several else ""


def _thumbnails(shown: Sequence[tuple[int, Run]], image_ids: Sequence[str]) -> list[list[Source]]:
    """Where the thumbnail of each image lies, in every run that kept one."""
    found: list[list[Source]] = [[] for _ in image_ids]
    for _, run in shown:
        evaluation = run.evaluation
        root = evaluation.folder.parent.parent
        try:
            kept = {path.name for path in (evaluation.folder / "images").iterdir()}
        except OSError:
            continue
        for sources, image_id in zip(found, image_ids, strict=True):
            path = evaluation.thumbnail(image_id)
            if path.name in kept:
                sources.append(Source(root, str(path.relative_to(root))))
    return found
