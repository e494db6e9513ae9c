"""What the policy of a run was before it: a checkpoint of the hub, another run's policy, or fresh weights."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but named lazily

from rlcap.markdown import plain
from rlcap.reporting.reading.files import Source, as_mapping
from rlcap.reporting.reading.mappings import read_mapping

_FOLDERS = re.compile(r"(?<![\w./\\])(?:~|[A-Za-z]:)?[/\\](?![/\\])(?:[^\s/\\|,;:\"']+[/\\])*")
_DEEPEST = 10


@dataclass(frozen=True)
class Origin:
    """Where a policy comes from.

    Attributes:
        name: of what it started from, without the folders before it; empty for fresh weights.
        hub: the checkpoint of the hub that it, or what it started from, started from.
        run: the run folder that it started from, if it is there.
        data: the last part of what the training data are read from.
    """

    name: str = ""
    hub: str | None = None
    run: Path | None = None
    data: str = ""

    @property
    def told(self) -> str:
        """A part of a sentence, in Markdown."""
        return f"started from {plain(self.name)}" if self.name else "started from fresh weights"


def origin_of(config: Mapping[str, Any]) -> Origin:
    """Where the policy of a run's configuration comes from; folders are looked for where the run was started."""
    start = _start(as_mapping(config.get("policy")))
    data = _file(as_mapping(as_mapping(config.get("data")).get("init_args")))
    if not start:
        return Origin(data=data)
    run = _run_of(Path(start))
    hub = _hub(config)
    return Origin(start if hub == start else Path(run or start).name, hub, run, data)


def class_name(class_path: str) -> str:
    """The last part of a class path."""
    return class_path.rpartition(".")[2]


def without_folders(text: str) -> str:
    """The text with absolute paths cut to their last part: where files lie is nobody's concern."""
    return _FOLDERS.sub("", text)


def _start(policy: Mapping[str, Any]) -> str:
    """What the settings of a policy, or of the policy within it, load."""
    arguments = as_mapping(policy.get("init_args"))
    inner = as_mapping(arguments.get("policy"))
    if inner:
        return _start(inner)
    return next((str(arguments[key]) for key in ("checkpoint", "backbone", "directory") if arguments.get(key)), "")


def _hub(config: Mapping[str, Any]) -> str | None:
    """The hub's checkpoint at the beginning of a chain of runs; None where the chain is broken or began afresh."""
    for _ in range(_DEEPEST):
        start = _start(as_mapping(config.get("policy")))
        run = _run_of(Path(start)) if start else None
        if run is None:
            return start if start and _is_hub_name(start) else None
        config = read_mapping(Source(run, "config.yaml"), [])
    return None


def _is_hub_name(name: str) -> bool:
    """Whether it has the form owner/name, and is no folder that is here or where runs are kept by default."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name and not name.startswith("runs/") and not Path(name).exists()


def _run_of(place: Path) -> Path | None:
    """The run folder that a path is, or whose checkpoint or saved model it is."""
    places = [place, *(up.parent for up in list(place.parents)[:2] if up.name == "checkpoints")]
    try:
        return next((folder for folder in places if (folder / "config.yaml").is_file()), None)
    except OSError:  # no path at all, such as one too long
        return None


def _file(arguments: Mapping[str, Any]) -> str:
    """The last part of the first path among a data set's settings."""
    paths = [value for value in arguments.values() if isinstance(value, str) and re.search(r"[/\\.]", value)]
    return re.split(r"[/\\]", paths[0].rstrip("/\\"))[-1] if paths else ""
