"""Mappings in JSON and YAML files, made plain: text keys, no aliases, of bounded size and depth."""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from rlcap.reporting.reading.files import Source, SourceError, as_mapping

_MOST_BYTES = {".yaml": 2**20, ".json": 2**26}  # YAML is slow to read
_MOST_VALUES = 50_000  # counted with the aliases written out, which can multiply without end
_DEEPEST = 64
# What PyYAML raises of scalars that are not what their tags say, such as !!int "" and !!timestamp x.
_YAML_ERRORS = (yaml.YAMLError, AttributeError, LookupError, TypeError, ArithmeticError)
# libyaml's, ten times faster, where PyYAML was built with it
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UnusableError(ValueError):
    """A value of more parts, or deeper, than any settings are."""


def read_mapping(source: Source, notes: list[str]) -> dict[str, Any]:
    """The mapping in a JSON or YAML file; what is wrong with the file is added to the notes."""
    kind = source.path.suffix
    try:
        with source.open(_MOST_BYTES[kind]) as file:
            text = file.read().decode("utf-8-sig")
    except SourceError as error:
        notes.append(f"{source.name} {error}")
        return {}
    except (OSError, ValueError):
        notes.append(f"{source.name} is damaged and was left out")
        return {}
    try:
        value = _plain(json.loads(text) if kind == ".json" else _load_yaml(text))
    except (ValueError, RecursionError, *_YAML_ERRORS):
        notes.append(f"{source.name} is damaged and was left out")
        return {}
    if not isinstance(value, Mapping):
        notes.append(f"{source.name} holds no mapping and was left out")
    return as_mapping(value)


def _load_yaml(text: str) -> object:
    """What a YAML document holds, if it is not deep, and small with its aliases written out."""
    _check_events(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > _MOST_VALUES:
            raise _UnusableError
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_events(text: str) -> None:
    """Raise if a YAML document is too large or too deep, which would end libyaml's loader, and the process with it."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST or number > _MOST_VALUES:
            raise _UnusableError


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node holds with the aliases written out; each node is counted once, so this is fast."""
    if id(node) in known:
        if not known[id(node)]:  # it is being counted: it holds itself
            raise _UnusableError
        return known[id(node)]
    known[id(node)] = 0
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
    known[id(node)] = 1 + sum(_size(child, known) for child in children)
    return known[id(node)]


def _plain(value: object, deeper: int = _DEEPEST) -> Any:
    """The value as JSON knows it: what is no number, truth value, list or mapping is text."""
    if not deeper:
        raise _UnusableError
    if isinstance(value, Mapping):
        return {_text(key): _plain(item, deeper - 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item, deeper - 1) for item in value]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and value.bit_length() < 64:
        return value
    return _text(value)


def _text(value: object) -> str:
    # Python writes out integers of at most 4300 decimal digits, but any number of others
    text = hex(value) if isinstance(value, int) and value.bit_length() > 1024 else str(value)
    # YAML can spell halves of a character
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
