"""Tiny reward models, and what all of them promise."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import tiny
import torch
from tiny_models import noise

from rlcap import cli
from rlcap.policies.backbone_decoder import DecoderSettings
from rlcap.policies.tiny import TinyViT
from rlcap.reward_models.base import RewardModel, load_reward_model
from rlcap.reward_models.captioner import CaptionerScorer
from rlcap.reward_models.dual_encoder import DualEncoder
from rlcap.reward_models.heads import ScalarHead
from rlcap.reward_models.pair import PairScorer
from rlcap.reward_models.text import TextSettings, TinyTextScorer
from rlcap.reward_models.visual_semantic import Heads, PatchEncoder, TinyDualEncoder
from rlcap.reward_models.words import WordEncoder
from rlcap.types import Batch, Captions

REFERENCES = [["a red cat sits here", "the cat sits"], ["a blue dog runs", "the dog runs here", "a dog"], ["the cat"]]
CAPTIONS = ["the cat sits", "a blue dog runs here", "a", "red red red dog here", "the cat"]
WORDS = WordEncoder(width=16, layers=1, heads=2, dropout=0.0, min_count=1, positions=16)


def prepared(model: RewardModel, seed: int = 0) -> RewardModel:
    """A model with its vocabulary, and a head that has learned something."""
    torch.manual_seed(seed)
    model.prepare(REFERENCES)
    for module in model.modules():
        if isinstance(module, ScalarHead):
            for parameter in module.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def text(seed: int = 0) -> RewardModel:
    return prepared(TinyTextScorer(WORDS, TextSettings(hidden=8)), seed)


def dual() -> DualEncoder:
    torch.manual_seed(0)
    return TinyDualEncoder(32, PatchEncoder(width=16, layers=1, heads=2), WORDS, Heads(16, 16, 0.0))


def pair(seed: int = 0, references: bool = False, freeze: bool = False) -> RewardModel:
    return prepared(PairScorer(dual(), freeze=freeze, references=references, hidden=8), seed)


def captioner(seed: int = 0) -> RewardModel:
    decoder = DecoderSettings(width=16, layers=1, heads=2, dropout=0.0, min_count=1, positions=16)
    torch.manual_seed(seed)
    return prepared(CaptionerScorer(TinyViT(32, 16, 16, 1, 2, decoder)), seed)


def images(model: RewardModel) -> Batch:
    """Three images as a model sees them."""
    references = tuple(tuple(captions) for captions in REFERENCES)
    return Batch(("x", "y", "z"), references, pixel_values=model.process_images(noise(3)))


def score(model: RewardModel, batch: Batch, rows: list[int], captions: list[str]) -> torch.Tensor:
    """The scores of captions, each of the image of its row."""
    with torch.no_grad():
        return model.score(model.encode(batch).select(torch.tensor(rows)), model.tokenize(captions, 16))


def padded(captions: Captions, by: int) -> Captions:
    """The same captions with more padding, of any token."""
    more = torch.nn.functional.pad
    return Captions(more(captions.token_ids, (0, by), value=5), more(captions.mask, (0, by), value=False))


def keeps_what_all_promise(model: RewardModel, place: Path) -> None:
    """Check saving, gradients, and that a score depends on neither padding nor company."""
    batch, rows = images(model), [0, 1, 2, 0, 1]
    scores = score(model, batch, rows, CAPTIONS)
    assert scores.dtype == torch.float32
    assert len(set(scores.tolist())) == len(CAPTIONS)

    model.measured({"reference/mean": 0.3})
    model.save(place / "saved")
    loaded = load_reward_model(str(place / "saved")).eval()
    assert type(loaded) is type(model)
    assert torch.equal(score(loaded, batch, rows, CAPTIONS), scores)
    assert torch.equal(loaded.shift, torch.tensor(0.3))
    assert sorted(loaded.state_dict()) == sorted(model.state_dict())

    alone = [score(model, batch, [row], [caption]) for row, caption in zip(rows, CAPTIONS, strict=True)]
    torch.testing.assert_close(torch.cat(alone), scores, rtol=1e-5, atol=1e-5)
    of_one_image = replace(batch.select(torch.tensor([2])), image_ids=("other",))
    torch.testing.assert_close(score(model, of_one_image, [0], CAPTIONS[2:3]), scores[2:3], rtol=1e-5, atol=1e-5)
    longer = padded(model.tokenize(CAPTIONS, 16), 3)
    with torch.no_grad():
        unchanged = model.score(model.encode(batch).select(torch.tensor(rows)), longer)
    torch.testing.assert_close(unchanged, scores, rtol=1e-5, atol=1e-5)

    for each in (model, loaded):
        each.train()
        each.score(each.encode(batch).select(torch.tensor(rows)), each.tokenize(CAPTIONS, 16)).sum().backward()
        learning = {name: parameter.grad for name, parameter in each.named_parameters() if parameter.requires_grad}
        assert any(name.startswith("head") for name in learning)
        assert [name for name, gradient in learning.items() if gradient is None] == []


def learns_in_a_run(config: dict[str, Any], place: Path, **training: Any) -> RewardModel:
    """Train a reward model as the command line does, stopped half way; its best checkpoint."""
    experiment = tiny.experiment({"class_path": "rlcap.algorithms.matching.Matching"}, evaluate_every=2, **training)
    del experiment["policy"], experiment["rewards"]
    experiment["reward_model"] = config
    experiment["training"]["steps"] = 2
    run = str(place / "run")
    cli.main(["train", "--config", str(tiny.write(place / "run.yaml", experiment)), "--output", run])
    cli.main(["train", "--resume", run, "--training.steps", "4"])
    model = load_reward_model(run)
    scores = json.loads((place / "run" / "evaluation" / "test" / "scores.json").read_text())
    best = [json.loads(line) for line in (place / "run" / "metrics.jsonl").read_text().splitlines()]
    means = {line["step"]: line["val/reference/mean"] for line in best if "val/reference/mean" in line}
    assert sorted(means) == [2, 4]
    assert torch.equal(model.shift, torch.tensor(means[scores["step"]]))
    return model
