"""Images on which the training reward rose and the other metrics fell: where to look for what a reward got wrong."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from rlcap.reporting.images import SharedImages
from rlcap.reporting.material import Material
from rlcap.reporting.names import direction
from rlcap.reporting.page.blocks import Block, Folded, Heading, Paragraph, Rows
from rlcap.reporting.reading.files import as_mapping, as_number
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.tables import Cell, Table, number

_MOST_IMAGES, _MOST_METHODS = 10, 3


def proxies(run: Run, metrics: Sequence[str]) -> tuple[str, ...]:
    """The metrics of an evaluation that stand for terms of the run's training reward.

    A metric that the configuration names stands for a term of the same class and arguments; one of those that are
    always measured for a term of its name or of its class's name, such as CIDEr-D for ``rewards.cider.CiderD``.
    """
    terms = {}
    for term, settings in as_mapping(run.config.get("rewards")).items():
        weight = as_number(as_mapping(settings).get("weight"))
        if weight is None or weight > 0:
            terms[str(term)] = _unwrapped(as_mapping(as_mapping(settings).get("reward")))
    configured = as_mapping(as_mapping(run.config.get("evaluation")).get("metrics"))
    found = []
    for metric in metrics:
        if metric in configured:
            same = any(
                reward and _built(reward) == _built(_unwrapped(as_mapping(configured[metric])))
                for reward in terms.values()
            )
        else:
            score = run.evaluation.scores.get(metric)
            names = {_plain(metric), _plain(score.signature.partition("|")[0]) if score else ""} - {""}
            classes = {_plain(str(reward.get("class_path", "")).rpartition(".")[2]) for reward in terms.values()}
            same = bool(names & ({_plain(term) for term in terms} | classes))
        if same:
            found.append(metric)
    return tuple(found)


def _unwrapped(reward: Mapping[str, object]) -> Mapping[str, object]:
    """The reward within those that hold one, such as ``RunningStandardized``."""
    inner = as_mapping(as_mapping(reward.get("init_args")).get("reward"))
    return _unwrapped(inner) if inner else reward


def _built(reward: Mapping[str, object]) -> tuple[str, Mapping[str, object]]:
    return str(reward.get("class_path")), as_mapping(reward.get("init_args"))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@dataclass(frozen=True)
class Changes:
    """How each image's scores changed from the baseline's run to another, in standard deviations of the baseline's.

    Attributes:
        place: of the method.
        run: the run that stands for it.
        proxy: the metrics that stand for the training reward.
        others: the other metrics, of which more is better after ``signs``.
        reward: mean change of the proxies, of each image.
        rest: mean change for the better of the others.
        values: raw changes by metric.
    """

    place: int
    run: Run
    proxy: tuple[str, ...]
    others: tuple[str, ...]
    reward: Float[np.ndarray, " images"]
    rest: Float[np.ndarray, " images"]
    values: Mapping[str, Float[np.ndarray, " images"]]

    @property
    def fallen(self) -> Bool[np.ndarray, " images"]:
        """The images on which the training reward rose and the others fell."""
        return np.asarray((self.reward > 0) & (self.rest < 0))


def changes(place: int, before: Run, after: Run, images: SharedImages) -> Changes | None:
    """The changes of a method's run; None where no metric stands for its reward, or none is left beside it."""
    complete = {before.name, after.name} <= images.complete
    values, standard = {}, {}
    for metric, score in after.evaluation.scores.items():
        was = before.evaluation.scores.get(metric)
        if was is None or was.signature != score.signature or not direction(metric, score.signature):
            continue
        if not complete and "df:corpus" in score.signature:
            continue
        pairs = [
            (before.evaluation.predictions[i].scores.get(metric), after.evaluation.predictions[i].scores.get(metric))
            for i in images.image_ids
        ]
        if not pairs or any(one is None or other is None for one, other in pairs):
            continue
        old, new = np.array(pairs, np.float64).T
        deviation = float(old.std())
        if deviation > 0:
            values[metric] = new - old
            standard[metric] = direction(metric, score.signature) * (new - old) / deviation
    proxy = proxies(after, list(standard))
    others = tuple(metric for metric in standard if metric not in proxy)
    if not proxy or not others:
        return None
    reward, rest = (np.mean([standard[metric] for metric in group], axis=0) for group in (proxy, others))
    return Changes(place, after, proxy, others, reward, rest, values)


