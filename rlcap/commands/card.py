"""Writes the model card of a run's policy."""

from collections.abc import Sequence
from pathlib import Path

from rlcap.commands.shared import Parser, logger
from rlcap.errors import UserError


def card(arguments: Sequence[str], prog: str = "rlcap card") -> None:
    """Write the model card of a run's policy."""
    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="Write a model card in Hugging Face's format, README.md beside the best checkpoint's policy.",
    )
    parser.add_argument("run", type=str, help="run folder")
    parser.add_argument(
        "--baseline", type=str | None, default=None, help="run to compare with; default: what RUN started from"
    )
    parser.add_argument("--split", type=str, default="test")
    parser.add_argument("--output", type=str | None, default=None, help="file to write in place of that README.md")
    config = parser.parse_args(arguments)
    baseline, output = (Path(each) if each else None for each in (config.baseline, config.output))
    logger.info("card: %s", write_run_card(Path(config.run), config.split, baseline, output))


def write_run_card(run: Path, split: str, baseline: Path | None = None, output: Path | None = None) -> Path:
    """The path of the card, written beside the policy of the run's best checkpoint unless told otherwise.

    Args:
        run: the run folder.
        split: that of the results.
        baseline: the run to compare with; by default the one that the policy started from, if it is there.
        output: the file to write.

    Raises:
        UserError: if the run has no such policy or results, if it cannot be compared with a baseline that was named, or
            if a file that was edited by hand is in the way.
    """
    from rlcap.policies.base import policy_folder
    from rlcap.reporting.card import differences, render_card, write_card
    from rlcap.reporting.origin import origin_of
    from rlcap.reporting.reading.runs import read_runs

    policy = policy_folder(run)
    read = read_runs([run], split).runs[0]
    evaluation = read.evaluation
    if not evaluation.scores:
        raise UserError(f"{run} has no results on the split {split}: rlcap evaluate {run} --split {split}")
    if evaluation.step is not None and policy.parent.name != str(evaluation.step):
        raise UserError(
            f"{evaluation.folder} is of step {evaluation.step}, the best checkpoint of step {policy.parent.name}: "
            "remove it and measure again with rlcap evaluate"
        )
    origin = origin_of(read.config)
    place = baseline or origin.run
    other = None
    if place is not None and (baseline is not None or (place / "evaluation" / split).is_dir()):
        other = read_runs([place], split).runs[0]
        if baseline is not None and not differences(other, read):
            raise UserError(
                f"{run} and {baseline} share no metric scored alike on the same images of the split {split}"
            )
    file = output or policy / "README.md"
    write_card(render_card(read, run.resolve().name, split, origin, policy, other), file)
    return file
