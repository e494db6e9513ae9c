"""Reading files that may be missing or damaged, and writing files that are whole or absent."""

import json
import os
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from rlcap.errors import UserError

# Control characters, bidirectional overrides and what XML forbids; they could reorder or break the text around them.
_UNPRINTABLE = {
    **dict.fromkeys(
        (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFFFE, 0xFFFF), "�"
    ),
    **dict.fromkeys(map(ord, "\t\n\r"), " "),
}


class ReportError(UserError):
    """Why no report can be made, in one line."""


def clean(text: str) -> str:
    """The text with what no page can show replaced by U+FFFD, on one line."""
    return text.encode("utf-8", "replace").decode("utf-8").translate(_UNPRINTABLE)


def as_number(value: object) -> float | None:
    """The value as a finite number, or None if it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def as_count(value: object) -> int | None:
    """The value as a whole number, or None if it is not one."""
    number = as_number(value)
    return None if number is None or number != int(number) else int(number)


def as_mapping(value: object) -> dict[str, Any]:
    """The value if it is a mapping, its keys as text; an empty mapping if it is anything else."""
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def read_mapping(path: Path, notes: list[str], label: str) -> dict[str, Any]:
    """The mapping in a JSON or YAML file; what is wrong with the file is added to the notes under its label."""
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError:
        notes.append(f"{label} is missing")
        return {}
    except OSError as error:
        notes.append(f"{label} cannot be read: {error.strerror}")
        return {}
    except (ValueError, RecursionError, yaml.YAMLError):
        notes.append(f"{label} is damaged and was left out")
        return {}
    if not isinstance(value, Mapping):
        notes.append(f"{label} holds no mapping and was left out")
    return as_mapping(value)


def read_lines(path: Path, notes: list[str], label: str) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; lines that hold none are left out and named in the notes."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        notes.append(f"{label} is missing")
        return []
    except OSError as error:
        notes.append(f"{label} cannot be read: {error.strerror}")
        return []
    rows, damaged = [], []
    lines = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            damaged.append(number)
    if damaged and damaged[-1] == len(lines):  # no newline follows it: the writer was stopped
        notes.append(f"{label}: the last line ({damaged.pop()}) is half written and was left out")
    if damaged:
        what = (
            f"line {damaged[0]} holds"
            if len(damaged) == 1
            else f"{len(damaged)} lines (the first is {damaged[0]}) hold"
        )
        notes.append(f"{label}: {what} no JSON object and {'was' if len(damaged) == 1 else 'were'} left out")
    if not rows:
        notes.append(f"{label} holds no rows")
    return rows


def write_aside(path: Path, text: str) -> None:
    """Write a file under another name and rename it, so that a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
