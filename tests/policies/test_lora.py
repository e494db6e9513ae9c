"""Adapters: what they start as, what they leave alone, where they stand, what becomes of them."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from captioners import WORDS
from families import BASES, Family, stir
from safetensors.torch import load_file
from torch import Tensor, nn

from rlcap.cli import main
from rlcap.errors import UserError
from rlcap.policies import Policy, load_policy
from rlcap.policies.encoder_decoder import EncoderDecoder
from rlcap.policies.lora import Lora
from rlcap.policies.reference import Reference
from rlcap.types import Batch, Captions, Sampling

BatchOf = Callable[[Policy, int], Batch]
TOLERANCE = 1e-5  # float32: (W + BA) x and W x + B (A x) add in different orders


@pytest.fixture(params=list(BASES))
def base_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def build(base_name: str, checkpoints: Callable[[str], str]) -> Callable[[], Policy]:
    """A new policy without adapters, always the same."""
    family: Family = BASES[base_name]

    def build() -> Policy:
        torch.manual_seed(0)
        return family.load(checkpoints(base_name), False).eval()

    return build


def adapted(policy: Policy, **settings: Any) -> Lora:
    lora = Lora(policy, **{"rank": 4, "alpha": 6.0, **settings})
    lora.prepare([[" ".join(WORDS)]])
    return lora


def scores(policy: Policy, batch: Batch, captions: Captions) -> Tensor:
    with torch.no_grad():
        return policy.logprobs(policy.encode(batch), captions, Sampling())


def captions_of(policy: Policy) -> Captions:
    return policy.tokenize(["a red cat sits", "the dog runs here"], 9)


def test_adapters_start_as_nothing_and_alone_learn(build: Callable[[], Policy], batch_of: BatchOf) -> None:
    policy = build()
    batch, captions = batch_of(policy, 2), captions_of(policy)
    before, names = scores(policy, batch, captions), dict(policy.named_parameters())
    lora = adapted(policy).eval()
    assert torch.equal(scores(lora, batch, captions), before)
    learning = [name for name, weight in lora.named_parameters() if weight.requires_grad]
    assert len(learning) == 2 * len(lora.adapters()) > 0
    assert not {id(weight) for weight in names.values() if weight.requires_grad} & {
        id(weight) for weight in lora.parameters() if weight.requires_grad
    }


def test_an_adapted_layer_gives_the_papers_formula(build: Callable[[], Policy]) -> None:
    """W x + (alpha / rank) B A x, for linear layers and for GPT-2's transposed ones."""
    lora = adapted(build()).eval()
    stir(lora)
    kinds = set()
    for layer in lora.adapters().values():
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        inputs = torch.randn(3, a.shape[1], generator=torch.Generator().manual_seed(0))
        expected = layer.base_layer(inputs) + 6.0 / 4 * inputs @ a.T @ b.T
        torch.testing.assert_close(layer(inputs), expected, rtol=1e-5, atol=1e-5)
        kinds.add(type(layer.base_layer).__name__)
    assert kinds <= {"Linear", "Conv1D"}


def test_the_reference_is_the_base_and_costs_no_weights(build: Callable[[], Policy], batch_of: BatchOf) -> None:
    policy = build()
    batch, captions = batch_of(policy, 2), captions_of(policy)
    expected = scores(policy, batch, captions)
    lora = adapted(policy).eval()
    weights = {id(parameter) for parameter in lora.parameters()}
    reference = Reference(lora)
    assert not reference.copied
    assert {id(parameter) for parameter in reference.policy.parameters()} == weights
    stir(lora)
    learned = scores(lora, batch, captions)
    assert not torch.allclose(learned, expected, atol=1e-2)
    assert torch.equal(reference.logprobs(batch, captions, Sampling()), expected)
    assert torch.equal(scores(lora, batch, captions), learned)  # its adapters are back


def test_adapters_are_back_after_an_error(checkpoints: Callable[[str], str]) -> None:
    lora = adapted(EncoderDecoder(checkpoints("vit-gpt2")))
    names = list(dict(lora.named_parameters()))

    def fail() -> None:
        with lora.without_adapters():
            assert lora.adapters() == {}
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(dict(lora.named_parameters())) == names


