"""Rewards by name: the standard metrics, and any reward of the user's by its import path."""

import importlib
from collections.abc import Sequence

from rewards.base import Reward, RewardError
from rewards.bleu import Bleu
from rewards.cider import CiderD
from rewards.composite import FunctionReward
from rewards.rouge import RougeL


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


def _imported(path: str) -> Reward:
    known = f"give one of {', '.join(standard_metrics())}, or the import path of a Reward class or a function"
    module, _, attribute = path.rpartition(".")
    if not module:
        raise RewardError(f"no reward is called {path!r}: {known}")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise RewardError(f"cannot import the reward {path!r} ({error}): {known}") from error
    if isinstance(found, type) and issubclass(found, Reward):
        return found()
    if callable(found) and not isinstance(found, type):
        return FunctionReward(found)
    raise RewardError(f"{path} is neither a Reward class nor a function: {known}")
