"""Scores files of captions, and rewards against human judgements; needs no model."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from rlcap.commands.shared import Parser, print_scores
from rlcap.errors import UserError


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
    print_scores({name: scored.summary() for name, scored in result.items()})
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
