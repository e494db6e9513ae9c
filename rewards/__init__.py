"""Rewards for captions: captions in, one number per caption out. Usable alone, without rlcap."""

from rewards.base import Candidates, Reward, RewardError, Signature
from rewards.bleu import Bleu
from rewards.cider import CiderD
from rewards.composite import FunctionReward, Scores, Term, WeightedSum
from rewards.rouge import RougeL

__all__ = [
    "Bleu",
    "Candidates",
    "CiderD",
    "FunctionReward",
    "Reward",
    "RewardError",
    "RougeL",
    "Scores",
    "Signature",
    "Term",
    "WeightedSum",
]