def test_merged_and_folded_say_the_same(build: Callable[[], Policy], batch_of: BatchOf) -> None:
    policy = build()
    kind, learning = type(policy), {name for name, weight in policy.named_parameters() if weight.requires_grad}
    batch, captions = batch_of(policy, 2), captions_of(policy)
    lora = adapted(policy).eval()
    stir(lora)
    learned = scores(lora, batch, captions)
    merged = lora.merge()
    assert type(merged) is kind
    assert {name for name, weight in merged.named_parameters() if weight.requires_grad} == learning
    torch.testing.assert_close(scores(merged, batch, captions), learned, atol=TOLERANCE, rtol=0)
    assert torch.equal(scores(lora, batch, captions), learned)  # nothing happened to it
    twice = adapted(copy.deepcopy(lora)).eval()  # of what has adapters already
    assert torch.equal(scores(twice, batch, captions), scores(merged, batch, captions))

    lora.fold_adapters()
    folded = scores(lora, batch, captions)
    torch.testing.assert_close(folded, learned, atol=TOLERANCE, rtol=0)
    assert torch.equal(Reference(lora).logprobs(batch, captions, Sampling()), folded)


def test_what_is_saved_holds_the_base_as_it_was(build: Callable[[], Policy], batch_of: BatchOf, tmp_path: Path) -> None:
    policy = build()
    batch, captions = batch_of(policy, 2), captions_of(policy)
    expected, state = scores(policy, batch, captions), {k: v.clone() for k, v in policy.state_dict().items()}
    lora = adapted(policy).eval()
    stir(lora)
    lora.save(tmp_path)
    files = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert files <= {".json", ".safetensors", ".txt"}
    base = load_policy(str(tmp_path / "base")).eval()
    assert type(base) is type(policy)
    assert base.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in base.state_dict().items())
    assert torch.equal(scores(base, batch, captions), expected)
    assert load_policy(str(tmp_path)).state_dict().keys() == lora.state_dict().keys()


# --- which layers


def layers(checkpoint: str, freeze: bool = False, **settings: Any) -> list[str]:
    return list(adapted(EncoderDecoder(checkpoint, freeze_encoder=freeze), **settings).adapters())


def test_adapted_is_every_linear_layer_that_learns_but_the_last(checkpoints: Callable[[str], str]) -> None:
    every = layers(checkpoints("vit-bert"))
    policy = EncoderDecoder(checkpoints("vit-bert"))
    linear = [name for name, module in policy.named_modules() if isinstance(module, nn.Linear)]
    left = {"model.encoder.pooler.dense", "model.decoder.cls.predictions.decoder", "model.enc_to_dec_proj"}
    assert set(every) == set(linear) - left
    frozen = layers(checkpoints("vit-bert"), freeze=True)
    assert frozen == [name for name in every if not name.startswith("model.encoder")]


def test_targets_are_ends_of_names_or_patterns(checkpoints: Callable[[str], str]) -> None:
    checkpoint = checkpoints("vit-gpt2")
    blocks = [f"model.decoder.transformer.h.{number}" for number in (0, 1)]
    assert layers(checkpoint, targets=("q_attn",)) == [f"{block}.crossattention.q_attn" for block in blocks]
    assert layers(checkpoint, targets=("attn.c_attn",)) == [f"{block}.attn.c_attn" for block in blocks]
    assert layers(checkpoint, targets=("*.h.1.*attention.c_attn", "q_proj")) == [
        *(f"model.encoder.layers.{number}.attention.q_proj" for number in (0, 1)),
        f"{blocks[1]}.crossattention.c_attn",
    ]
    assert all("decoder" in name for name in layers(checkpoint, freeze=True, targets=("*c*",)))


@pytest.mark.parametrize(
    "target",
    ["nowhere", "lm_head", "dense", "q_proj", "wte"],
    ids=["no such", "tied to the embedding", "unused pooler", "frozen encoder", "no linear layer"],
)
def test_targets_that_cannot_be_adapted_are_named(checkpoints: Callable[[str], str], target: str) -> None:
    with pytest.raises(UserError, match=rf"wanted in '{target}', .*model\.decoder\.transformer\.h\.\*\.attn\.c_attn"):
        layers(checkpoints("vit-gpt2"), freeze=True, targets=("c_attn", target))


