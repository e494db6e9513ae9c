"""Decode a split, score it, and write what came out."""

from rlcap.evaluation.evaluate import Evaluation, EvaluationOptions, evaluate

__all__ = ["Evaluation", "EvaluationOptions", "evaluate"]
