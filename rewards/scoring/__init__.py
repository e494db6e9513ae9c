"""Captions in files scored by any rewards, with intervals, and held against human judgements."""

from rewards.scoring.result import Result, Scored, score

__all__ = ["Result", "Scored", "score"]
