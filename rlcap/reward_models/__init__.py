"""Models of how good a caption is, trained in the loop as policies are, and used as rewards."""

from rlcap.reward_models.base import RewardModel, load_reward_model
from rlcap.reward_models.reward import LearnedReward

__all__ = ["LearnedReward", "RewardModel", "load_reward_model"]
