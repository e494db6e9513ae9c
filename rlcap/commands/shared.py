"""What the commands share: a parser that says what is wrong in one line, and how scores are printed."""

import logging
import sys
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

logger = logging.getLogger("rlcap")
INTERRUPTED = 130  # what shells give for a command stopped by Ctrl-C


class Parser(ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message on one line and exit with status 2."""
        if not self.exit_on_error:  # of a part of the configuration: the parser of the whole says which
            raise ArgumentError(None, message) from ex
        if "disabled for Term" in message:
            message = "a term of rewards is written NAME: {reward: {class_path: ...}, weight: 1.0}"
        if "does not correspond to a subclass of Reward" in message:
            message += (
                "; a function is named by {class_path: rewards.FunctionReward, init_args: {function: my_rewards.f}}"
            )
        if "Expected a dot import path string" in message:
            message += "; short names are for rlcap score: give the class path, such as rewards.meteor.Meteor"
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


def print_scores(scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Print each metric's value, its interval where there is one, and its signature."""
    width = max(map(len, scores), default=0)
    for name, own in scores.items():
        interval = "  [{:.4f}, {:.4f}]".format(*own["interval"]) if own.get("interval") else ""
        sys.stdout.write(f"{name:<{width}}  {own['value']:8.4f}{interval}  {own['signature']}\n")


def split_off(option: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of an option, and of its parts, that must be known before the others are parsed; and the others."""
    values: list[str] = []
    others: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name == option or name.startswith(f"{option}."):
            values += [value] if equals else list(islice(rest, 1))
        else:
            others.append(argument)
    return values, others
