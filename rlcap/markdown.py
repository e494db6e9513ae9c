"""Text of any origin, made safe to show: on one line, and as nothing but text in Markdown and HTML."""

import re
from collections.abc import Sequence

# Underscores within words and colons that make no link or emoji are safe, and tables stay readable as text.
_SPECIAL = re.compile(r"(?<!\w)_|_(?!\w)|:(?=/|[\w+-]*:)|[&<>\\`*\[\]{}|~$@#^]")
_START_OF_LIST = re.compile(r"^(?=[-+])|^(\d+)(?=[.)])")
# Control characters, halves of surrogates, bidirectional embeddings, overrides and isolates, and what XML forbids: they
# could break or reorder the text around them.
_UNPRINTABLE = {
    **dict.fromkeys((*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "�"),
    **dict.fromkeys((*range(0xD800, 0xE000), 0xFFFE, 0xFFFF), "�"),
    **dict.fromkeys((*map(ord, "\t\n\r\x0b\x0c\x85"), 0x2028, 0x2029), " "),
}


def clean(text: str) -> str:
    """The text on one line, with U+FFFD for characters that have no picture or reorder the text around them."""
    return text.translate(_UNPRINTABLE)


def plain(text: str, longest: int = 300) -> str:
    """The text so that Markdown shows it as it is in a table's cell, or anywhere but at the start of a line."""
    line = " ".join(clean(text).split())
    shown = line if len(line) <= longest else f"{line[: longest - 1]}…"
    # Entities are text in every dialect of Markdown; a backslash is shown as one where a dialect needs none.
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", shown)


def at_start(text: str) -> str:
    """Markdown of :func:`plain` for the start of a line, where it begins neither a list nor a rule."""
    return _START_OF_LIST.sub(r"\1\\", text)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of cells that are Markdown already."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows))
