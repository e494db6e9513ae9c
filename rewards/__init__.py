"""Rewards for captions: captions in, one number per caption out. Usable alone, without rlcap."""

from rewards.base import Candidates, Reward, RewardError, Signature

__all__ = ["Candidates", "Reward", "RewardError", "Signature"]
