"""Runs that differ in nothing but their seed are one method."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlcap.reporting.reading.files import as_mapping
from rlcap.reporting.reading.runs import Run

# Settings that change where something lies, what is kept or how fast it goes, but no number of a run.
_WITHOUT_EFFECT = (
    "output.",
    "config.",
    "resume.",
    "training.workers.",
    "training.features.",
    "training.trackers.",
    "training.checkpoint_every.",
    "training.keep_checkpoints.",
    "evaluation.thumbnails.",
)
_SEED = "training.seed"
_START = re.compile(r"^(policy|reward_model)\..*\bdirectory$")
_MOST_SETTINGS = 10_000


@dataclass(frozen=True)
class Method:
    """Runs of one configuration, each with a seed of its own.

    Attributes:
        name: that of the run folders without the seed at its end.
        places: where its runs stand among those of the report.
        runs: its runs, the one that represents the method first.
        seeds: the seeds of its runs; empty where the configuration does not tell.
    """

    name: str
    places: tuple[int, ...]
    runs: tuple[Run, ...]
    seeds: tuple[str, ...]

    def called(self, name: str) -> "Method":
        """The same method under another name."""
        return replace(self, name=name)


def group_runs(runs: Sequence[Run]) -> tuple[tuple[Method, ...], tuple[str, ...]]:
    """The methods in the order of their first runs, and what is odd about the grouping, one line each."""
    notes: list[str] = []
    groups: dict[object, list[int]] = {}
    settings = [_settings(run) for run in runs]
    for place, (run, of_run) in enumerate(zip(runs, settings, strict=True)):
        if of_run is None:
            notes.append(f"{run.name} stands alone: no configuration with a seed could be read.")
            groups[place] = [place]
        else:
            groups.setdefault(_but_for_the_seed(of_run), []).append(place)
    methods: list[Method] = []
    first_of: dict[str, int] = {}
    for places in groups.values():
        kept: dict[str, int] = {}
        for place in places:
            of_run = settings[place]
            seed = "" if of_run is None else of_run[_SEED]
            if seed in kept:
                notes.append(f"{runs[place].name} repeats seed {seed} of {runs[kept[seed]].name} and is left out.")
            else:
                kept[seed] = place
        first = places[0]
        stem = _stem([runs[place].name for place in kept.values()], list(kept))
        if stem in first_of:
            notes.append(_apart(runs, settings, first, first_of[stem]))
        # A run alone keeps its name: a number at its end need not be the seed's.
        name = runs[first].name if stem in first_of or len(kept) == 1 else stem
        first_of.setdefault(stem, first)
        members = tuple(kept.values())
        seeds = tuple(seed for seed in kept if seed)
        methods.append(Method(name, members, tuple(runs[place] for place in members), seeds))
    return tuple(methods), tuple(notes)


def _stem(names: Sequence[str], seeds: Sequence[str]) -> str:
    """What the names of the runs share before their seeds; the first name where they do not end so."""
    pairs = zip(names, seeds, strict=True)
    stems = {re.sub(rf"[-_]{re.escape(seed)}$", "", name) if seed else name for name, seed in pairs}
    return (stems.pop() if len(stems) == 1 else "") or names[0]


def _apart(runs: Sequence[Run], settings: Sequence[dict[str, str] | None], place: int, other: int) -> str:
    """Why a run is no seed of the method whose name it would have."""
    one, two = settings[place] or {}, settings[other] or {}
    keys = [key for key in {**two, **one} if key != _SEED and one.get(key) != two.get(key)]
    shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
    return f"{runs[place].name} is a method of its own: it differs from {runs[other].name} in {shown or 'its name'}."


def _but_for_the_seed(settings: dict[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((key, value) for key, value in settings.items() if key != _SEED)


def _settings(run: Run) -> dict[str, str] | None:
    """The leaves of the configuration that have an effect, by path; None where there are none, too many or no seed."""
    leaves: dict[str, str] = {}
    branches: list[tuple[str, object]] = [("", run.config)]
    visited = 0
    while branches:
        path, value = branches.pop()
        visited += 1
        if visited > _MOST_SETTINGS:  # aliases can nest without end
            return None
        inner = dict(enumerate(value)) if isinstance(value, list) else as_mapping(value)
        if inner:
            branches += [(f"{path}.{key}" if path else str(key), item) for key, item in inner.items()]
        elif not f"{path}.".startswith(_WITHOUT_EFFECT):
            leaves[path] = str(value)
    if _SEED not in leaves:
        return None
    # Seeds may each start from a run of their own seed.
    own = re.compile(rf"[-_]{re.escape(leaves[_SEED])}(?=/|$)")
    return {key: own.sub("-SEED", value) if _START.match(key) else value for key, value in leaves.items()}
