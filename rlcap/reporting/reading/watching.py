"""Whether anything changed that a report reads."""

from collections.abc import Sequence
from pathlib import Path

from rlcap.reporting.reading.cache import digest_of
from rlcap.reporting.reading.files import Source

_FILES = ("config.yaml", "environment.json", "metrics.jsonl", "timings.jsonl")


def watch_digest(folders: Sequence[Path], split: str) -> str:
    """A digest of names, sizes and times of change, which is another once a report of the folders would be.

    Nothing is opened. Of thumbnails, the time is that of their folder.
    """
    return digest_of(
        [
            [str(folder), name, Source(folder, name).fingerprint()]
            for folder in folders
            for name in (*_FILES, *_names(folder, f"evaluation/{split}"), *_names(folder, f"explanations/{split}"))
        ]
    )


def _names(folder: Path, part: str) -> list[str]:
    """What a folder of a run holds, without what is still written aside."""
    try:
        names = sorted(path.name for path in (folder / part).iterdir())
    except OSError:
        return []
    return [f"{part}/{name}" for name in names if not name.startswith(".")]
