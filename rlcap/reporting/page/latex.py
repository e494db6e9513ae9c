"""A table as LaTeX, for a paper: booktabs, numbers in columns, every text of it escaped."""

import re

from rlcap.markdown import clean
from rlcap.reporting.tables import MISSING, Cell, Table

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": r"$-$",
    "–": "--",
    "▲": r"$^{\uparrow}$",
    "▼": r"$^{\downarrow}$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_ANY = re.compile("|".join(map(re.escape, _SPECIAL)))


def latex(text: str) -> str:
    """The text so that LaTeX prints it as it is."""
    escaped = _ANY.sub(lambda found: _SPECIAL[found.group()], clean(text)).strip()
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped  # which the line break before it would take


def latex_table(table: Table) -> str:
    r"""The table as a ``tabular`` of booktabs, two lines a row: values, and in small print what stands below them."""
    lines = [
        "% \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        "\\toprule",
        " & ".join(latex(column) for column in table.columns) + " \\\\",
        "\\midrule",
    ]
    for row in table.rows:
        lines.append(" & ".join(_value(cell) for cell in row) + " \\\\")
        details = [cell.detail.split("\n") if cell.detail else [] for cell in row]
        for line in range(max(map(len, details))):
            small = (f"{{\\scriptsize {latex(cell[line])}}}" if line < len(cell) else "" for cell in details)
            lines.append(" & ".join(small) + " \\\\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    notes = [f"{{\\footnotesize {latex(note)}\\par}}" for note in table.notes]
    return "\n".join([*lines, *(["\\par\\smallskip"] if notes else []), *notes]) + "\n"


def _value(cell: Cell) -> str:
    text = "--" if cell.text == MISSING else latex(cell.text)
    return f"\\textbf{{{text}}}" if cell.strong else text
