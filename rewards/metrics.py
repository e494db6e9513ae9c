"""Rewards as metrics: the standard ones, the user's own by their import paths, and what they make of captions."""

import importlib
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Reward, RewardError
from rewards.bleu import Bleu
from rewards.cider import CiderD
from rewards.composite import FunctionReward, Term, WeightedSum, own_errors
from rewards.rouge import RougeL


class Summary(TypedDict):
    """A metric over all captions: its value, and how it was made."""

    value: float
    signature: str


def standard_metrics() -> dict[str, Reward]:
    """CIDEr-D, BLEU-1 to -4 and ROUGE-L as the COCO caption evaluation computes them."""
    bleus: dict[str, Reward] = {f"BLEU-{order}": Bleu(order) for order in (1, 2, 3, 4)}
    return {"CIDEr-D": CiderD(document_frequencies="corpus", eos=False), **bleus, "ROUGE-L": RougeL()}


def rewards_named(names: Sequence[str]) -> dict[str, Reward]:
    """The rewards of these names: standard metrics, or import paths of a Reward class or a plain function.

    Raises:
        RewardError: if a name is neither.
    """
    standard = standard_metrics()
    return {name: standard[name] if name in standard else _imported(name) for name in names}


def measure(
    metrics: Mapping[str, Reward], candidates: Candidates
) -> tuple[dict[str, Float64[np.ndarray, " captions"]], dict[str, Summary]]:
    """Each metric's score of each caption, and its value and signature over all captions.

    Raises:
        RewardError: if a metric fails; the message names it.
    """
    each = dict(WeightedSum({name: Term(metric) for name, metric in metrics.items()}).score(candidates).terms)
    summary: dict[str, Summary] = {}
    for name, metric in metrics.items():
        with own_errors(name):
            summary[name] = {
                "value": float(metric.aggregate(candidates, each[name])),
                "signature": str(metric.signature_of(candidates)),
            }
    return each, summary


def _imported(path: str) -> Reward:
    known = f"give one of {', '.join(standard_metrics())}, or the import path of a Reward class or a function"
    module, _, attribute = path.rpartition(".")
    if not module:
        raise RewardError(f"no reward is called {path!r}: {known}")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise RewardError(f"cannot import the reward {path!r} ({error}): {known}") from error
    if isinstance(found, type) and issubclass(found, Reward):
        try:
            return found()
        except TypeError as error:
            raise RewardError(f"cannot make {path} without arguments ({error}): write a function instead") from error
    if callable(found) and not isinstance(found, type):
        return FunctionReward(found)
    raise RewardError(f"{path} is neither a Reward class nor a function: {known}")
