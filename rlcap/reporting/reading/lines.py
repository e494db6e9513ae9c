"""The objects of JSON-lines files, of which any line may be damaged and the last half written."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from rlcap.reporting.reading.files import Source, SourceError

_BOM = b"\xef\xbb\xbf"


def read_objects(
    source: Source, notes: list[str], parse_int: Callable[[str], float] | None = None
) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file, one after another; at the end the notes name the lines that hold none.

    Args:
        source: the file.
        notes: what is wrong with it is added here.
        parse_int: what makes numbers of whole numbers; ``float`` takes those of any size.
    """
    scan = json.JSONDecoder(parse_int=parse_int).raw_decode
    damaged, first, held, half_written = 0, 0, False, 0
    try:
        with source.open() as file:
            for number, raw in enumerate(file, start=1):
                line = (raw.removeprefix(_BOM) if number == 1 else raw).strip()
                if not line:
                    continue
                try:
                    text = line.decode("utf-8")
                    row, end = scan(text)
                    whole = end == len(text) and isinstance(row, dict)
                except (ValueError, RecursionError):
                    whole = False
                if whole:
                    held = True
                    yield row
                elif not raw.endswith(b"\n"):
                    half_written = number
                else:
                    damaged, first = damaged + 1, first or number
    except SourceError as error:
        notes.append(f"{source.name} {error}")
        return
    except OSError as error:
        notes.append(f"{source.name} cannot be read to its end: {error.strerror}")
    if half_written:  # no newline follows it: the writer was stopped, or is writing
        notes.append(f"{source.name}: the last line ({half_written}) is half written and was left out")
    if damaged:
        what = f"line {first} holds" if damaged == 1 else f"{damaged} lines (the first is {first}) hold"
        notes.append(f"{source.name}: {what} no JSON object and {'was' if damaged == 1 else 'were'} left out")
    if not held:
        notes.append(f"{source.name} holds no rows")
