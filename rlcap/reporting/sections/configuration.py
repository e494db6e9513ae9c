"""What each run was: algorithm, policy, seed, steps, time, device; and where the configurations of methods differ."""

from collections.abc import Sequence

from rlcap.reporting.material import Material
from rlcap.reporting.page.blocks import Block, Folded, Rows
from rlcap.reporting.reading.runs import Run
from rlcap.reporting.sections.section import Section
from rlcap.reporting.sections.settings import settings_table
from rlcap.reporting.tables import MISSING, Cell, Table, duration, number

# More rows than these are folded away.
_MOST_RUNS, _MOST_SETTINGS = 8, 12


def section(material: Material) -> Section:
    """The runs, and the settings by which methods differ."""
    table = run_table(material.runs)
    blocks: list[Block] = [Rows(table)]
    if len(material.runs) > _MOST_RUNS:
        blocks = [Folded(f"All {len(material.runs)} runs", (Rows(table),))]
    settings = settings_table(material.methods)
    if settings is not None:
        title = f"{settings.title} ({len(settings.rows)})"
        blocks.append(Folded(title, (Rows(settings),), opened=len(settings.rows) <= _MOST_SETTINGS))
    return Section("runs", "Runs", tuple(blocks))


def run_table(runs: Sequence[Run]) -> Table:
    """What each run was."""
    rows = []
    for run in runs:
        last = {key: int(series.values[-1]) for key, series in run.curves.items() if key in ("images", "captions")}
        seconds = run.training_seconds
        environment = {
            key: str(value) for key, value in run.environment.items() if isinstance(value, str | int | float)
        }
        rows.append(
            (
                Cell(run.name),
                Cell(class_name(run, "algorithm")),
                Cell(class_name(run, "policy")),
                Cell(run.setting("training", "seed") or run.setting("seed") or environment.get("seed", MISSING)),
                Cell(number(run.steps, 0), sort=run.steps),
                Cell(number(run.evaluation.step, 0), sort=run.evaluation.step),
                Cell(run.evaluation.decoding or MISSING),
                Cell(number(run.evaluation.images, 0), sort=run.evaluation.images),
                Cell(number(last.get("images"), 0), sort=last.get("images")),
                Cell(number(last.get("captions"), 0), sort=last.get("captions")),
                Cell(MISSING if seconds is None else duration(seconds), sort=seconds),
                Cell(environment.get("device", MISSING)),
                Cell(environment.get("commit", MISSING)[:12]),
            )
        )
    heads = (
        "Run,Algorithm,Policy,Seed,Steps,Step tested,Decoding,Images tested,Images seen,Captions,Training time,Device"
    )
    return Table(
        "Runs",
        (*heads.split(","), "Commit"),
        tuple(rows),
        (
            "The step tested is, on a test split, that of the checkpoint that was best on the held-out split by "
            "evaluation.best. Training time is that of the steps; "
            "evaluation comes on top.",
        ),
    )


def class_name(run: Run, part: str) -> str:
    """The class that a part of the configuration names, without its module."""
    return run.setting(part, "class_path").rpartition(".")[2] or run.setting(part) or MISSING
