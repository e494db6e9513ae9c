"""The command line: the only module that parses. Each command is a function of its arguments."""

import json
import logging
import sys
from argparse import ArgumentError
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from copy import deepcopy
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NoReturn

from jsonargparse import ArgumentParser, Namespace

from rewards.base import Reward, RewardError
from rlcap import __version__
from rlcap.errors import UserError, place_in_own_code

logger = logging.getLogger("rlcap")
INTERRUPTED = 130  # what shells give for a command stopped by Ctrl-C
RECIPES = Path(__file__).parent / "quickstart"


class Parser(ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message on one line and exit with status 2."""
        if not self.exit_on_error:  # of a part of the configuration: the parser of the whole says which
            raise ArgumentError(None, message) from ex
        if "disabled for Term" in message:
            message = "a term of rewards is written NAME: {reward: {class_path: ...}, weight: 1.0}"
        if "does not correspond to a subclass of Reward" in message:
            message += (
                "; a function is named by {class_path: rewards.FunctionReward, init_args: {function: my_rewards.f}}"
            )
        if "Expected a dot import path string" in message:
            message += "; short names are for rlcap score: give the class path, such as rewards.meteor.Meteor"
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")


# --- rlcap train


def experiment_parser(prog: str) -> Parser:
    """The parser of a training run's configuration."""
    from rlcap.config import Experiment

    parser = Parser(
        prog=prog, allow_abbrev=False, description="Train a captioner: the YAML says by which algorithm, on what."
    )
    parser.add_argument("--config", action="config", help="YAML file; later options override it")
    parser.add_argument("--output", type=str, default="runs/run", help="run folder to make")
    parser.add_argument("--resume", type=str, default=None, help="run folder to go on with; no --config then")
    parser.add_class_arguments(Experiment)
    parser.set_defaults({"schedule": {"class_path": "rlcap.training.schedule.Constant"}})  # the object has no YAML
    return parser


def train(arguments: Sequence[str], prog: str = "rlcap train") -> None:
    """Train in a new run folder, or go on with one."""
    from rlcap.config import read_settings
    from rlcap.policies import quiet
    from rlcap.training import Interrupted
    from rlcap.training.run_folder import CONFIG_FILE, create_run

    quiet()
    parser = experiment_parser(prog)
    files, resumed = _split("--config", arguments)[0], _split("--resume", arguments)[0]
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


def _start_from_checkpoint(config: Namespace, folder: Path) -> None:
    """Take the policy from the latest checkpoint, if there is one, instead of from where the run started."""
    from rlcap.training.checkpoint import Checkpoints

    latest = Checkpoints(folder / "checkpoints").latest()
    if latest is not None:
        where = Namespace(directory=str(latest / "policy"))  # type: ignore[no-untyped-call]
        config.policy = Namespace(class_path="rlcap.policies.load_policy", init_args=where)  # type: ignore[no-untyped-call]


def _dump(parser: Parser, config: Namespace) -> str:
    kept = config.clone()
    for name in ("config", "output", "resume"):
        kept.pop(name, None)
    text: str = parser.dump(kept, skip_unset=False)
    return text


# --- rlcap evaluate


def evaluate(arguments: Sequence[str], prog: str = "rlcap evaluate") -> None:
    """Measure a policy on a split of a data set."""
    from tqdm import tqdm

    from rlcap.config import device_named, read_settings
    from rlcap.data.base import CaptionDataset
    from rlcap.data.loader import loader
    from rlcap.evaluation.evaluate import EvaluationOptions, images_of, predict, write_thumbnails
    from rlcap.evaluation.evaluate import score as measure
    from rlcap.evaluation.place import evaluation_folder, refuse_overwriting, run_and_step
    from rlcap.policies import quiet
    from rlcap.policies.base import Decoding, load_policy, policy_folder
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
    other_data, others = _split("--data", arguments)
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
    _print_scores(evaluation.scores)
    logger.info("%d captions, %s, written to %s", len(evaluation.predictions), options.decoding, place)


# --- rlcap caption


def caption(arguments: Sequence[str], prog: str = "rlcap caption") -> None:
    """Caption photos."""
    import torch

    from rlcap.config import device_named
    from rlcap.data.base import read_image
    from rlcap.policies import quiet
    from rlcap.policies.base import Decoding, load_policy
    from rlcap.types import Batch, Sampling

    quiet()
    parser = Parser(prog=prog, allow_abbrev=False, description="Caption photos with a trained policy.")
    parser.add_argument("images", type=str, nargs="+", help="photos")
    parser.add_argument("--policy", type=str, required=True, help="run folder, checkpoint or saved policy")
    parser.add_argument("--decoding", type=Decoding, default=Decoding())
    parser.add_argument("--samples", type=int, default=0, help="sampled captions per photo instead of the best one")
    parser.add_argument("--sampling", type=Sampling, default=Sampling())
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    parser.add_argument("--json", action="store_true", help="one JSON object per photo")
    parser.add_argument("--device", type=str, default=None)
    config = parser.instantiate(parser.parse_args(arguments))
    if config.samples < 0:
        raise UserError(f"--samples must be 0 (the best caption) or more, got {config.samples}")
    paths = [Path(image) for image in config.images]
    photos = [read_image(path) for path in paths]
    policy = load_policy(config.policy).to(device_named(config.device)).eval()
    for path, photo in zip(paths, photos, strict=True):
        batch = Batch((path.name,), ((),), pixel_values=policy.process_images([photo])).to(policy.device)
        with torch.no_grad():
            encoded = policy.encode(batch)
            if config.samples:
                captions = policy.generate(
                    encoded,
                    batch.image_ids,
                    samples=config.samples,
                    greedy=False,
                    key=(config.seed,),
                    sampling=config.sampling,
                    max_length=config.decoding.max_length,
                )
            else:
                captions = policy.caption(encoded, config.decoding)
        texts = policy.detokenize(captions)
        if config.json:
            sys.stdout.write(json.dumps({"image": str(path), "captions": texts}, ensure_ascii=False) + "\n")
        else:
            sys.stdout.writelines(f"{path}: {text}\n" for text in texts)


# --- rlcap merge


def merge(arguments: Sequence[str], prog: str = "rlcap merge") -> None:
    """Work a policy's adapters into its weights."""
    from rlcap.evaluation.place import refuse_overwriting
    from rlcap.policies import quiet
    from rlcap.policies.base import load_policy

    quiet()
    parser = Parser(prog=prog, allow_abbrev=False, description="Save a policy with its adapters merged in its weights.")
    parser.add_argument("policy", type=str, help="run folder, checkpoint or saved policy")
    parser.add_argument("--output", type=str, required=True, help="folder to make")
    config = parser.parse_args(arguments)
    policy, output = load_policy(config.policy), Path(config.output)
    if not policy.adapted:
        raise UserError(f"the policy of {config.policy} has no adapters to merge")
    refuse_overwriting(output)
    policy.merge().save(output)


# --- rlcap score


def score(arguments: Sequence[str], prog: str = "rlcap score") -> None:
    """Score a file of captions by any reward, and hold the scores against human judgements."""
    from tqdm import tqdm

    from rewards.composite import Term
    from rewards.metrics import NAMED
    from rewards.scoring import score as score_captions
    from rewards.scoring.bootstrap import Bootstrap
    from rewards.scoring.comparison import compare
    from rewards.scoring.files import read_candidates
    from rewards.scoring.judgements import own_references, read_judgements
    from rewards.scoring.score_files import refuse_overwriting, scores_as_csv, scores_as_json, write_new
    from rewards.scoring.weights import WeightFit

    parser = Parser(prog=prog, allow_abbrev=False, description="Score captions; compare scores with human judgements.")
    parser.add_argument(
        "--candidates",
        type=str | None,
        default=None,
        help="captions: COCO results, JSON lines, CSV or TSV (image_id, caption), or .txt with one per line",
    )
    parser.add_argument(
        "--references",
        type=str,
        nargs="+",
        default=[],
        help="{image_id: [caption, ...]}, COCO annotations, a Karpathy file, CSV or TSV; or .txt files, line by line",
    )
    parser.add_argument("--images", type=str | None, default=None, help="folder of the images, named by image id")
    parser.add_argument(
        "--rewards",
        type=str,
        nargs="+",
        default=[],
        help=f"any of {', '.join(NAMED)}, or import paths; default: CIDEr-D, BLEU and ROUGE-L",
    )
    parser.add_argument("--config", type=str | None, default=None, help="YAML file whose rewards score as well")
    parser.add_argument(
        "--training_references",
        type=str | None,
        default=None,
        help="file of references; for rewards that count those of the training set, as CiderD does in a YAML file",
    )
    parser.add_argument("--against", type=str | None, default=None, help="CSV file of human judgements")
    parser.add_argument("--rating", type=str, nargs="+", default=[], help="its columns of ratings")
    parser.add_argument("--where", type=str, nargs="+", default=[], help="which of its rows count: COLUMN=VALUE")
    parser.add_argument("--skip_own_references", action="store_true", help="leave out captions that are references")
    parser.add_argument("--fit_weights", action="store_true", help="learn weights of the rewards from the judgements")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap over images")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--device", type=str | None, default=None, help="of rewards that run a model")
    parser.add_argument("--output", type=str | None, default=None, help="JSON file to write")
    parser.add_argument("--csv", type=str | None, default=None, help="table of each caption's scores to write")
    config = parser.parse_args(arguments)
    if config.candidates is None and config.against is None:
        raise UserError("there are no captions: name a file with --candidates, or one of judgements with --against")
    for option in ("rating", "where", "fit_weights"):
        if config[option] and config.against is None:
            raise UserError(f"--{option} speaks of human judgements: name their file with --against")
    if config.resamples < 1:
        raise UserError(f"--resamples must be at least 1, got {config.resamples}")
    outputs = {"--output": config.output, "--csv": config.csv}
    refuse_overwriting({option: Path(path) for option, path in outputs.items() if path is not None})

    judgements = read_judgements(Path(config.against), config.rating, config.where) if config.against else None
    captions = judgements.captions if config.candidates is None and judgements else Path(config.candidates)
    references = [Path(path) for path in config.references] or None
    images = Path(config.images) if config.images else None
    candidates = read_candidates(captions, references, images, name=config.candidates or config.against)
    if config.skip_own_references:
        own = set(own_references(candidates))
        candidates = candidates.select([row for row in range(len(candidates)) if row not in own])
    terms, recipes = _terms(config, prog)
    bootstrap = Bootstrap(config.resamples, config.seed)
    with ExitStack() as used, tqdm(total=len(candidates) * len(terms), desc="scoring", delay=2, leave=False) as bar:
        for term in terms.values():
            used.callback(term.reward.close if isinstance(term, Term) else term.close)
        result = score_captions(candidates, rewards=terms, bootstrap=bootstrap, progress=bar.update)
    comparison = None
    if judgements is not None:
        comparison = compare(result, judgements, WeightFit() if config.fit_weights else None)
    facts = {} if comparison is None else {"agreement": comparison.as_json()}
    texts = {config.output: partial(scores_as_json, result, **facts), config.csv: partial(scores_as_csv, result)}
    write_new({Path(path): text() for path, text in texts.items() if path is not None})
    _print_scores({name: scored.summary() for name, scored in result.items()})
    if comparison is not None:
        sys.stdout.write(f"\n{comparison.table()}")
        if comparison.weights is not None:
            _print_terms(recipes, comparison.learned(), comparison.remark())


