"""Scores in files: everything as JSON, a table of the captions as CSV; whole, and never over another file."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from rewards.base import Candidates, RewardError
from rewards.scoring import Result
from rewards.statistics import caption_statistics
from rewards.tokenize import ptb_tokenize


def scores_as_json(result: Result, **facts: Any) -> str:
    """Values, intervals and signatures, what the captions look like, and each caption's own scores."""
    candidates = result.candidates
    content = {
        "scores": {name: scored.summary() for name, scored in result.items()},
        "bootstrap": vars(result.bootstrap),
        **facts,
        "statistics": caption_statistics(ptb_tokenize(candidates.captions)),
        "captions": [
            {
                "image_id": image,
                "caption": caption,
                "scores": {name: float(scored.scores[row]) for name, scored in result.items()},
            }
            for row, (image, caption) in enumerate(zip(_ids(candidates), candidates.captions, strict=True))
        ],
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def scores_as_csv(result: Result) -> str:
    """A table with a row per caption: its image, itself, and a column per reward."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", "caption", *result])
    columns = [scored.scores.tolist() for scored in result.values()]
    writer.writerows(zip(_ids(result.candidates), result.candidates.captions, *columns, strict=True))
    return text.getvalue()


def refuse_overwriting(paths: Mapping[str, Path]) -> None:
    """Make sure that the files of these options can be written anew.

    Raises:
        RewardError: if one exists, or two are the same.
    """
    for option, path in paths.items():
        if path.exists():
            raise RewardError(f"{path} exists: choose another {option}, or remove it first")
        if list(paths.values()).count(path) > 1:
            raise RewardError(f"{path} would be written twice: choose different files")


def write_new(texts: Mapping[Path, str]) -> None:
    """Write new files, all or none, and each whole or not at all.

    Raises:
        RewardError: if a file exists or cannot be written.
    """
    for path in texts:
        refuse_overwriting({"path": path})
    asides = {path: path.with_name(f".{path.name}.{uuid4().hex}.part") for path in texts}
    written: list[Path] = []
    try:
        for path, aside in asides.items():
            at = path
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(texts[path], encoding="utf-8", newline="")
        for path, aside in asides.items():
            at = path
            aside.replace(path)
            written.append(path)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise RewardError(f"cannot write {at}: {error.strerror}") from error
    finally:
        for aside in asides.values():
            if aside.parent.is_dir():
                aside.unlink(missing_ok=True)


def _ids(candidates: Candidates) -> Sequence[str]:
    return candidates.image_ids or [str(row) for row in range(1, len(candidates) + 1)]
