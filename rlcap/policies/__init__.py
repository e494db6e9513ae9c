"""Captioners behind one contract: encode an image once, decode from it, score captions of it."""

from transformers.utils import logging

from rlcap.policies.base import Policy, load_policy

__all__ = ["Policy", "load_policy", "quiet"]


def quiet() -> None:
    """Keep transformers' own notices and progress bars, about weights and files, out of a command's output."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
