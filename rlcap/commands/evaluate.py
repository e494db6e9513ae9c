"""Measures a policy on a split of a data set."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from rewards.base import Reward
from rlcap.commands.shared import Parser, logger, print_scores, split_off
from rlcap.errors import UserError


def evaluate(arguments: Sequence[str], prog: str = "rlcap evaluate") -> None:
    """Measure a policy on a split of a data set."""
    from tqdm import tqdm

    from rlcap.config import device_named
    from rlcap.data.base import CaptionDataset
    from rlcap.data.loader import loader
    from rlcap.evaluation.evaluate import EvaluationOptions, images_of, predict, write_thumbnails
    from rlcap.evaluation.evaluate import score as measure
    from rlcap.evaluation.place import evaluation_folder, refuse_overwriting, run_and_step
    from rlcap.policies import quiet
    from rlcap.policies.base import Decoding, load_policy, policy_folder
    from rlcap.settings import read_settings
    from rlcap.training.run_folder import CONFIG_FILE

    quiet()
    parser = Parser(prog=prog, allow_abbrev=False, description="Decode a split with a policy and score the captions.")
    parser.add_argument("policy", type=str, help="run folder, checkpoint or saved policy")
    parser.add_argument("--data", type=CaptionDataset | None, default=None, help="data set; default: the run's own")
    parser.add_argument("--split", type=str, default="test")
    parser.add_argument("--decoding", type=Decoding, default=Decoding(), help="default: the run's own")
    parser.add_argument(
        "--metrics",
        type=dict[str, Reward],
        default={},
        help="NAME: {class_path: ...}, beside CIDEr-D, BLEU and ROUGE-L; default: the run's own",
    )
    parser.add_argument("--images_per_batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--on_bad_image", type=Literal["stop", "skip"], default="stop")
    parser.add_argument("--thumbnails", type=int, default=48, help="images kept small beside the predictions")
    parser.add_argument("--output", type=str, default=None, help="folder; default: a new one under evaluation/")
    parser.add_argument("--device", type=str, default=None)
    other_data, others = split_off("--data", arguments)
    config = parser.parse_args(others)
    found = policy_folder(Path(config.policy))
    run, step = run_and_step(found)
    if run is not None:
        own = read_settings(run / CONFIG_FILE)
        defaults = {"data": own.get("data")}
        defaults |= {key: value for key, value in own.get("evaluation", {}).items() if key in ("decoding", "metrics")}
        parser.set_defaults(defaults)
    config = parser.parse_args(arguments)
    if config.data is None:
        raise UserError(f"{config.policy} belongs to no run with a data set of its own: name one with --data")
    built = parser.instantiate(config)
    dataset = type(built.data).__name__ if run and other_data else None
    place = evaluation_folder(Path(config.policy), found, config.split, dataset, built.decoding)
    place = Path(config.output or place)
    refuse_overwriting(place)

    if built.metrics:  # their document frequencies and the like are those of the run's own training captions
        own_data = parser.instantiate(parser.parse_args(others)).data if run is not None else built.data
        references = [record.references for record in own_data.records("train")]
        for metric in built.metrics.values():
            metric.prepare(references)
    options = EvaluationOptions(decoding=built.decoding, metrics=built.metrics, thumbnails=config.thumbnails)
    policy = load_policy(str(found)).to(device_named(config.device))
    batches = loader(
        built.data,
        config.split,
        policy.process_images,
        config.images_per_batch,
        workers=config.workers,
        on_bad_image=config.on_bad_image,
    )
    with tqdm(total=batches.length, desc=f"decoding {config.split}", dynamic_ncols=True) as bar:
        predictions = predict(policy, batches, options.decoding, progress=bar.update)
    if batches.skipped:
        logger.warning("skipped %d unreadable images, such as %s", len(batches.skipped), batches.skipped[0])
    with ExitStack() as used:
        for metric in options.all_metrics.values():
            used.callback(metric.close)
            metric.to(str(policy.device))
        evaluation = measure(predictions, options.all_metrics, images_of(built.data, config.split))
    evaluation.write(place, split=config.split, step=step, decoding=str(options.decoding))
    write_thumbnails(built.data, config.split, place / "images", options.thumbnails)
    print_scores(evaluation.scores)
    logger.info("%d captions, %s, written to %s", len(evaluation.predictions), options.decoding, place)
