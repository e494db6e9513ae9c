"""Which images of a split are explained."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from rlcap.data.base import Record
from rlcap.errors import UserError

Choose = Literal["spread", "best", "worst"]
METRIC = "CIDEr-D"


def named_records(records: Sequence[Record], images: Sequence[str], split: str) -> list[Record]:
    """The records of these image ids, in their order.

    Raises:
        UserError: if the split has none of an id.
    """
    known = {record.image_id: record for record in records}
    unknown = [image for image in images if image not in known]
    if unknown:
        example = f", such as {records[0].image_id!r}" if records else ""
        raise UserError(
            f"the split {split!r} has no image {unknown[0]!r}: give ids of its {len(records)} images{example}"
        )
    return [known[image] for image in dict.fromkeys(images)]


def chosen_records(records: Sequence[Record], count: int, choose: Choose, scores: Mapping[str, float]) -> list[Record]:
    """Some records of a split: the best or worst first, or evenly spread over the ids.

    Args:
        records: of the split.
        count: how many, if there are so many.
        choose: ``best`` and ``worst`` are by score, among the images that have one.
        scores: by image id; without any they are spread.
    """
    ordered = sorted(records, key=lambda record: record.image_id)
    if choose == "spread" or not scores:
        places = sorted({round(place) for place in np.linspace(0, len(ordered) - 1, min(count, len(ordered)))})
        return [ordered[place] for place in places]
    scored = [record for record in ordered if record.image_id in scores]
    sign = -1 if choose == "best" else 1
    return sorted(scored, key=lambda record: sign * scores[record.image_id])[:count]


def scores_of(predictions: Path) -> dict[str, float]:
    """CIDEr-D by image id, as an evaluation wrote it; empty where there is none.

    Raises:
        UserError: if a line of the file cannot be read.
    """
    if not predictions.is_file():
        return {}
    scores: dict[str, float] = {}
    for number, line in enumerate(predictions.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            if METRIC in row.get("scores", {}):
                scores[str(row["image_id"])] = float(row["scores"][METRIC])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{predictions}, line {number} is no prediction: run rlcap evaluate again") from error
    return scores
