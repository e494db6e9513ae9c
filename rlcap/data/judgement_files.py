"""Files of judgements of captions, read and written.

A file of JSON lines (``.jsonl``, perhaps ``.gz``) holds one judgement per line::

    {"image": "42.jpg", "chosen": "a dog on a beach", "rejected": "a cat"}
    {"image": "42.jpg", "tied": ["a dog on a beach", "a beach with a dog"]}
    {"image": "42.jpg", "caption": "a dog", "rating": 3.5}
    {"image": "42.jpg", "caption": "a dog", "ratings": [3, 4, 4]}
    {"image": "42.jpg", "ranking": ["the best", "the second", "the worst"]}

each perhaps with a ``"weight"`` above 0 and the name of its ``"rater"``; other entries are passed over. A CSV or TSV
file has a row per rated caption with columns of ratings, as :func:`rewards.scoring.judgements.read_judgements` reads
it.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain, combinations
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from rewards.base import RewardError
from rewards.scoring.judgements import read_judgements
from rewards.scoring.tables import CAPTION_COLUMNS, IMAGE_COLUMNS, column_of, kind, read_lines, read_table
from rlcap.data.judged import Comparison, Judged, Ranking, Rating, Tie, merged
from rlcap.types import UserError


@dataclass(frozen=True)
class Columns:
    """Which part of a CSV or TSV file of judgements to read.

    Attributes:
        ratings: the columns of ratings; none takes those with a usual name, such as ``rating`` or ``expert1``.
        where: conditions ``column=value`` that rows must meet.
    """

    ratings: tuple[str, ...] = ()
    where: tuple[str, ...] = ()


class _Row(NamedTuple):
    """What a line says of an image."""

    line: int
    image: str
    judged: Judged


FORMS: Mapping[str, tuple[str, ...]] = {
    "chosen": ("chosen", "rejected"),
    "tied": ("tied",),
    "rating": ("caption", "rating"),
    "ratings": ("caption", "ratings"),
    "ranking": ("ranking",),
}
"""What a line of JSON may say, by the entry that tells it from the others, and the entries it needs."""


OPTIONAL = ("weight", "rater")
"""What a line may say besides; other entries, such as an annotation tool's own, are passed over."""


def read_judged(path: Path | str, columns: Columns | None = None) -> dict[str, Judged]:
    """What a file says of each image, by the image ids as the file has them, in its order.

    Raises:
        UserError: naming the line that is not as it should be.
    """
    return {image: merged(parts) for image, (_, parts) in by_image(read_rows(Path(path), columns)).items()}


def by_image(rows: Iterable[_Row]) -> dict[str, tuple[int, list[Judged]]]:
    """The first line of each image, and what all its lines say."""
    found: dict[str, tuple[int, list[Judged]]] = {}
    for line, image, judged in rows:
        found.setdefault(image, (line, []))[1].append(judged)
    return found


def read_rows(path: Path, columns: Columns | None) -> list[_Row]:
    """What each line of a file says; there is at least one."""
    try:
        if kind(path) in (".csv", ".tsv"):
            return _of_table(path, columns or Columns())
        if kind(path) not in (".jsonl", ".ndjson"):
            raise UserError(f"judgements must be a .jsonl, .csv or .tsv file, perhaps with .gz, got {path}")
        if columns is not None and (columns.ratings or columns.where):
            raise UserError(f"columns choose from a CSV or TSV file, and {path} is none: leave them out")
        lines = [(line, content) for line, content in enumerate(read_lines(path), start=1) if content.strip()]
    except RewardError as error:
        raise UserError(str(error)) from error
    if not lines:
        raise UserError(f'{path} is empty: write lines such as {{"image": ..., "chosen": "...", "rejected": "..."}}')
    return [_row(line, f"{path}, line {line}", content) for line, content in lines]


def _of_table(path: Path, columns: Columns) -> list[_Row]:
    header, cells = read_table(path)
    image, caption = (column_of(path, header, names) for names in (IMAGE_COLUMNS, CAPTION_COLUMNS))
    first: dict[str, int] = {}
    for line, row in cells:
        first.setdefault(row[image], line)
        for column in (image, caption):
            if not row[column]:
                raise UserError(f"{path}, line {line}: {column} is empty: fill it in, or leave the line out")
    found = read_judgements(path, columns.ratings, columns.where)
    return [
        _Row(first[own.image], own.image, Judged((own.text,), ratings=tuple(Rating(0, value) for value in values)))
        for own, values in zip(found.captions, found.ratings, strict=True)
    ]


