"""Human judgements of captions as a CSV file holds them: columns for the image, the caption and one or more ratings.

A caption may have several ratings, in several columns or in several rows. Images and captions are compared with those
that were scored by id and text, spaces aside.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from rewards.base import Candidates, RewardError
from rewards.scoring.files import ByImage
from rewards.scoring.tables import CAPTION_COLUMNS, IMAGE_COLUMNS, Caption, column_of, read_table

RATING = re.compile(r"(rating|score|expert|human|judge?ment|annotator|rater|fraction|mos)([_ -]?\w+)?", re.IGNORECASE)
"""What columns of ratings are called when they are not named."""


@dataclass(frozen=True)
class Judgements:
    """Captions, each once, and what people gave them.

    Attributes:
        path: the file.
        columns: the columns of the ratings.
        captions: each different caption of an image.
        ratings: of each caption, one or more.
    """

    path: Path
    columns: tuple[str, ...]
    captions: tuple[Caption, ...]
    ratings: tuple[tuple[float, ...], ...]

    def matched(self, candidates: Candidates) -> tuple[Int64[np.ndarray, " judged"], list[tuple[float, ...]]]:
        """The rows of the candidates that were judged, and the ratings of each.

        Raises:
            RewardError: if there is none.
        """
        images = dict.fromkeys(candidates.image_ids or ())
        known = ByImage({image: image for image in images})
        given = {
            (known.get(caption.image), _plain(caption.text)): ratings
            for caption, ratings in zip(self.captions, self.ratings, strict=True)
        }
        rows, found = [], []
        for row, key in enumerate(zip(candidates.image_ids or (), map(_plain, candidates.captions), strict=True)):
            if key in given:
                rows.append(row)
                found.append(given[key])
        if not rows:
            first = self.captions[0]
            why = "text" if any(image is not None for image, _ in given) else "image id"
            raise RewardError(
                f"no caption that was scored is judged in {self.path}, which begins with {first.text!r} of image "
                f"{first.image!r}: none has the same {why}"
            )
        return np.array(rows, np.int64), found


def read_judgements(path: Path, ratings: Sequence[str] = (), where: Sequence[str] = ()) -> Judgements:
    """The judgements of a file.

    Args:
        path: a CSV or TSV file with a header; cells without a rating are left out.
        ratings: the columns of ratings; none takes those with a usual name, such as ``rating`` or ``expert1``.
        where: conditions ``column=value`` that rows must meet.

    Raises:
        RewardError: if columns are missing, a rating is no number, or nothing is left.
    """
    header, rows = read_table(path)
    image, caption = (column_of(path, header, names) for names in (IMAGE_COLUMNS, CAPTION_COLUMNS))
    columns = _rating_columns(path, header, ratings)
    for condition in where:
        column, equals, value = condition.partition("=")
        if not equals or column not in header:
            raise RewardError(
                f"condition {condition!r} names no column of {path}: write COLUMN=VALUE, of {', '.join(header)}"
            )
        rows = [(line, cells) for line, cells in rows if cells[column] == value]
    given: dict[tuple[str, str], list[float]] = {}
    first: dict[tuple[str, str], Caption] = {}
    for line, cells in rows:
        key = (cells[image], _plain(cells[caption]))
        found = [_rating(path, line, column, cells[column]) for column in columns if cells[column]]
        found = [rating for rating in found if not math.isnan(rating)]
        if found:
            first.setdefault(key, Caption(cells[image], cells[caption]))
            given.setdefault(key, []).extend(found)
    if not given:
        meeting = f" where {' and '.join(where)}" if where else ""
        raise RewardError(f"{path} holds no rating in {', '.join(columns)}{meeting}: check columns and conditions")
    return Judgements(path, columns, tuple(first.values()), tuple(map(tuple, given.values())))


def own_references(candidates: Candidates) -> list[int]:
    """The rows whose caption is one of its image's references, spaces aside."""
    return [
        row
        for row, (caption, references) in enumerate(
            zip(candidates.captions, candidates.references or [()] * len(candidates), strict=True)
        )
        if _plain(caption) in map(_plain, references)
    ]


def _plain(text: str) -> str:
    return " ".join(text.split())


def _rating_columns(path: Path, header: Sequence[str], named: Sequence[str]) -> tuple[str, ...]:
    unknown = [column for column in named if column not in header]
    if unknown:
        raise RewardError(f"{path} has no column {unknown[0]!r} of ratings, only {', '.join(header)}")
    columns = tuple(named) or tuple(name for name in header if RATING.fullmatch(name) and not name.endswith("_id"))
    if not columns:
        others = [name for name in header if name.lower() not in (*IMAGE_COLUMNS, *CAPTION_COLUMNS)]
        remedy = f"name those of ratings with --rating, of {', '.join(others)}" if others else "add one of ratings"
        raise RewardError(f"no column of {path} is called rating or the like: {remedy}")
    return columns


def _rating(path: Path, line: int, column: str, cell: str) -> float:
    try:
        rating = float(cell)
    except ValueError:
        rating = math.inf
    if math.isinf(rating):
        raise RewardError(f"{path}, line {line}: {column} is {cell!r}: ratings are numbers")
    return rating
