"""On which images runs can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlcap.reporting.reading.runs import Run

# A run that captioned less than this share of the baseline's images is not compared: it would shrink all the others.
_LEAST = 0.5


@dataclass(frozen=True)
class SharedImages:
    """The images that all compared runs captioned, with the same references.

    Attributes:
        image_ids: sorted.
        compared: the names of the runs that captioned them.
        complete: the names of those that captioned them and, but for missing scores, no others.
        remarks: which runs and images were left out, and why, one line each.
    """

    image_ids: tuple[str, ...]
    compared: frozenset[str]
    complete: frozenset[str]
    remarks: tuple[str, ...]


def shared_images(runs: Sequence[Run], baseline: Run, metric: str) -> SharedImages:
    """The images on which the runs are compared: those of the baseline that every run captioned.

    Where the references of an image differ it is not the same image. Runs without captions of the split are passed
    over; the first run with captions stands in for a baseline without. Images of which a run lacks its score by the
    main metric are left out, where they are few.
    """
    captioning = [run for run in runs if run.evaluation.predictions]
    if not captioning:
        return SharedImages((), frozenset(), frozenset(), ())
    first = baseline if baseline.evaluation.predictions else captioning[0]
    own = first.evaluation.predictions
    remarks, common, compared = [], set(own), []
    for run in captioning:
        theirs = run.evaluation.predictions
        both = own.keys() & theirs.keys()
        differing = {i for i in both if own[i].references != theirs[i].references}
        same = both - differing
        if len(same) < _LEAST * len(own) or not same:
            why = f"{len(differing):,} have other references" if len(differing) > len(both) / 2 else ""
            remarks.append(
                f"{run.name} is not compared: of the {len(own):,} images of {first.name} it {_made(run)} {len(both):,}"
                + (f", and {why}." if why else ".")
            )
            continue
        if len(same) < len(own) or len(theirs) > len(own):
            detail = f" ({len(differing):,} more have other references)" if differing else ""
            remarks.append(
                f"{run.name} {_made(run)} {len(theirs):,} images, of which {len(same):,} are those of {first.name}"
                f"{detail}."
            )
        compared.append(run)
        common &= same
    if any(len(run.evaluation.predictions) != len(common) for run in compared):
        remarks.append(f"Scores are compared on the {len(common):,} images that all compared runs captioned.")
    complete = frozenset(run.name for run in compared if len(run.evaluation.predictions) == len(common))
    lacking: set[str] = set()
    for run in compared:
        of_run = {image_id for image_id in common if metric not in run.evaluation.predictions[image_id].scores}
        if metric in run.evaluation.scores and 0 < len(of_run) < _LEAST * len(common):
            remarks.append(f"{run.name} lacks the {metric} of {len(of_run):,} images, which are left out of all runs.")
            lacking |= of_run
    return SharedImages(
        tuple(sorted(common - lacking)), frozenset(run.name for run in compared), complete, tuple(remarks)
    )


def _made(run: Run) -> str:
    return "judged captions of" if run.kind == "reward_model" else "captioned"
