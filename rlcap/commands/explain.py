"""Explains captions of a run."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rewards.base import Reward
from rlcap.commands.shared import Parser, logger, split_off
from rlcap.errors import UserError


def explain(arguments: Sequence[str], prog: str = "rlcap explain") -> None:
    """Show which parts of its image drove each word of a caption."""
    from tqdm import tqdm

    from rlcap.config import device_named
    from rlcap.data.base import CaptionDataset
    from rlcap.evaluation.place import evaluation_folder, run_and_step
    from rlcap.explaining.choosing import Choose, chosen_records, named_records, scores_of
    from rlcap.explaining.explain import Explanation, explain_records, refuse_overwriting
    from rlcap.explaining.transport import transport_settings
    from rlcap.models import kind_of, load_model, model_folder
    from rlcap.policies import Policy, quiet
    from rlcap.policies.base import Decoding
    from rlcap.reward_models import RewardModel
    from rlcap.settings import read_settings
    from rlcap.training.run_folder import CONFIG_FILE

    quiet()
    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="Caption images of a split, and write beside them which regions drove each word.",
    )
    parser.add_argument("run", type=str, help="run folder, checkpoint or saved policy")
    parser.add_argument("--data", type=CaptionDataset | None, default=None, help="data set; default: the run's own")
    parser.add_argument("--split", type=str, default="test")
    parser.add_argument("--images", type=str, nargs="+", default=[], help="ids; default: as --choose says")
    parser.add_argument("--count", type=int, default=8, help="how many images are chosen")
    parser.add_argument("--choose", type=Choose, default="spread", help="best and worst are by CIDEr-D, once evaluated")
    parser.add_argument("--decoding", type=Decoding, default=Decoding(), help="default: the run's own")
    parser.add_argument("--transport", type=bool, default=True, help="with the plans of the run's transport rewards")
    parser.add_argument("--output", type=str | None, default=None, help="folder; default: under explanations/")
    parser.add_argument("--overwrite", action="store_true", help="replace explanations that are there")
    parser.add_argument("--device", type=str | None, default=None)
    other_data, others = split_off("--data", arguments)
    asked = Path(parser.parse_args(others).run)
    if kind_of(asked) == RewardModel.kind:
        raise UserError(f"{asked} holds a reward model: explained are captions of policies")
    found = model_folder(asked, Policy)
    run, step = run_and_step(found)
    own = read_settings(run / CONFIG_FILE) if run is not None else {}
    evaluation = own.get("evaluation") or {}
    parser.set_defaults(
        {"data": own.get("data"), **({"decoding": evaluation["decoding"]} if "decoding" in evaluation else {})}
    )
    config = parser.parse_args(arguments)
    if config.data is None:
        raise UserError(f"{asked} belongs to no run with a data set of its own: name one with --data")
    if config.count < 1:
        raise UserError(f"--count must be at least 1, got {config.count}")
    built = parser.instantiate(config)
    dataset = type(built.data).__name__ if run and other_data else None
    evaluated = evaluation_folder(asked, found, config.split, dataset, built.decoding)
    place = Path(config.output or evaluated.parent.parent / "explanations" / evaluated.name)
    refuse_overwriting(place, config.overwrite)

    records = built.data.records(config.split)
    if config.images:
        chosen = named_records(records, config.images, config.split)
    else:
        scores = scores_of(evaluated / "predictions.jsonl") if config.choose != "spread" else {}
        if config.choose != "spread" and not scores:
            logger.info("%s holds no CIDEr-D of images: they are spread over the split", evaluated)
        chosen = chosen_records(records, config.count, config.choose, scores)
    rewards: dict[str, Reward] = {}
    if config.transport:
        of_rewards = Parser(prog=prog)
        of_rewards.add_argument("--rewards", type=dict[str, Reward], default={})
        named = transport_settings(own.get("rewards") or {}, evaluation.get("metrics") or {})
        rewards = of_rewards.instantiate(of_rewards.parse_object({"rewards": named})).rewards
    policy = load_model(str(found), Policy).to(device_named(config.device))
    with ExitStack() as used, tqdm(total=len(chosen), desc=f"explaining {config.split}", dynamic_ncols=True) as bar:
        for reward in rewards.values():
            used.callback(reward.close)
            reward.prepare([record.references for record in built.data.records("train")])
            reward.to(str(policy.device))
        options = Explanation(built.decoding, rewards)
        facts = {"split": config.split, "step": step, "policy": type(policy).__name__}
        explain_records(policy, built.data, chosen, options, place, facts, bar.update)
    logger.info("%d captions, written to %s", len(chosen), place)
