"""Where the configurations of methods differ."""

import reprlib
from collections.abc import Sequence

from rlcap.reporting.methods import Method
from rlcap.reporting.reading.files import as_mapping
from rlcap.reporting.tables import MISSING, Cell, Table

_MOST_SETTINGS = 80


def settings_table(methods: Sequence[Method]) -> Table | None:
    """The settings in which the methods' configurations differ, by their first runs, one a row."""
    flat = [_flatten(method.runs[0].config) for method in methods]
    keys = [
        key for key in dict.fromkeys(key for of_run in flat for key in of_run) if len({f.get(key) for f in flat}) > 1
    ]
    if not keys or not all(flat):
        return None
    rows = tuple((Cell(key), *(Cell(of_run.get(key, MISSING)) for of_run in flat)) for key in keys[:_MOST_SETTINGS])
    more = (f"{len(keys) - _MOST_SETTINGS} further settings differ.",) if len(keys) > _MOST_SETTINGS else ()
    return Table("Settings that differ", ("Setting", *(method.name for method in methods)), rows, more, run=False)


def _flatten(config: object, most: int = 2000) -> dict[str, str]:
    flat: dict[str, str] = {}
    open_branches: list[tuple[str, object]] = [("", config)]
    while open_branches and len(flat) < most:
        path, value = open_branches.pop(0)
        branches = as_mapping(value)
        if branches:
            open_branches = [(f"{path}.{key}" if path else key, item) for key, item in branches.items()] + open_branches
        elif path:
            flat[path] = (
                reprlib.repr(value) if isinstance(value, list) else str(value)[:300]
            )  # aliases can nest without end
    return flat
