"""A tiny experiment that trains in seconds, for tests of the loop and the command line."""

from pathlib import Path
from typing import Any

import torch
import yaml

from rlcap.commands.train import experiment_parser
from rlcap.config import Experiment
from rlcap.training import Trainer

DATA = {"class_path": "rlcap.data.shapes.Shapes", "init_args": {"train": 48, "val": 8, "test": 8}}
POLICY = {
    "class_path": "rlcap.policies.tiny.TinyViT",
    "init_args": {
        "encoder_width": 16,
        "encoder_layers": 1,
        "heads": 2,
        "decoder": {"width": 16, "layers": 1, "heads": 2, "dropout": 0.1, "min_count": 1},
    },
}
TEACHER_FORCING = {"class_path": "rlcap.algorithms.teacher_forcing.TeacherForcing", "init_args": {}}
SELF_CRITICAL = {
    "class_path": "rlcap.algorithms.self_critical.SelfCritical",
    "init_args": {"samples_per_image": 2, "max_length": 8},
}

SAMPLED = {"samples_per_image": 3, "max_length": 8}


def _algorithm(path: str, **init_args: Any) -> dict[str, Any]:
    return {"class_path": f"rlcap.algorithms.{path}", "init_args": init_args}


def _critic(kind: str) -> dict[str, Any]:
    return {"class_path": f"rlcap.algorithms.critics.{kind}"}


KL = {"reward": 0.1, "loss": 0.1, "target": 1.0}
ALGORITHMS: dict[str, dict[str, Any]] = {
    "teacher_forcing": TEACHER_FORCING,
    "self_critical": SELF_CRITICAL,
    "new_self_critical": _algorithm("self_critical.NewSelfCritical", **SAMPLED),
    "beam_self_critical": _algorithm("self_critical.BeamSelfCritical", beams=3, max_length=8),
    **{
        f"reinforce_{name}": _algorithm(
            "reinforce.Reinforce", baseline={"class_path": f"rlcap.algorithms.baselines.{kind}"}, **SAMPLED
        )
        for name, kind in {
            "none": "NoBaseline",
            "batch_mean": "BatchMean",
            "running_mean": "RunningMean",
            "leave_one_out": "LeaveOneOut",
            "greedy": "Greedy",
        }.items()
    },
    "mixed": _algorithm(
        "self_critical.SelfCritical",
        objective={"teacher_forcing": 0.5, "standardize": True, "entropy_bonus": 0.01, "kl": KL},
        **SAMPLED,
    ),
    "actor_critic": _algorithm("actor_critic.ActorCritic", critic=_critic("SharedCritic"), **SAMPLED),
    "actor_critic_separate": _algorithm(
        "actor_critic.ActorCritic", critic=_critic("SeparateCritic"), values={"warmup": 1}, **SAMPLED
    ),
    "ppo": _algorithm(
        "ppo.PPO", reuse={"epochs": 2, "minibatches": 2}, objective={"standardize": True, "kl": KL}, **SAMPLED
    ),
    "ppo_separate": _algorithm("ppo.PPO", critic=_critic("SeparateCritic"), values={"clip": 0.5}, **SAMPLED),
    "grpo": _algorithm("grpo.GRPO", reuse={"epochs": 2}, **SAMPLED),
    "rloo": _algorithm("rloo.RLOO", reuse={"minibatches": 2}, **SAMPLED),
}

DUAL_ENCODER = {
    "class_path": "rlcap.reward_models.visual_semantic.TinyDualEncoder",
    "init_args": {
        "image_size": 32,
        "vision": {"width": 16, "layers": 1, "heads": 2},
        "text": {"width": 16, "layers": 1, "heads": 2, "dropout": 0.0, "min_count": 1},
        "heads": {"width": 8, "hidden": 16, "dropout": 0.0},
    },
}
CORRUPTIONS = {"per_caption": 2, "synonyms": [["circle", "disc"], ["square", "box"]]}
CONTRASTIVE: dict[str, dict[str, Any]] = {
    "info_nce": _algorithm("contrastive.InfoNCE", captions_per_image=2, corruptions=CORRUPTIONS),
    "info_nce_shared": _algorithm("contrastive.InfoNCE", captions_per_image=3, several="SHARED"),
    "triplet": _algorithm("contrastive.Triplet", captions_per_image=2, corruptions={"per_caption": 1}),
    "triplet_all": _algorithm("contrastive.Triplet", negatives="ALL"),
}
"""Algorithms that train a dual encoder."""

