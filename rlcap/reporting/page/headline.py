"""What stands first on a page: findings in large type, and what to know before believing them."""

from dataclasses import dataclass

from rlcap.reporting.page.blocks import Block
from rlcap.reporting.page.escape import inside, item, plain, text

# More remarks than these are folded away.
_MOST_REMARKS = 8


@dataclass(frozen=True)
class Headline(Block):
    """A finding in large type: a sentence, two numbers, their change, and how sure it is.

    Attributes:
        verdict: one sentence.
        before: a number; empty where there is none.
        after: another.
        change: of the first to the second.
        clear: whether the change holds.
        evidence: on what it rests, a sentence or two.
        remarks: what to know besides.
    """

    verdict: str
    before: str = ""
    after: str = ""
    change: str = ""
    clear: bool = True
    evidence: str = ""
    remarks: tuple[str, ...] = ()

    def html(self) -> str:
        numbers = ""
        if self.after:
            was = f'<span class="was">{text(self.before)}</span><span class="arrow">→</span>' if self.before else ""
            kind = "change" if self.clear else "change unclear"
            numbers = (
                f'<p class="figure-line">{was}<span class="now">{text(self.after)}</span>'
                f'<span class="{kind}">{text(self.change)}</span></p>'
            )
        quiet = "".join(f'<p class="quiet">{text(line)}</p>' for line in (self.evidence, *self.remarks) if line)
        return f'<article class="headline"><p class="lead">{text(self.verdict)}</p>{numbers}{quiet}</article>'

    def markdown(self) -> str:
        numbers = f"{self.before} → {self.after} ({self.change})." if self.before else self.after and f"{self.after}."
        first = " ".join(f"**{inside(part, 2000)}**" for part in (self.verdict, numbers) if part)
        return " ".join([first, *(inside(line, 2000) for line in (self.evidence, *self.remarks) if line)])


@dataclass(frozen=True)
class Remarks(Block):
    """What to know before believing the numbers, set apart."""

    title: str
    lines: tuple[str, ...]

    def html(self) -> str:
        items = [f"<li>{text(line)}</li>" for line in self.lines]
        shown, rest = "".join(items[:_MOST_REMARKS]), "".join(items[_MOST_REMARKS:])
        more = f"<details><summary>{len(items) - _MOST_REMARKS} more</summary><ul>{rest}</ul></details>" if rest else ""
        return f'<aside class="remarks"><h2>{text(self.title)}</h2><ul>{shown}</ul>{more}</aside>'

    def markdown(self) -> str:
        return f"## {plain(self.title)}\n\n" + "\n".join(item(line) for line in self.lines)
