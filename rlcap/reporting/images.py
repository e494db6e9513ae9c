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
        complete: the names of those that captioned them and no others.
        remarks: which runs and images were left out, and why, one line each.
    """

    image_ids: tuple[str, ...]
    compared: frozenset[str]
    complete: frozenset[str]
    remarks: tuple[str, ...]


def shared_images(runs: Sequence[Run], baseline: Run) -> SharedImages:
    """The images on which the runs are compared: those of the baseline that every run captioned.

    Where the references of an image differ it is not the same image. Runs without captions of the split are passed
    over; the first run with captions stands in for a baseline without.
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
                f"{run.name} is not compared: of the {len(own):,} images of {first.name} it captioned {len(both):,}"
                + (f", and {why}." if why else ".")
            )
            continue
        if len(same) < len(own) or len(theirs) > len(own):
            detail = f" ({len(differing):,} more have other references)" if differing else ""
            remarks.append(
                f"{run.name} captioned {len(theirs):,} images, of which {len(same):,} are those of {first.name}"
                f"{detail}."
            )
        compared.append(run)
        common &= same
    if any(len(run.evaluation.predictions) != len(common) for run in compared):
        remarks.append(f"Scores are compared on the {len(common):,} images that all compared runs captioned.")
    return SharedImages(
        tuple(sorted(common)),
        frozenset(run.name for run in compared),
        frozenset(run.name for run in compared if len(run.evaluation.predictions) == len(common)),
        tuple(remarks),
    )
