"""A table as CSV, for programs and spreadsheets: every number with every digit, every text nothing but text."""

import csv
import io
from collections.abc import Iterable, Sequence

from rlcap.markdown import clean

# Spreadsheets run what begins so, quoted or not; an apostrophe before it makes it text.
_FORMULA = ("=", "+", "-", "@")


def csv_of(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The rows below their heads; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_cell, heads))
    writer.writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    shown = clean(value)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown
