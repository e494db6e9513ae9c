"""The captions of a split: predictions.jsonl, of which every row may be damaged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rlcap.reporting.reading.cache import Cache, digest_of, pack_json, unpack_json
from rlcap.reporting.reading.files import LONGEST_KEY, Source, as_mapping, as_number, as_score
from rlcap.reporting.reading.lines import read_objects


@dataclass(frozen=True, slots=True)
class Prediction:
    """The caption of one image.

    Attributes:
        image_id: the image.
        caption: what the policy said of it.
        references: what people said of it; one object for all runs whose references are the same.
        scores: the caption's own, by metric.
        samples: captions that were sampled besides.
        metadata: what the data set knows of the image: text, numbers, truth values and lists of texts.
        ended: whether the caption was ended by the policy rather than cut off; None where the file does not say.
    """

    image_id: str
    caption: str
    references: tuple[str, ...]
    scores: Mapping[str, float]
    samples: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    ended: bool | None = None


class Predictions:
    """Reads predictions, and holds references that runs share once.

    Args:
        cache: where what was parsed is kept.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._known: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._tables: dict[str, tuple[tuple[str, ...], ...]] = {}

    def read(self, source: Source, notes: list[str]) -> dict[str, Prediction]:
        """The predictions of a file by image id."""
        return self._cache.remembered(
            source, "predictions.json", partial(_parse, self._known), self._pack, self._unpack, notes
        )

    def _pack(self, predictions: Mapping[str, Prediction], notes: list[str]) -> bytes:
        places: dict[tuple[str, ...], int] = {}
        rows = [
            (
                p.image_id,
                p.caption,
                places.setdefault(p.references, len(places)),
                p.scores,
                p.samples,
                p.metadata,
                p.ended,
            )
            for p in predictions.values()
        ]
        table = tuple(places)
        digest = digest_of(table)
        if digest not in self._tables:
            self._tables[digest] = table
            self._cache.kept.write(f"references-{digest}.json", pack_json(table, []))
        return pack_json({"references": digest, "rows": rows}, notes)

    def _unpack(self, content: bytes) -> tuple[dict[str, Prediction], list[str]] | None:
        held, notes = unpack_json(content)
        digest = held["references"]
        if digest not in self._tables:
            kept = self._cache.kept.read(f"references-{digest}.json")
            if kept is None:
                return None
            table, _ = unpack_json(kept)
            self._tables[digest] = tuple(self._known.setdefault(one, one) for one in map(tuple, table))
        references = self._tables[digest]
        return {
            image_id: Prediction(image_id, caption, references[place], scores, tuple(samples), metadata, ended)
            for image_id, caption, place, scores, samples, metadata, ended in held["rows"]
        }, notes


def _parse(known: dict[tuple[str, ...], tuple[str, ...]], source: Source, notes: list[str]) -> dict[str, Prediction]:
    """The predictions by image id; what is no text or number is left out and counted in the notes."""
    predictions: dict[str, Prediction] = {}
    unusable = repeated = odd = 0
    for row in read_objects(source, notes):
        image_id, caption = row.get("image_id"), row.get("caption")
        if isinstance(image_id, bool) or not isinstance(image_id, str | int) or not isinstance(caption, str):
            unusable += 1
            continue
        image_id = str(image_id)
        if image_id in predictions:
            repeated += "score" not in row  # a reward model scores several captions of an image
            continue
        named = row.get("references", [])
        references = _texts(named)
        odd += not isinstance(named, list) or len(references) < len(named)
        scores = {metric: as_score(value) for metric, value in as_mapping(row.get("scores")).items()}
        ended = row.get("ended")
        predictions[image_id] = Prediction(
            image_id,
            caption,
            known.setdefault(references, references),
            {metric: number for metric, number in scores.items() if number is not None},
            _texts(row.get("samples")),
            _metadata(row.get("metadata")),
            ended if isinstance(ended, bool) else None,
        )
    if unusable:
        notes.append(f"{source.name}: {unusable} rows name no image or no caption and were left out")
    if repeated:
        notes.append(f"{source.name}: {repeated} rows repeat an image; its first caption is kept")
    if odd:
        notes.append(f"{source.name}: {odd} rows have references that are no text, which were left out")
    return predictions


def _texts(value: object) -> tuple[str, ...]:
    """The texts in a list; none if the value is no list."""
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()


def _metadata(value: object) -> dict[str, Any]:
    """The scalars and the lists of texts in a mapping."""
    return {key: item for key, item in as_mapping(value).items() if 0 < len(key) <= LONGEST_KEY and _is_plain(item)}


def _is_plain(value: object) -> bool:
    if isinstance(value, bool | str):
        return True
    if isinstance(value, int | float):
        return as_number(value) is not None
    return isinstance(value, Sequence) and all(isinstance(text, str) for text in value)