def _row(line: int, where: str, content: str) -> _Row:
    """What a line of JSON says."""
    try:
        row = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error}): mend the line, or leave it out") from error
    forms = [form for form in FORMS if isinstance(row, dict) and form in row]
    if len(forms) != 1 or any(key not in row for key in FORMS[forms[0]]):
        raise UserError(
            f"{where} is {_short(row)}: give one of "
            f"{', '.join(' and '.join(keys) for keys in FORMS.values())}, beside the image"
        )
    image_key = "image_id" if "image_id" in row else "image"
    for key in row:
        meant = [] if key in (image_key, *FORMS[forms[0]], *OPTIONAL) else get_close_matches(key, OPTIONAL, cutoff=0.75)
        if meant:
            raise UserError(f"{where}: unknown {key!r}: write {meant[0]}, or leave it out")
    image = row.get(image_key)
    if not isinstance(image, int | str) or isinstance(image, bool) or not str(image).strip():
        raise UserError(f"{where}: {image_key} must name the image, got {_short(image)}")
    weight = _number(where, "weight", row.get("weight", 1.0))
    rater = row.get("rater", "")
    if not isinstance(rater, int | str) or isinstance(rater, bool):
        raise UserError(f"{where}: rater must be a name, got {_short(rater)}")
    try:
        return _Row(line, str(image).strip(), _judged(where, forms[0], row, weight, str(rater)))
    except UserError as error:
        raise error if str(error).startswith(where) else UserError(f"{where}: {error}") from error


def _judged(where: str, form: str, row: Mapping[str, Any], weight: float, rater: str) -> Judged:
    if form == "chosen":
        captions = _texts(where, "chosen and rejected", [row["chosen"], row["rejected"]], least=2)
        return Judged(captions, comparisons=(Comparison(0, 1, weight, rater),))
    if form == "tied":
        captions = _texts(where, form, row[form], least=2)
        return Judged(captions, ties=tuple(Tie(*pair, weight, rater) for pair in combinations(range(len(captions)), 2)))
    if form == "ranking":
        captions = _texts(where, form, row[form], least=2)
        return Judged(captions, rankings=(Ranking(tuple(range(len(captions))), weight, rater),))
    captions = _texts(where, "caption", [row["caption"]], least=1)
    values = row[form] if form == "ratings" else [row[form]]
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}: ratings must be a list of numbers, got {_short(values)}")
    numbers = [_number(where, form, value) for value in values]
    return Judged(captions, ratings=tuple(Rating(0, number, weight, rater) for number in numbers))


def _texts(where: str, name: str, texts: object, least: int) -> tuple[str, ...]:
    if not isinstance(texts, list) or len(texts) < least:
        raise UserError(f"{where}: {name} must be a list of {least} captions or more, got {_short(texts)}")
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"{where}: {name} must be the text of captions, got {_short(text)}")
    return tuple(text.strip() for text in texts)


def _number(where: str, name: str, value: object) -> float:
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UserError(f"{where}: {name} must be a number, got {_short(value)}")
    return number


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"


# --- writing


def json_lines(image_id: str, judged: Judged) -> list[str]:
    """A line for each judgement, as :func:`read_judged` reads them."""
    text = judged.captions
    objects: list[tuple[dict[str, Any], float, str]] = [
        *(
            ({"chosen": text[own.winner], "rejected": text[own.loser]}, own.weight, own.rater)
            for own in judged.comparisons
        ),
        *(({"tied": [text[own.first], text[own.second]]}, own.weight, own.rater) for own in judged.ties),
        *(({"caption": text[own.caption], "rating": own.value}, own.weight, own.rater) for own in judged.ratings),
        *(({"ranking": [text[place] for place in own.captions]}, own.weight, own.rater) for own in judged.rankings),
    ]
    lines = []
    for said, weight, rater in objects:
        row = (
            {"image": image_id, **said}
            | ({"weight": weight} if weight != 1 else {})
            | ({"rater": rater} if rater else {})
        )
        lines.append(json.dumps(row, ensure_ascii=False) + "\n")
    return lines


def write_judged(path: Path | str, judgements: Iterable[tuple[str, Judged]]) -> None:
    """Writes a new file of JSON lines, complete or not at all; an earlier one of the name is replaced."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = chain.from_iterable(json_lines(image_id, judged) for image_id, judged in judgements)
        aside.write_text("".join(lines), encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise UserError(f"cannot write judgements to {path}: {error.strerror}: choose another file") from error


class JudgementWriter:
    """Adds judgements to a file of JSON lines, each on the disk before the next: for a tool that asks people.

    ::

        with JudgementWriter("judgements.jsonl") as writer:
            writer.write("42.jpg", Judged(("a dog", "a cat"), comparisons=(Comparison(winner=0, loser=1),)))

    A last line that was cut short is closed first, so that nothing else is damaged; reading names it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if kind(self.path) != ".jsonl" or self.path.suffix.lower() == ".gz":
            raise UserError(f"judgements are written to a .jsonl file, got {self.path}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b")
            if self._file.tell() > 0:
                self._file.seek(-1, 2)
                if self._file.read(1) != b"\n":
                    self._file.write(b"\n")
        except OSError as error:
            raise UserError(f"cannot write judgements to {self.path}: {error.strerror}: choose another file") from error

    def write(self, image_id: str, judged: Judged) -> None:
        """Adds what was said of an image, a line for each judgement."""
        for line in json_lines(image_id, judged):
            self._file.write(line.encode())
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> "JudgementWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
