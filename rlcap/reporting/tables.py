"""Tables and numbers as text, before they are HTML or Markdown."""

from dataclasses import dataclass
from math import floor, log10

MISSING = "–"


@dataclass(frozen=True)
class Cell:
    """A value of a table and, smaller, what belongs to it.

    Attributes:
        text: the value.
        detail: what stands below it, a line each.
        strong: whether it stands out.
        sort: what rows are sorted by in the page; None: the text.
    """

    text: str = MISSING
    detail: str = ""
    strong: bool = False
    sort: float | int | None = None


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first column naming the row; ``run`` is True where the rows are the runs in order."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    run: bool = True


def number(value: float | int | None, digits: int = 3, sign: bool = False) -> str:
    """The value as text, with a true minus and grouped thousands; a dash for None."""
    if value is None:
        return MISSING
    if abs(value) >= 1e15:
        return f"{value:{'+' if sign else ''}.2e}".replace("-", "−")
    if round(value, digits) == 0:
        return f"{0:.{digits}f}"  # without a sign
    return f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def probability(p: float | None) -> str:
    """A p-value as text, empty where there is none."""
    return "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{seconds / 60:.1f} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def significant(value: float, digits: int = 3) -> str:
    """The value with so many significant digits, as a decimal where that is readable and with an exponent elsewhere."""
    size = 0 if value == 0 else floor(log10(abs(value)))
    if -4 <= size < 6:
        return number(value, max(0, digits - 1 - size))
    return f"{value:.{digits - 1}e}".replace("-", "−")
