"""Rewards for captions: captions in, one number per caption out. Usable alone, without rlcap.

    import rewards

    rewards.score(captions, references, rewards=["CIDEr-D", "BLEU-4"])

What is named here is loaded when it is first used, so that this import is quick and needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rewards.background import InProcesses, InThreads
    from rewards.base import Candidates, Reward, RewardError, Signature
    from rewards.bleu import Bleu
    from rewards.cache import Cached
    from rewards.cider import CiderD
    from rewards.composite import Scores, Term, WeightedSum
    from rewards.function import FunctionReward
    from rewards.normalization import Clipped, RunningStandardized, Standardized
    from rewards.rouge import RougeL
    from rewards.scoring import Result, Scored, score

HOMES = {
    "background": ("InProcesses", "InThreads"),
    "base": ("Candidates", "Reward", "RewardError", "Signature"),
    "bleu": ("Bleu",),
    "cache": ("Cached",),
    "cider": ("CiderD",),
    "composite": ("Scores", "Term", "WeightedSum"),
    "function": ("FunctionReward",),
    "normalization": ("Clipped", "RunningStandardized", "Standardized"),
    "rouge": ("RougeL",),
    "scoring": ("Result", "Scored", "score"),
}
"""The module of each name."""

__all__ = [
    "Bleu",
    "Cached",
    "Candidates",
    "CiderD",
    "Clipped",
    "FunctionReward",
    "InProcesses",
    "InThreads",
    "Result",
    "Reward",
    "RewardError",
    "RougeL",
    "RunningStandardized",
    "Scored",
    "Scores",
    "Signature",
    "Standardized",
    "Term",
    "WeightedSum",
    "score",
]


def __getattr__(name: str) -> Any:
    for home, names in HOMES.items():
        if name in names:
            return getattr(import_module(f"rewards.{home}"), name)
    raise AttributeError(f"module 'rewards' has no attribute {name!r}")
