"""Captions and references as files hold them, and the scores written beside them.

Captions are COCO results, ``[{"image_id": 42, "caption": "a dog"}, ...]``; references are ``{"42": ["a dog", ...]}`` or
COCO annotations, ``{"images": [...], "annotations": [{"image_id": 42, "caption": "a dog"}, ...]}``. Any of them may be
gzipped. Image ids are numbers or text and are compared as text.
"""

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from rewards.base import Candidates, Reward, RewardError
from rewards.metrics import Summary, measure
from rewards.statistics import caption_statistics
from rewards.tokenize import ptb_tokenize

GZIP_MAGIC = b"\x1f\x8b"
RESULTS = '[{"image_id": ..., "caption": "..."}, ...]'
REFERENCES = '{"<image id>": ["...", ...]} or COCO annotations, {"annotations": [{"image_id": ..., "caption": "..."}]}'


def read_candidates(candidates: Path, references: Path) -> Candidates:
    """The captions of one file with the references of another; an image may have several captions.

    Raises:
        RewardError: if a file is missing or not what it should be, or if a caption's image has no references.
    """
    captions = _captions(candidates, _read_json(candidates), RESULTS)
    if not captions:
        raise RewardError(f"{candidates} holds no captions: give at least one, as in {RESULTS}")
    known = read_references(references)
    missing = list(dict.fromkeys(image for image, _ in captions if not known.get(image)))
    if missing:
        count = f"{len(missing)} images" if len(missing) > 1 else "an image"
        raise RewardError(
            f"{candidates} has captions of {count} without references in {references}, the first of image "
            f"{missing[0]!r}: add references, or leave the captions out"
        )
    return Candidates(
        [caption for _, caption in captions],
        references=[known[image] for image, _ in captions],
        image_ids=[image for image, _ in captions],
    )


def read_references(path: Path) -> dict[str, list[str]]:
    """The reference captions of each image.

    Raises:
        RewardError: if the file is missing or holds something else.
    """
    content = _read_json(path)
    if not isinstance(content, dict):
        raise RewardError(f"{path} holds {_kind(content)} where references are {REFERENCES}")
    references: dict[str, list[str]] = {}
    if "annotations" in content:
        for image, caption in _captions(path, content["annotations"], REFERENCES):
            references.setdefault(image, []).append(caption)
        return references
    for image, captions in content.items():
        if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
            raise RewardError(f"{path}: the references of image {image!r} are no list of captions: write {REFERENCES}")
        references[image] = captions
    return references


def write_scores(path: Path, candidates: Candidates, rewards: Mapping[str, Reward]) -> dict[str, Summary]:
    """The value and signature of each reward, which are written to a new file with each caption's own scores.

    Raises:
        RewardError: if the file exists or cannot be written, or if a reward fails or needs images.
    """
    if path.exists():
        raise RewardError(f"{path} exists: choose another --output, or remove it first")
    for name, reward in rewards.items():
        if reward.needs_images:
            raise RewardError(f"reward {name!r} looks at images, and rlcap score has no images: leave it out")
    each, summary = measure(rewards, candidates)
    content = {
        "scores": summary,
        "statistics": caption_statistics(ptb_tokenize(candidates.captions)),
        "captions": [
            {"image_id": image, "caption": caption, "scores": {name: float(each[name][row]) for name in each}}
            for row, (image, caption) in enumerate(zip(candidates.image_ids or [], candidates.captions, strict=True))
        ],
    }
    _write_aside(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return summary


def _read_json(path: Path) -> Any:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RewardError(f"there is no file {path}: check the path") from None
    except OSError as error:
        raise RewardError(f"cannot read {path}: {error.strerror}") from error
    try:
        return json.loads(gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content)
    except (EOFError, OSError, zlib.error) as error:
        raise RewardError(f"{path} is no whole gzip file ({error}): copy it again") from error
    except (ValueError, RecursionError) as error:
        raise RewardError(f"{path} is not valid JSON ({error}): mend it there") from error


def _captions(path: Path, rows: object, shape: str) -> list[tuple[str, str]]:
    """Image id and caption of each row."""
    if not isinstance(rows, list):
        raise RewardError(f"{path} holds {_kind(rows)} where a list of captions should be: write {shape}")
    captions = []
    for place, row in enumerate(rows, start=1):
        image, caption = (row.get("image_id"), row.get("caption")) if isinstance(row, dict) else (None, None)
        if isinstance(image, bool) or not isinstance(image, int | str) or not isinstance(caption, str):
            shown = json.dumps(row, ensure_ascii=False)
            shown = shown if len(shown) <= 80 else f"{shown[:79]}…"
            raise RewardError(f"{path}: caption {place} is {shown}, without an image_id or a caption: write {shape}")
        captions.append((str(image), caption))
    return captions


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null", bool: "true or false"}
    return names.get(type(value), "a number")


def _write_aside(path: Path, text: str) -> None:
    """Write aside and rename, so that the file is whole or absent."""
    aside = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_text(text, encoding="utf-8")
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise RewardError(f"cannot write {path}: {error.strerror}") from error
