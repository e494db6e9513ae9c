"""Measures a policy or a reward model on a split of a data set."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from rewards.base import Reward
from rlcap.commands.shared import Parser, logger, print_scores, split_off
from rlcap.errors import UserError


def evaluate(arguments: Sequence[str], prog: str = "rlcap evaluate") -> None:
    """Measure a policy or a reward model on a split of a data set."""
    from tqdm import tqdm

    from rlcap.config import device_named
    from rlcap.data.base import CaptionDataset
    from rlcap.data.loader import loader
    from rlcap.evaluation.evaluate import EvaluationOptions, write_thumbnails
    from rlcap.evaluation.kinds import measurement_of
    from rlcap.evaluation.place import evaluation_folder, refuse_overwriting, run_and_step
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
        description="Decode a split with a policy and score the captions, or compare a reward model with people.",
    )
    parser.add_argument("model", type=str, help="run folder, checkpoint, saved policy or saved reward model")
    parser.add_argument("--data", type=CaptionDataset | None, default=None, help="data set; default: the run's own")
    parser.add_argument("--split", type=str, default="test")
    parser.add_argument("--decoding", type=Decoding, default=Decoding(), help="of policies; default: the run's own")
    parser.add_argument(
        "--metrics",
        type=dict[str, Reward],
        default={},
        help="NAME: {class_path: ...}, beside CIDEr-D, BLEU and ROUGE-L; default: the run's own",
    )
    parser.add_argument("--images_per_batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--on_bad_image", type=Literal["stop", "skip"], default="stop")
    parser.add_argument("--thumbnails", type=int, default=96, help="images kept small beside the predictions")
    parser.add_argument(
        "--diversity_samples",
        type=int,
        default=0,
        help="captions of an image drawn besides, to see how much they differ",
    )
    parser.add_argument("--output", type=str, default=None, help="folder; default: a new one under evaluation/")
    parser.add_argument("--device", type=str, default=None)
    other_data, others = split_off("--data", arguments)
    config = parser.parse_args(others)
    kind: type[Policy | RewardModel] = RewardModel if kind_of(Path(config.model)) == RewardModel.kind else Policy
    found = model_folder(Path(config.model), kind)
    run, step = run_and_step(found)
    if run is not None:
        own = read_settings(run / CONFIG_FILE)
        defaults = {"data": own.get("data")}
        defaults |= {key: value for key, value in own.get("evaluation", {}).items() if key in ("decoding", "metrics")}
        parser.set_defaults(defaults)
    config = parser.parse_args(arguments)
    if config.data is None:
        raise UserError(f"{config.model} belongs to no run with a data set of its own: name one with --data")
    built = parser.instantiate(config)
    dataset = type(built.data).__name__ if run and other_data else None
    place = evaluation_folder(Path(config.model), found, config.split, dataset, built.decoding)
    place = Path(config.output or place)
    refuse_overwriting(place)

    if built.metrics:  # their document frequencies and the like are those of the run's own training captions
        own_data = parser.instantiate(parser.parse_args(others)).data if run is not None else built.data
        references = [record.references for record in own_data.records("train")]
        for metric in built.metrics.values():
            metric.prepare(references)
    options = EvaluationOptions(
        decoding=built.decoding,
        metrics=built.metrics,
        thumbnails=config.thumbnails,
        diversity_samples=config.diversity_samples,
    )
    model = load_model(str(found), kind).to(device_named(config.device))
    measurement = measurement_of(model, options, built.data)
    batches = loader(
        built.data,
        config.split,
        model.process_images if model.needs_images else None,
        config.images_per_batch,
        workers=config.workers,
        on_bad_image=config.on_bad_image,
    )
    with tqdm(total=batches.length, desc=f"{measurement.what} {config.split}", dynamic_ncols=True) as bar:
        predictions = measurement.predict(model, batches, config.split, list, bar.update)
    if batches.skipped:
        logger.warning("skipped %d unreadable images, such as %s", len(batches.skipped), batches.skipped[0])
    with ExitStack() as used:
        for metric in options.all_metrics.values():
            used.callback(metric.close)
            metric.to(str(model.device))
        evaluation = measurement.score(predictions, config.split)
    evaluation.write(place, split=config.split, step=step, **measurement.facts)
    write_thumbnails(built.data, config.split, place / "images", options.thumbnails)
    print_scores(evaluation.scores)
    made = ", ".join([f"{evaluation.images} images", *measurement.facts.values()])
    logger.info("%s, written to %s", made, place)
