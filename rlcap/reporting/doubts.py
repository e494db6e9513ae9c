"""What makes one doubt a comparison before it is made."""

from collections.abc import Sequence

import numpy as np

from rlcap.reporting.comparable import is_mean
from rlcap.reporting.methods import Method
from rlcap.reporting.names import MEANS
from rlcap.reporting.options import MAIN_METRIC
from rlcap.reporting.reading.files import ReportError
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.tables import number


def check_metric(runs: Sequence[Run], metric: str) -> None:
    """Make sure that a run has a score of the name that was asked for, if any has a score."""
    names = dict.fromkeys(name for run in runs for name in run.evaluation.scores)
    if names and metric not in names and metric != MAIN_METRIC:  # which reward models do not have
        raise ReportError(f"no run has a score called {metric!r}: --metric is one of {', '.join(names)}")


def unmeasured(runs: Sequence[Run], split: str) -> tuple[str, ...]:
    """That no run has an evaluation of the split, and which splits there are; nothing where one has."""
    if any(run.evaluation.scores or run.evaluation.predictions for run in runs):
        return ()
    others = sorted({place.name for run in runs for place in (run.folder / "evaluation").glob("*") if place.is_dir()})
    there = f"there are: {', '.join(others)} (--split)" if others else "there is none of another split"
    return (f"No run has an evaluation of the {split} split; {there}.",)


def doubts_of(methods: Sequence[Method], baseline: Method, metric: str) -> tuple[str, ...]:
    """What makes one doubt numbers of the same name: other signatures within a method, other ways to decode."""
    doubts = []
    ways = {run.evaluation.decoding for run in baseline.runs}
    for method in methods:
        for run in method.runs:
            score = run.evaluation.scores.get(metric)
            of_images = [p.scores[metric] for p in run.evaluation.predictions.values() if metric in p.scores]
            mean = float(np.mean(of_images)) if of_images else None
            if score and metric in MEANS and mean is not None and not is_mean(score.value, mean):
                doubts.append(
                    f"{run.name}: {metric} is {number(score.value)} in scores.json, but the captions' mean is "
                    f"{number(mean)}."
                )
        signatures = {run.evaluation.scores[metric].signature for run in method.runs if metric in run.evaluation.scores}
        if len(signatures) > 1:
            doubts.append(
                f"{method.name}: its runs were scored differently by {metric}: {', '.join(sorted(signatures))}."
            )
        if all(run.evaluation.step == 0 for run in method.runs):
            doubts.append(
                f"{method.name}: the weights tested are those of step 0, where it started: no later step was better on "
                "the held-out split."
            )
        decodings = {run.evaluation.decoding for run in method.runs if run.evaluation.predictions}
        if decodings and ways and decodings != ways:
            told = (", ".join(sorted(way or "unknown" for way in of)) for of in (decodings, ways))
            doubts.append(f"{method.name} and {baseline.name} were decoded differently: {' and '.join(told)}.")
    return tuple(doubts)
