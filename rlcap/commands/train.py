"""Trains in a new run folder, or goes on with one."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from rlcap.commands.card import write_run_card
from rlcap.commands.shared import INTERRUPTED, Parser, logger, split_off
from rlcap.errors import UserError


def experiment_parser(prog: str) -> Parser:
    """The parser of a training run's configuration."""
    from rlcap.config import Experiment
    from rlcap.policies import Policy
    from rlcap.reward_models import RewardModel

    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="Train a captioner or a reward model: the YAML says by which algorithm, on what.",
    )
    parser.add_argument("--config", action="config", help="YAML file; later options override it")
    parser.add_argument("--output", type=str, default="runs/run", help="run folder to make")
    parser.add_argument("--resume", type=str, default=None, help="run folder to go on with; no --config then")
    # Added by themselves, as what they are: of what may be None, jsonargparse's errors tell of both.
    parser.add_argument("--policy", type=Policy, help="the captioner to start from")
    parser.add_argument("--reward_model", type=RewardModel, help="the reward model to start from, in place of a policy")
    parser.add_class_arguments(Experiment, skip={"policy", "reward_model"})
    parser.set_defaults({"schedule": {"class_path": "rlcap.training.schedule.Constant"}})  # the object has no YAML
    return parser


def train(arguments: Sequence[str], prog: str = "rlcap train") -> None:
    """Train in a new run folder, or go on with one."""
    from rlcap.policies import quiet
    from rlcap.settings import read_settings
    from rlcap.training import Interrupted
    from rlcap.training.run_folder import CONFIG_FILE, create_run

    quiet()
    parser = experiment_parser(prog)
    files, resumed = split_off("--config", arguments)[0], split_off("--resume", arguments)[0]
    if resumed:
        folder = Path(resumed[-1])
        if files:
            raise UserError(f"--resume goes on with {folder / CONFIG_FILE}: leave --config out")
        for argument in arguments:
            if argument.startswith("--") and not argument.startswith(("--resume", "--training.", "--evaluation.")):
                raise UserError(
                    f"{argument} cannot change in a run that goes on: only --training.* and --evaluation.* can"
                )
        if not (folder / CONFIG_FILE).is_file():
            raise UserError(f"nothing to resume: {folder} holds no {CONFIG_FILE}")
        config = parser.parse_args(["--config", str(folder / CONFIG_FILE), *arguments])
        _start_from_checkpoint(config, folder)
    else:
        for file in files:
            read_settings(Path(file))  # or an error that names the file
        config = parser.parse_args(arguments)
        folder = Path(config.output)
    trainer = _trainer(parser, config, folder, bool(resumed))
    trainer.accelerator.wait_for_everyone()  # each has found the folder free
    if not resumed and trainer.accelerator.is_main_process:
        create_run(folder, _dump(parser, config))
    trainer.accelerator.wait_for_everyone()
    try:
        evaluation = trainer.run()
    except Interrupted as stop:
        logger.warning("%s", stop)
        sys.exit(INTERRUPTED)
    if evaluation is not None:
        numbers = "  ".join(f"{name} {scores['value']:.4f}" for name, scores in evaluation.scores.items())
        step = trainer.progress.step if trainer.progress.best_step is None else trainer.progress.best_step
        of = (
            f"step {step}, the best of {trainer.progress.step}" if step else "step 0: no step was better than the start"
        )
        logger.info("%s, %s split: %s (%s)", folder, trainer.evaluation.test, numbers, of)
        if trainer.model.kind == "policy":
            _write_card(folder, trainer.evaluation.test)


def _trainer(parser: Parser, config: Namespace, folder: Path, resumed: bool) -> Any:
    import torch

    from rlcap.config import Experiment
    from rlcap.training.run_folder import refuse_overwriting

    if not resumed:
        refuse_overwriting(folder)
    torch.manual_seed(config.training.seed)
    built = parser.instantiate(config)
    names = Experiment.__dataclass_fields__
    return Experiment(**{name: built[name] for name in names}).trainer(folder)


def _write_card(folder: Path, split: str) -> None:
    """Write the policy's model card; what keeps it from being written does not undo a run that has ended well."""
    try:
        write_run_card(folder, split)
    except UserError as error:
        logger.warning("no model card: %s", error)


def _start_from_checkpoint(config: Namespace, folder: Path) -> None:
    """Take what learns from the latest checkpoint, if there is one, instead of from where the run started."""
    from rlcap.models import kind_of
    from rlcap.training.checkpoint import Checkpoints

    latest = Checkpoints(folder / "checkpoints").latest()
    if latest is not None:
        kind = kind_of(latest) or "policy"
        loader = {"policy": "rlcap.policies.load_policy", "reward_model": "rlcap.reward_models.load_reward_model"}[kind]
        where = Namespace(directory=str(latest / kind))  # type: ignore[no-untyped-call]
        config[kind] = Namespace(class_path=loader, init_args=where)  # type: ignore[no-untyped-call]


def _dump(parser: Parser, config: Namespace) -> str:
    kept = config.clone()
    for name in ("config", "output", "resume"):
        kept.pop(name, None)
    text: str = parser.dump(kept, skip_unset=False)
    return text