def _terms(config: Namespace, prog: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The rewards that the command line and a YAML file name, ready to score, and how a YAML file says them."""
    from rewards.composite import Term
    from rewards.metrics import STANDARD, recipe_named, reward_named
    from rewards.scoring.files import read_references

    names = config.rewards or ([] if config.config else list(STANDARD))
    terms: dict[str, Any] = {name: reward_named(name) for name in names}
    recipes = {name: recipe_named(name).as_yaml() for name in names}
    if config.config:
        from rlcap.settings import read_settings

        block = read_settings(Path(config.config)).get("rewards")
        if not isinstance(block, dict) or not block:
            raise UserError(
                f"{config.config} names no rewards: write rewards: {{NAME: {{reward: {{class_path: ...}}}}}}"
            )
        parser = Parser(prog=prog)
        parser.add_argument("--rewards", type=dict[str, Term])
        terms |= parser.instantiate(
            parser.parse_object({"rewards": deepcopy(block)})
        ).rewards  # it would change the block
        recipes |= {name: term["reward"] for name, term in block.items()}
    rewards = [term.reward if isinstance(term, Term) else term for term in terms.values()]
    if config.training_references:
        references = list(read_references(Path(config.training_references), training=True).values())
        for reward in rewards:
            reward.prepare(references)
    if config.device or "torch" in sys.modules:  # only a reward that runs a model has loaded it
        from rlcap.config import device_named

        for reward in rewards:
            reward.to(str(device_named(config.device)))
    return terms, recipes


def _print_terms(recipes: Mapping[str, Mapping[str, Any]], learned: Mapping[str, float], remark: str) -> None:
    """Weights learned from judgements, as a training configuration has them."""
    import yaml

    terms = {
        name: {"weight": float(f"{weight:.4g}"), "reward": recipes[name]} for name, weight in learned.items() if weight
    }
    text = yaml.safe_dump({"rewards": terms}, sort_keys=False, allow_unicode=True)
    sys.stdout.write(f"\n# {remark}\n{text}")


# --- rlcap fetch


def fetch(arguments: Sequence[str], prog: str = "rlcap fetch") -> None:
    """Fetch what the package may not carry: the parser of SPICE."""
    from tqdm import tqdm

    from rewards.java.fetch import ARCHIVE, copy_corenlp, download_corenlp
    from rewards.spice import fetched, places_of_corenlp

    parser = Parser(prog=prog, allow_abbrev=False, description="Fetch the parser of SPICE, Stanford CoreNLP 3.6.0.")
    parser.add_argument("what", type=Literal["spice"], help="what is fetched")
    parser.add_argument("--jars", type=str, default=None, help="folder to copy the jars from, instead of a download")
    parser.add_argument("--output", type=str, default=None, help="folder to write; default: where SPICE looks last")
    config = parser.parse_args(arguments)
    folder = Path(config.output or fetched())
    if config.jars:
        made = copy_corenlp(Path(config.jars), folder)
    else:
        logger.info("from %s into %s", ARCHIVE, folder)
        bars: dict[str, Any] = {}

        def show(file: str, have: int, total: int) -> None:
            if file not in bars:
                bars[file] = tqdm(desc=file, total=total, initial=have, unit="B", unit_scale=True, dynamic_ncols=True)
            bars[file].update(have - bars[file].n)

        try:
            made = download_corenlp(folder, show)
        finally:
            for bar in bars.values():
                bar.close()
    sys.stdout.writelines(f"{path}\n" for path in made)
    places = places_of_corenlp()
    if folder.resolve() not in [place.resolve() for place in places]:
        logger.info("SPICE looks in %s: set RLCAP_SPICE to %s", ", ".join(map(str, places)), folder.resolve())


# --- rlcap report


def report(arguments: Sequence[str], prog: str = "rlcap report") -> None:
    """Compare runs in a page that opens offline."""
    from rlcap.reporting import write_report

    parser = Parser(
        prog=prog, allow_abbrev=False, description="Compare run folders in one HTML page and one Markdown file."
    )
    parser.add_argument("runs", type=str, nargs="+", help="run folders; the first is what the others are compared with")
    parser.add_argument("--output", type=str, default="report", help="folder to write")
    parser.add_argument("--split", type=str, default="test")
    parser.add_argument("--title", type=str | None, default=None)
    config = parser.parse_args(arguments)
    page = write_report([Path(run) for run in config.runs], Path(config.output), config.split, config.title)
    logger.info("report: %s", page)


# --- rlcap annotate


def annotate(arguments: Sequence[str], prog: str = "rlcap annotate") -> None:
    """Judge the captions of runs side by side, in a page of this machine's own."""
    from rlcap.annotation import Choice, Server, prepare_session

    parser = Parser(prog=prog, allow_abbrev=False, description="Show images with two captions and keep what is chosen.")
    parser.add_argument("runs", type=str, nargs="+", help="two or more run folders; the page does not name them")
    parser.add_argument("--output", type=str, default="judgements.jsonl", help="file to make or to go on with")
    parser.add_argument("--split", type=str, default="test", help="folder under evaluation/ whose captions are judged")
    parser.add_argument("--images", type=str | None, default=None, help="folder of the images; default: the runs' own")
    parser.add_argument("--rater", type=str | None, default=None, help="who judges; each rater is asked everything")
    parser.add_argument("--questions", type=int | None, default=None, help="ask so many; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of order and sides")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    config = parser.parse_args(arguments)
    images = Path(config.images) if config.images is not None else None
    choice = Choice(config.split, images, config.seed, config.questions, config.rater)
    folders = [Path(run) for run in config.runs]
    session, found = prepare_session(folders, Path(config.output), choice, partial(_images_of_data, prog))
    with Server(session, found, config.port) as server:
        logger.info("open this address in a browser of this machine; Ctrl-C ends")
        sys.stdout.write(f"{server.address}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.serve_forever()
        session.close()
    sys.stdout.writelines(f"{line}\n" for line in session.summary)


def _images_of_data(prog: str, folder: Path, split: str, ids: Set[str]) -> dict[str, Callable[[], Any]]:
    """What opens images that only the run's data set can make; empty where it cannot be had any more."""
    from rlcap.annotation.runs import data_settings

    settings = data_settings(folder)
    if not settings:
        return {}
    logger.info("looking for %d images in the data set of %s", len(ids), folder)
    from rlcap.data.base import CaptionDataset

    parser = Parser(prog=prog, exit_on_error=False)
    parser.add_argument("--data", type=CaptionDataset)
    try:
        data = parser.instantiate(parser.parse_object({"data": settings})).data
        records = data.records(split.partition("-")[0])  # test-beam3 is the split test, decoded otherwise
    except (ArgumentError, UserError) as error:
        logger.warning("the data set of %s cannot be read: %s", folder, " ".join(str(error).split()))
        return {}
    return {record.image_id: partial(data.open_image, record) for record in records if record.image_id in ids}


# --- rlcap quickstart


def quickstart(arguments: Sequence[str], prog: str = "rlcap quickstart") -> None:
    """Teacher forcing, then self-critical training, on scenes that rlcap draws itself; then the report."""
    from rlcap.reporting import write_report
    from rlcap.training.run_folder import refuse_overwriting

    parser = Parser(
        prog=prog,
        allow_abbrev=False,
        description="The whole journey on synthetic scenes: under 5 minutes on 2 CPU cores.",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=str, default="quickstart", help="folder to make")
    config = parser.parse_args(arguments)
    output = Path(config.output)
    refuse_overwriting(output)
    teacher, critical = output / "teacher_forcing", output / "self_critical"
    seed = ["--training.seed", str(config.seed)]
    train(["--config", str(RECIPES / "teacher_forcing.yaml"), "--output", str(teacher), *seed], prog)
    start = ["--policy.init_args.directory", str(teacher)]
    train(["--config", str(RECIPES / "self_critical.yaml"), "--output", str(critical), *start, *seed], prog)
    page = write_report([teacher, critical], output / "report", title="rlcap quick start")
    before, after = (
        json.loads((run / "evaluation/test/scores.json").read_text())["scores"]["CIDEr-D"]["value"]
        for run in (teacher, critical)
    )
    sys.stdout.write(f"report: {page}\n")
    sys.stdout.write(
        f"CIDEr-D on the test split: {before:.3f} after teacher forcing, {after:.3f} after self-critical training "
        f"({(after - before) / max(before, 1e-9):+.1%})\n"
    )


# --- all commands

COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "quickstart": quickstart,
    "train": train,
    "evaluate": evaluate,
    "caption": caption,
    "merge": merge,
    "score": score,
    "fetch": fetch,
    "report": report,
    "annotate": annotate,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on standard error and exit status 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logger.setLevel(logging.INFO)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # for the user's own rewards; last, so that no library is shadowed
    if not given or given[0] in ("-h", "--help"):
        sys.stdout.write(_usage())
        return
    if given[0] == "--version":
        sys.stdout.write(f"rlcap {__version__}\n")
        return
    command = COMMANDS.get(given[0])
    if command is None:
        sys.stderr.write(f"rlcap: error: no command {given[0]!r}; there are {', '.join(COMMANDS)}\n")
        sys.exit(2)
    try:
        command(given[1:])
    except (UserError, RewardError) as error:
        place = place_in_own_code(error.__cause__)  # the line of the user's own reward
        sys.stderr.write(
            f"rlcap {given[0]}: error: {' '.join(str(error).split())}{f' (in {place})' if place else ''}\n"
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write(f"rlcap {given[0]}: interrupted\n")
        sys.exit(INTERRUPTED)


def _usage() -> str:
    lines = [f"  {name:<11} {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: rlcap COMMAND ... (rlcap COMMAND --help says more)", "", *lines, ""])


def _print_scores(scores: Mapping[str, Mapping[str, Any]]) -> None:
    width = max(map(len, scores), default=0)
    for name, own in scores.items():
        interval = "  [{:.4f}, {:.4f}]".format(*own["interval"]) if own.get("interval") else ""
        sys.stdout.write(f"{name:<{width}}  {own['value']:8.4f}{interval}  {own['signature']}\n")


def _split(option: str, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of an option, and of its parts, that must be known before the others are parsed; and the others."""
    values: list[str] = []
    others: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name == option or name.startswith(f"{option}."):
            values += [value] if equals else list(islice(rest, 1))
        else:
            others.append(argument)
    return values, others


if __name__ == "__main__":
    main()
