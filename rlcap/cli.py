"""The command line: which command it is, and how a mistake ends it. Only this room parses."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rewards.base import RewardError
from rlcap import __version__
from rlcap.commands.annotate import annotate
from rlcap.commands.caption import caption
from rlcap.commands.card import card
from rlcap.commands.evaluate import evaluate
from rlcap.commands.explain import explain
from rlcap.commands.fetch import fetch
from rlcap.commands.merge import merge
from rlcap.commands.quickstart import quickstart
from rlcap.commands.report import report
from rlcap.commands.score import score
from rlcap.commands.shared import INTERRUPTED, logger
from rlcap.commands.train import train
from rlcap.errors import UserError, place_in_own_code

COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "quickstart": quickstart,
    "train": train,
    "evaluate": evaluate,
    "caption": caption,
    "merge": merge,
    "score": score,
    "fetch": fetch,
    "explain": explain,
    "report": report,
    "card": card,
    "annotate": annotate,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on standard error and exit status 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logger.setLevel(logging.INFO)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # for the user's own rewards; last, so that no library is shadowed
    if not given or given[0] in ("-h", "--help"):
        sys.stdout.write(_usage())
        return
    if given[0] == "--version":
        sys.stdout.write(f"rlcap {__version__}\n")
        return
    command = COMMANDS.get(given[0])
    if command is None:
        sys.stderr.write(f"rlcap: error: no command {given[0]!r}; there are {', '.join(COMMANDS)}\n")
        sys.exit(2)
    try:
        command(given[1:])
    except (UserError, RewardError) as error:
        place = place_in_own_code(error.__cause__)  # the line of the user's own reward
        sys.stderr.write(
            f"rlcap {given[0]}: error: {' '.join(str(error).split())}{f' (in {place})' if place else ''}\n"
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write(f"rlcap {given[0]}: interrupted\n")
        sys.exit(INTERRUPTED)


def _usage() -> str:
    lines = [f"  {name:<11} {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: rlcap COMMAND ... (rlcap COMMAND --help says more)", "", *lines, ""])


if __name__ == "__main__":
    main()
