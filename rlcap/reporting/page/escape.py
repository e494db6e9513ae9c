"""Text from run folders is untrusted: here it becomes text of a page or of a Markdown file, and nothing else."""

from html import escape

from rlcap import markdown
from rlcap.markdown import clean

_LONGEST = 300


def text(value: str) -> str:
    """The text as HTML shows it, inside an element or an attribute's quotes."""
    return escape(clean(value), quote=True)


def name(value: str) -> str:
    """A name from a file as HTML: its writing direction does not reach the words around it."""
    return f"<bdi>{text(value)}</bdi>"


def plain(value: str, longest: int = 2000) -> str:
    """The text as a line of Markdown."""
    return markdown.at_start(markdown.plain(value, longest))


def inside(value: str, longest: int = _LONGEST) -> str:
    """The text as Markdown within a table's cell."""
    return markdown.plain(value, longest)


def item(value: str, longest: int = 2000) -> str:
    """The text as an item of a Markdown list."""
    return f"- {plain(value, longest)}"