def fallen_blocks(material: Material) -> tuple[Block, ...]:
    """How many images of each method are such, and the worst of them; empty without captions of a baseline."""
    title = Heading("Images where the training reward rose and the others fell")
    shown = dict(material.shown)
    if material.baseline not in shown or len(shown) < 2:
        return ()
    before = shown.pop(material.baseline)
    runs = {place: run for place, run in shown.items() if as_mapping(run.config.get("rewards"))}
    found = [changes(place, before, run, material.images) for place, run in runs.items()]
    compared = [one for one in found if one is not None]
    without = [material.methods[place].name for place, one in zip(runs, found, strict=True) if one is None]
    missing = (
        f"Nothing is said of {', '.join(without)}: the training reward is none of the metrics by which both their "
        f"captions and those of {before.name} were scored image by image, or it is the only one."
    )
    if not compared:
        return (title, Paragraph(missing, quiet=True)) if without else ()
    compared.sort(key=lambda one: -one.fallen.mean())
    blocks: list[Block] = [title, Rows(_counts(material, compared, before, [missing] if without else []))]
    worst = [one for one in compared if one.fallen.any()][:_MOST_METHODS]
    blocks += [
        Folded(
            f"{material.methods[one.place].name}: the images that lost most", (Rows(_images(material, one, before)),)
        )
        for one in worst
    ]
    return tuple(blocks)


def _counts(material: Material, compared: Sequence[Changes], before: Run, more: Sequence[str]) -> Table:
    rows = []
    for one in compared:
        fallen, rose = int(one.fallen.sum()), int((one.reward > 0).sum())
        share = float(one.fallen.mean())
        rows.append(
            (
                Cell(material.methods[one.place].name),
                Cell(", ".join(one.proxy)),
                Cell(number(rose, 0)),
                Cell(number(fallen, 0), f"{share:.1%} of {len(one.reward):,} images", sort=share),
            )
        )
    notes = (
        f"Against {before.name}, image by image; of each method its first run. Changes are divided by the standard "
        f"deviation of {before.name}'s scores over images; of several metrics the mean is taken.",
        "A metric stands for the training reward by its name or by what it is built of; it may be scored in another "
        "way than in training (document frequencies, end of caption).",
        *more,
    )
    return Table(
        "Where the reward rose and the others fell",
        ("Method", "Stands for the reward", "Images where it rose", "of them the others fell"),
        tuple(rows),
        notes,
    )


def _images(material: Material, one: Changes, before: Run) -> Table:
    candidates = np.flatnonzero(one.fallen)
    worst = candidates[np.argsort(one.rest[candidates], kind="stable")][:_MOST_IMAGES]
    rows = []
    for at in worst:
        image_id = material.images.image_ids[at]
        captions = [run.evaluation.predictions[image_id].caption for run in (before, one.run)]
        cells = [Cell(number(float(one.values[metric][at]), sign=True)) for metric in (*one.proxy, *one.others)]
        mean = Cell(number(float(one.rest[at]), 2, sign=True))
        rows.append((Cell(image_id), *(Cell(caption or "(empty)") for caption in captions), mean, *cells))
    names = [material.baseline_method.name, material.methods[one.place].name]
    columns = ("Image", *names, "Others, mean change", *(f"{metric} (reward)" for metric in one.proxy), *one.others)
    return Table("Images", columns, tuple(rows), run=False)