JUDGEMENTS = {
    "class_path": "rlcap.data.simulated.SimulatedJudgements",
    "init_args": {
        "images": {"class_path": DATA["class_path"], "init_args": {"train": 24, "val": 4, "test": 4}},
        "comparisons": 80,
        "held_out": 12,
        "crowd": {
            # who like what a model can like that sees no image: short captions in good language
            "tastes": {
                **dict.fromkeys(["objects", "attributes", "relations"], 0.0),
                **dict.fromkeys(["wrong_objects", "wrong_attributes", "wrong_relations"], 0.0),
                **{"length": 0.3, "repeated": 1.0, "misplaced": 1.0, "unfinished": 2.0},
            },
            "disagreement": 0.0,
            "noise": {"class_path": "rlcap.data.people.BradleyTerry", "init_args": {"temperature": 0.3}},
            "thresholds": [-5.0, -4.0, -3.0],
        },
    },
}
RATINGS = {
    **JUDGEMENTS,
    "init_args": {
        **JUDGEMENTS["init_args"],
        "question": {"class_path": "rlcap.data.simulated.RatingByAll"},
    },
}
TEXT_SCORER = {
    "class_path": "rlcap.reward_models.text.TinyTextScorer",
    "init_args": {"encoder": {"width": 16, "layers": 1, "heads": 2, "dropout": 0.0, "min_count": 1}},
}
PREFERENCES: dict[str, dict[str, Any]] = {
    "bradley_terry": _algorithm("preferences.BradleyTerry", selection={"captions_per_image": 4}, centering=0.01),
    "davidson": _algorithm("preferences.Davidson"),
    "plackett_luce": _algorithm("preferences.PlackettLuce"),
    "regression": _algorithm("preferences.Regression", center=2.5),
    "huber": _algorithm("preferences.HuberRegression", center=2.5, each=True),
    "ordinal": _algorithm("preferences.OrdinalRegression"),
}
"""Algorithms that train a reward model on judgements."""
MATCHING: dict[str, dict[str, Any]] = {
    "matching": _algorithm("matching.Matching", corruptions={"per_caption": 1}),
    "grammar": _algorithm("matching.Grammar", captions_per_image=2),
}
"""Algorithms that train any reward model on references."""
RATED = ("regression", "huber", "ordinal")

RUNNING = {
    "cider_d": {
        "reward": {
            "class_path": "rewards.RunningStandardized",
            "init_args": {"reward": {"class_path": "rewards.cider.CiderD"}, "decay": 0.5},
        }
    }
}
"""A reward that learns from what all processes have scored."""


def experiment(algorithm: dict[str, Any], **training: Any) -> dict[str, Any]:
    """A configuration as YAML would hold it."""
    return {
        "data": DATA,
        "policy": POLICY,
        "algorithm": algorithm,
        "rewards": {"cider_d": {"reward": {"class_path": "rewards.cider.CiderD"}}},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        "schedule": {"class_path": "rlcap.training.schedule.Cosine", "init_args": {"warmup": 2}},
        "training": {"steps": 6, "images_per_batch": 8, "workers": 0, **training},
        "evaluation": {"decoding": {"max_length": 8}, "thumbnails": 2},
    }


def contrastive(algorithm: dict[str, Any], **training: Any) -> dict[str, Any]:
    """A configuration in which a dual encoder learns."""
    made = experiment(algorithm, **training)
    del made["policy"], made["rewards"]
    return {**made, "reward_model": DUAL_ENCODER}


def scoring(algorithm: dict[str, Any], **training: Any) -> dict[str, Any]:
    """A configuration in which a reward model that sees no images learns from references."""
    made = experiment(algorithm, **training)
    del made["policy"], made["rewards"]
    return {**made, "reward_model": TEXT_SCORER}


def judged(algorithm: dict[str, Any], **training: Any) -> dict[str, Any]:
    """A configuration in which a reward model that sees no images learns what simulated people said."""
    rated = [PREFERENCES[name]["class_path"] for name in RATED]
    return {**scoring(algorithm, **training), "data": RATINGS if algorithm["class_path"] in rated else JUDGEMENTS}


def write(path: Path, config: dict[str, Any]) -> Path:
    """The configuration as a YAML file."""
    path.write_text(yaml.safe_dump(config))
    return path


def trainer(folder: Path, config: dict[str, Any], name: str = "run") -> Trainer:
    """The trainer of a configuration, in a run folder of that name, made as the command line makes it."""
    parser = experiment_parser("test")
    path = write(folder / f"{name}.yaml", config)
    torch.manual_seed(0)
    built = parser.instantiate(parser.parse_args(["--config", str(path)]))
    (folder / name).mkdir()
    return Experiment(**{field: built[field] for field in Experiment.__dataclass_fields__}).trainer(folder / name)