def test_settings_that_make_no_adapters_are_named(checkpoints: Callable[[str], str], tmp_path: Path) -> None:
    policy = EncoderDecoder(checkpoints("vit-gpt2"))
    with pytest.raises(UserError, match="rank of at least 1"):
        Lora(policy, rank=0)
    with pytest.raises(UserError, match="call prepare"):
        Lora(policy).save(tmp_path)
    with pytest.raises(UserError, match="nothing to adapt"):
        adapted(policy.requires_grad_(False))


def test_kept_features_are_those_of_the_base(checkpoints: Callable[[str], str]) -> None:
    policy = EncoderDecoder(checkpoints("vit-gpt2"), freeze_encoder=True)
    before = (policy.fingerprint, policy.feature_shape)
    lora = adapted(policy)
    stir(lora)
    assert (lora.fingerprint, lora.feature_shape) == before
    assert Lora(EncoderDecoder(checkpoints("vit-gpt2"))).feature_shape is None


# --- runs


def experiment(policy: dict[str, Any], **training: Any) -> dict[str, Any]:
    config = tiny.experiment(tiny.ALGORITHMS["mixed"], **training)  # with a penalty on leaving the reference
    config["policy"] = {"class_path": "rlcap.policies.lora.Lora", "init_args": {"policy": policy, "dropout": 0.1}}
    config["optimizer"] = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.1}}
    return config


def test_a_run_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    """The stopped run is the whole one as it stood after its checkpoint of step 2."""
    config = str(tiny.write(tmp_path / "lora.yaml", experiment(tiny.POLICY, steps=4, checkpoint_every=2, kl_every=1)))
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    main(["train", "--config", config, "--output", str(whole), "--training.keep_checkpoints", "9"])
    shutil.copytree(whole, stopped)
    shutil.rmtree(stopped / "checkpoints" / "4")
    shutil.rmtree(stopped / "evaluation")
    main(["train", "--resume", str(stopped)])
    assert (stopped / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    files = sorted((whole / "checkpoints" / "4").rglob("*.safetensors"))
    assert files
    for file in files:
        other = load_file(stopped / file.relative_to(whole))
        assert all(torch.equal(other[name], value) for name, value in load_file(file).items())
    start = load_file(whole / "checkpoints" / "2" / "policy" / "adapters.safetensors")
    end = load_file(whole / "checkpoints" / "4" / "policy" / "adapters.safetensors")
    assert all(not torch.equal(end[name], value) for name, value in start.items())  # they did learn
    assert not (whole / "reference").exists()
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    nats = [row["policy/kl"] for row in rows if "policy/kl" in row]
    assert nats[0] == 0  # before the first update it is its reference
    assert nats[-1] > 1e-4

    run = tiny.trainer(tmp_path, {**experiment(tiny.POLICY), "policy": saved_in(whole)}, "next")
    batch = next(iter(run._loader("train", 4, False)))
    captions = run.model.tokenize([record[0] for record in batch.references], 8)
    run.model.eval()
    learned = load_policy(str(whole)).eval()
    torch.testing.assert_close(scores(run.model, batch, captions), scores(learned, batch, captions), atol=1e-5, rtol=0)
    reference = run.algorithm.reference
    assert reference is not None
    assert torch.equal(reference.logprobs(batch, captions, Sampling()), scores(run.model, batch, captions))
    assert not torch.allclose(scores(learned, batch, captions), base_scores(learned, batch, captions), atol=1e-3)

    main(["merge", str(whole), "--output", str(tmp_path / "merged")])
    merged = load_policy(str(tmp_path / "merged")).eval()
    assert not merged.adapted
    torch.testing.assert_close(scores(merged, batch, captions), scores(learned, batch, captions), atol=1e-5, rtol=0)


def saved_in(run: Path) -> dict[str, Any]:
    return {"class_path": "rlcap.policies.load_policy", "init_args": {"directory": str(run)}}


def base_scores(policy: Policy, batch: Batch, captions: Captions) -> Tensor:
    with policy.without_adapters():
        return scores(policy, batch, captions)


def test_what_has_no_adapters_is_not_merged(
    checkpoints: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    EncoderDecoder(checkpoints("vit-gpt2")).save(tmp_path / "plain")
    with pytest.raises(SystemExit):
        main(["merge", str(tmp_path / "plain"), "--output", str(tmp_path / "merged")])
    assert "has no adapters" in capsys.readouterr().err
