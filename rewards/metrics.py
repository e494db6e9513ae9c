"""Rewards as metrics: the standard ones, all that have a short name, the user's own, and what they make of captions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Reward, RewardError
from rewards.composite import Term, WeightedSum
from rewards.failures import own_errors
from rewards.function import FunctionReward


@dataclass(frozen=True)
class Recipe:
    """How a reward is made; its module is imported only then.

    Attributes:
        class_path: import path of the class.
        init_args: its arguments, as a metric; a recipe among them is made first.
        training_args: its arguments as a training reward, where they are others.
    """

    class_path: str
    init_args: Mapping[str, Any] = field(default_factory=dict)
    training_args: Mapping[str, Any] | None = None

    def make(self) -> Reward:
        """The reward."""
        module, _, name = self.class_path.rpartition(".")
        made = {key: value.make() if isinstance(value, Recipe) else value for key, value in self.init_args.items()}
        reward: Reward = getattr(import_module(module), name)(**made)
        return reward

    def as_yaml(self) -> dict[str, Any]:
        """What a training configuration says under ``reward``."""
        arguments = self.init_args if self.training_args is None else self.training_args
        return {"class_path": self.class_path, **({"init_args": dict(arguments)} if arguments else {})}


# As a metric CIDEr-D takes its document frequencies from what is scored; in training from the training references, and
# then the end of a caption counts as a word.
CIDER_D = Recipe("rewards.cider.CiderD", {"document_frequencies": "corpus", "eos": False}, training_args={})

STANDARD = {
    "CIDEr-D": CIDER_D,
    **{f"BLEU-{order}": Recipe("rewards.bleu.Bleu", {"order": order}) for order in (1, 2, 3, 4)},
    "ROUGE-L": Recipe("rewards.rouge.RougeL"),
}
"""CIDEr-D, BLEU-1 to -4 and ROUGE-L as the COCO caption evaluation computes them; cheap, and without Java."""

NAMED = {
    **STANDARD,
    # by programs in Java
    "METEOR": Recipe("rewards.meteor.Meteor"),
    "SPICE": Recipe("rewards.spice.Spice"),
    "SPIDEr": Recipe("rewards.spider.Spider", {"cider": CIDER_D}, training_args={}),
    "scene-graph": Recipe("rewards.scene_graph.SceneGraphF"),
    # by models; those of other checkpoints are named in a YAML file
    "CLIPScore": Recipe("rewards.clip.ClipScore"),
    "RefCLIPScore": Recipe("rewards.clip.RefClipScore"),
    "self-retrieval": Recipe("rewards.self_retrieval.SelfRetrieval"),
    "BLIP-ITM": Recipe("rewards.itm.BlipItm"),
    "BLIP-ITC": Recipe("rewards.itm.BlipItc"),
    "BLIP2-ITM": Recipe("rewards.itm.Blip2Itm"),
    "BLIP2-ITC": Recipe("rewards.itm.Blip2Itc"),
    "ViLT-ITM": Recipe("rewards.itm.ViltItm"),
    "VQAScore": Recipe("rewards.vqa.VqaScore"),
    "patch-transport": Recipe("rewards.patch_transport.PatchTransport"),
    "token-transport": Recipe("rewards.transport.TokenTransport"),
    "sentence-similarity": Recipe("rewards.semantic.SentenceSimilarity"),
    "fluency": Recipe("rewards.fluency.Fluency"),
    "perplexity": Recipe("rewards.fluency.Perplexity"),
    # penalties, 0 at best
    "CHAIRi": Recipe("rewards.hallucination.Chair"),
    "CHAIRs": Recipe("rewards.hallucination.ChairS"),
    "length": Recipe("rewards.penalties.Length"),
    "brevity": Recipe("rewards.penalties.Brevity"),
    "repetition": Recipe("rewards.penalties.Repetition"),
    "bad-ending": Recipe("rewards.penalties.BadEnding"),
    "self-BLEU": Recipe("rewards.penalties.SelfBleu"),
}
"""All rewards that have a short name: those of the package that need no argument."""


class Summary(TypedDict):
    """A metric over all captions: its value, and how it was made."""

    value: float
    signature: str


def standard_metrics() -> dict[str, Reward]:
    """CIDEr-D, BLEU-1 to -4 and ROUGE-L as the COCO caption evaluation computes them."""
    return {name: recipe.make() for name, recipe in STANDARD.items()}


def reward_named(name: str) -> Reward:
    """The reward of a short name or import path.

    Raises:
        RewardError: if it is neither, or needs arguments.
    """
    recipe = NAMED.get(name)
    if recipe is not None:
        return recipe.make()
    if "," in name:
        apart = " ".join(part.strip() for part in name.split(",") if part.strip())
        raise RewardError(f"no reward is called {name!r}: separate names by spaces, not commas: {apart}")
    known = f"give one of {', '.join(NAMED)}, or the import path of a Reward class or a function"
    found = _imported(name, known)
    if isinstance(found, type) and issubclass(found, Reward):
        try:
            return found()
        except TypeError as error:
            raise RewardError(
                f"cannot make {name} without arguments ({error}): give them in a YAML file, rewards: {{NAME: {{reward: "
                f"{{class_path: {name}, init_args: {{...}}}}}}}}, with --config"
            ) from error
    if callable(found) and not isinstance(found, type):
        return FunctionReward(found)
    raise RewardError(f"{name} is neither a Reward class nor a function: {known}")


def recipe_named(name: str) -> Recipe:
    """How the reward of a name is made: the recipe of a short name, or that of an import path."""
    if name in NAMED:
        return NAMED[name]
    if isinstance(_imported(name, "give an import path"), type):
        return Recipe(name)
    return Recipe("rewards.FunctionReward", {"function": name})


def measure(
    metrics: Mapping[str, Reward], candidates: Candidates
) -> tuple[dict[str, Float64[np.ndarray, " captions"]], dict[str, Summary]]:
    """Each metric's score of each caption, and its value and signature over all captions.

    Raises:
        RewardError: if a metric fails; the message names it.
    """
    each = dict(WeightedSum({name: Term(metric) for name, metric in metrics.items()}).score(candidates).terms)
    summary: dict[str, Summary] = {}
    for name, metric in metrics.items():
        with own_errors(name):
            summary[name] = {
                "value": float(metric.aggregate(candidates, each[name])),
                "signature": str(metric.signature_of(candidates)),
            }
    return each, summary


def _imported(path: str, known: str) -> object:
    module, _, attribute = path.rpartition(".")
    if not module:
        raise RewardError(f"no reward is called {path!r}: {known}")
    try:
        found: object = getattr(import_module(module), attribute)
        return found
    except (ImportError, AttributeError, SyntaxError) as error:
        raise RewardError(f"cannot import the reward {path!r} ({error}): {known}") from error
