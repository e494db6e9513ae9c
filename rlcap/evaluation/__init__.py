"""Decode a split, score it, and write what came out."""

from rlcap.evaluation.evaluate import Evaluation, EvaluationOptions, predict, score

__all__ = ["Evaluation", "EvaluationOptions", "predict", "score"]
