"""What tells a user's mistake from a bug."""

import sysconfig
import traceback
from importlib.util import find_spec
from pathlib import Path


class UserError(ValueError):
    """A mistake the user can mend: the command line shows its message as one line, without a traceback."""


def place_in_own_code(error: BaseException | None) -> str:
    """Where in the user's own code an error was raised, as ``my_rewards.py, line 3``; empty if it was not there."""
    if error is None:
        return ""
    libraries = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    for package in ("rlcap", "rewards"):
        found = find_spec(package)
        libraries.update(map(Path, (found.submodule_search_locations or []) if found else []))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and not any(file.is_relative_to(library) for library in libraries):
            return f"{file}, line {frame.lineno}"
    return ""
