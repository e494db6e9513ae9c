"""A transport plan as a matrix: how the mass of each token of a caption is shared among the tokens of a reference."""

import numpy as np

from rlcap.reporting.drawing.svg import INK, MUTED, RULE, RUN_COLOURS, Figure
from rlcap.reporting.drawing.words import fit, safe, width_of
from rlcap.reporting.reading.explanations import Plan
from rlcap.reporting.tables import number

_CELL, _ROOM = 24, 96
# Less than this share of a token is not seen.
_LEAST = 0.01


def draw_plan(slug: str, title: str, plan: Plan) -> Figure:
    """The matrix, a row for each token of the caption; the fuller a cell, the larger its share of the row's mass.

    Args:
        slug: the figure's file name.
        title: what the caption is.
        plan: against the tokens of a reference.
    """
    most = plan.mass.max(axis=1, keepdims=True)
    relative = np.divide(plan.mass, most, out=np.zeros_like(plan.mass), where=most > 0)  # sums of it are finite
    shares = relative / relative.sum(axis=1, keepdims=True).clip(min=1)
    tokens, targets = ([fit(text, _ROOM, 12) for text in texts] for texts in (plan.tokens, plan.targets))
    left = max(width_of(text, 12) for text in tokens) + 12
    top = max(width_of(text, 12) for text in targets) * 0.78 + 20
    right, bottom = left + _CELL * len(targets), top + _CELL * len(tokens)
    lines = "".join(f"M {left:.1f} {top + _CELL * row:.1f} H {right:.1f} " for row in range(len(tokens) + 1))
    lines += "".join(f"M {left + _CELL * column:.1f} {top:.1f} V {bottom:.1f} " for column in range(len(targets) + 1))
    drawn = [f'<path d="{lines}" stroke="{RULE}" stroke-width="0.8" fill="none"/>']
    drawn += [
        f'<text x="{left - 8:.1f}" y="{top + _CELL * (row + 0.5) + 4:.1f}" font-size="12" text-anchor="end" '
        f'fill="{INK}">{safe(text, 60)}</text>'
        for row, text in enumerate(tokens)
    ]
    drawn += [
        f'<text transform="translate({left + _CELL * (column + 0.5) + 3:.1f} {top - 7:.1f}) rotate(-52)" '
        f'font-size="12" fill="{INK}">{safe(text, 60)}</text>'
        for column, text in enumerate(targets)
    ]
    for row, column in np.argwhere(shares >= _LEAST):
        share = float(shares[row, column])
        told = f"{plan.tokens[row]} → {plan.targets[column]}: {share:.0%} of the token"
        drawn.append(
            f'<rect x="{left + _CELL * column + 1:.1f}" y="{top + _CELL * row + 1:.1f}" width="{_CELL - 2}" '
            f'height="{_CELL - 2}" rx="3" fill="{RUN_COLOURS[1]}" fill-opacity="{share:.2f}">'
            f"<title>{safe(told, 200)}</title></rect>"
        )
    if plan.cost is not None:
        drawn.append(
            f'<text x="0" y="{bottom + 18:.1f}" font-size="11" fill="{MUTED}">cost {number(plan.cost, 4)}</text>'
        )
    # The last labels lean beyond the matrix.
    lean = max(
        _CELL * (column + 0.5) + 0.62 * width_of(text, 12) - _CELL * len(targets) for column, text in enumerate(targets)
    )
    return Figure(
        slug, title, "Explanations", "".join(drawn), round(right + max(lean, 0.0) + 12), round(bottom + 26), (),
        f"Transport plan of {plan.reward}: {len(tokens)} tokens of the caption against {len(targets)} of the reference",
    )  # fmt: skip
