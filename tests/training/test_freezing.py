"""What is frozen by name stays as it is; the rest learns."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from captioners import build_vit

from rlcap.errors import UserError
from rlcap.policies import Policy
from rlcap.policies.freezing import depended_on, freeze, freeze_unreached, some_names
from rlcap.policies.tiny import TinyViT


@pytest.fixture
def policy() -> Policy:
    made = TinyViT(encoder_width=16, encoder_layers=2, heads=2)
    made.prepare([["a red cat"]])
    return made


def frozen(policy: Policy) -> set[str]:
    return {name for name, weight in policy.named_parameters() if not weight.requires_grad}


NAMED: dict[str, Callable[[str], bool]] = {
    "encoder": lambda name: name.startswith("encoder."),
    "region_positions": lambda name: name == "region_positions",
    "*.bias": lambda name: name.endswith(".bias"),
    "encoder.layers.1": lambda name: name.startswith("encoder.layers.1."),
    "decoder.*.attn": lambda name: name.startswith("decoder.") and ".attn." in name,
    "decoder.lm_head": lambda name: name == "decoder.transformer.wte.weight",  # the two are tied
}


@pytest.mark.parametrize("pattern", NAMED)
def test_patterns_name_parameters_and_modules(policy: Policy, pattern: str) -> None:
    freeze(policy, [pattern])
    expected = {name for name, _ in policy.named_parameters() if NAMED[pattern](name)}
    assert frozen(policy) == expected
    assert 0 < len(expected) < len(list(policy.parameters()))


def test_all_patterns_count(policy: Policy) -> None:
    freeze(policy, ["encoder", "*.bias"])
    assert frozen(policy) == {
        name for name, _ in policy.named_parameters() if name.startswith("encoder.") or ".bias" in name
    }


def test_a_pattern_that_names_nothing_is_said(policy: Policy) -> None:
    with pytest.raises(UserError, match=r"names 'layers', but no .* of the model is called so; there are .*encoder\."):
        freeze(policy, ["encoder", "layers"])  # no whole name, and no pattern


def test_names_that_differ_by_number_are_told_once() -> None:
    names = [f"h.{number}.{part}" for number in range(12) for part in ("attn", "mlp.fc1")]
    assert some_names(names) == "h.*.attn, h.*.mlp.fc1"
    assert some_names("abcdefghij", count=5) == "a, c, e, g, i"


@pytest.mark.parametrize("algorithm", ["teacher_forcing", "self_critical"])
def test_frozen_weights_do_not_move_in_a_run(tmp_path: Path, algorithm: str) -> None:
    config = tiny.experiment(tiny.ALGORITHMS[algorithm], steps=2, freeze=["encoder", "*.ln_*"])
    run = tiny.trainer(tmp_path, config)
    before = {name: weight.detach().clone() for name, weight in run.model.named_parameters()}
    run.run()
    for name, weight in run.model.named_parameters():
        assert torch.equal(weight, before[name]) == (name.startswith("encoder.") or ".ln_" in name), name


def test_freezing_everything_leaves_nothing_to_train(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to train"):
        tiny.trainer(tmp_path, tiny.experiment(tiny.TEACHER_FORCING, freeze=["*"]))


def backbone(place: Path) -> dict[str, Any]:
    build_vit(place)
    decoder = {"width": 16, "layers": 1, "heads": 2, "min_count": 1}
    init_args = {"backbone": str(place), "freeze": True, "decoder": decoder}
    return {"class_path": "rlcap.policies.backbone_decoder.BackboneDecoder", "init_args": init_args}


def test_it_goes_together_with_kept_features_adapters_and_recomputing(tmp_path: Path) -> None:
    """The backbone sees each image once, in no step; of the adapters those of the cross-attention alone learn."""
    options = {"features": "temporary", "freeze": ["*.attn", "*.mlp", "policy.project"], "gradient_checkpointing": True}
    config = tiny.experiment(tiny.SELF_CRITICAL, steps=2, **options)
    lora = {"policy": backbone(tmp_path / "vit"), "rank": 2}
    config["policy"] = {"class_path": "rlcap.policies.lora.Lora", "init_args": lora}
    run = tiny.trainer(tmp_path, config)
    before = {name: weight.detach().clone() for name, weight in run.model.named_parameters()}
    seen: list[int] = []
    run.model.policy.encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    run.run()
    assert sum(seen) == 48 + 8 + 8
    moved = {name for name, weight in run.model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved
    assert all(".crossattention." in name and ".lora_" in name for name in moved)


def test_what_no_gradient_would_reach_stops_learning() -> None:
    parts = torch.nn.ModuleDict({name: torch.nn.Linear(2, 2) for name in ("first", "second", "unused", "frozen")})
    parts["frozen"].requires_grad_(False)
    hidden = parts["frozen"](parts["first"](torch.ones(1, 2)))
    output = parts["second"](hidden)
    assert depended_on(hidden, parts) == {id(weight) for weight in parts["first"].parameters()}
    freeze_unreached(output, parts)  # the graph of what was asked before is still there
    assert {name for name, weight in parts.named_parameters() if weight.requires_grad} == {
        f"{part}.{kind}" for part in ("first", "second") for kind in ("weight", "bias")
    }
    parts.requires_grad_(False)
    freeze_unreached(output, parts)
    assert not any(weight.requires_grad for weight in parts.parameters())
