"""Sentence similarity against sentence-transformers itself, what is embedded and kept, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer, util
from text_encoders import build_sentence_transformer, minilm

from rewards.base import Candidates, RewardError
from rewards.semantic import SentenceSimilarity

SOME = Candidates(
    ["a cat sits", "the dog", "a cat sits", "", "a red dog runs here"],
    [["the cat sits", "a dog"], ["the dog"], ["the cat sits", "a dog"], ["a cat"], ["a blue cat", "the dog", "a dog"]],
)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_sentence_transformer(tmp_path_factory.mktemp("encoder"))


def published(checkpoint: str, candidates: Candidates, how: str) -> list[float]:
    """As sentence-transformers computes it, one caption at a time."""
    model = SentenceTransformer(checkpoint, device="cpu")
    assert candidates.references is not None
    scores = []
    for caption, references in zip(candidates.captions, candidates.references, strict=True):
        cosines = util.cos_sim(model.encode(caption), model.encode(list(references)))[0]
        scores.append(float(cosines.mean() if how == "mean" else cosines.max()))
    return scores


@pytest.mark.parametrize("how", ["mean", "max"])
def test_as_sentence_transformers_computes_it(sentences: str, how: str) -> None:
    reward = SentenceSimilarity(sentences, over_references=how, batch_size=3)  # type: ignore[arg-type]
    scores = reward(SOME)
    assert scores.dtype == np.float64
    assert np.ptp(scores) > 0.05  # the tiny model tells texts apart
    np.testing.assert_allclose(scores, published(sentences, SOME, how), atol=1e-5)
    assert reward(Candidates([], [])).tolist() == []


def test_equal_texts_are_embedded_once_and_the_latest_kept(sentences: str) -> None:
    reward = SentenceSimilarity(sentences, remembered_texts=7)
    run: list[int] = []
    reward.model.register_forward_pre_hook(lambda _, inputs: run.append(len(inputs[0]["input_ids"])))
    scores = reward(SOME)
    assert run == [8]  # 4 captions, "the dog" among them, and 5 texts more of which "a cat sits" is none: all at once
    run.clear()
    np.testing.assert_allclose(reward(SOME), scores, atol=1e-6)
    assert run == [1]  # of 8 distinct texts 7 are kept
    forgetful = SentenceSimilarity(sentences, remembered_texts=0)
    np.testing.assert_allclose(forgetful(SOME), scores, atol=1e-6)
    assert not forgetful._kept.known


def test_scores_do_not_depend_on_the_policys_precision(sentences: str) -> None:
    expected = SentenceSimilarity(sentences)(SOME)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert SentenceSimilarity(sentences)(SOME).tolist() == expected.tolist()
    half = SentenceSimilarity(sentences, precision="bfloat16")
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}
    np.testing.assert_allclose(half(SOME), expected, atol=0.03)  # 8 bits of mantissa


def test_nothing_is_shown(sentences: str, capfd: pytest.CaptureFixture[str]) -> None:
    SentenceSimilarity(sentences)(SOME)
    assert capfd.readouterr() == ("", "")


def test_the_signature_tells_models_apart(sentences: str, tmp_path: Path) -> None:
    signature = str(SentenceSimilarity(sentences).signature)
    assert signature.startswith("SentenceSimilarity|model:sentences@")
    assert signature.endswith("|precision:float32|over:mean|v:0.1.0")
    other = tmp_path / "sentences"  # the same weights and name, another pooling
    shutil.copytree(sentences, other)
    pooling = other / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({**json.loads(pooling.read_text()), "pooling_mode": "max"}))
    assert str(SentenceSimilarity(str(other)).signature) != signature


def test_pickled_weights_and_foreign_code_are_refused(sentences: str, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(sentences, pickled)
    (pickled / "model.safetensors").unlink()
    torch.save(SentenceTransformer(sentences, device="cpu")[0].auto_model.state_dict(), pickled / "pytorch_model.bin")
    SentenceTransformer(str(pickled), device="cpu")  # which sentence-transformers itself reads
    with pytest.raises(RewardError, match=r"cannot load '.*pickled' as SentenceTransformerCheckpoint \(.*safetensors"):
        SentenceSimilarity(str(pickled))

    foreign = tmp_path / "foreign"
    shutil.copytree(sentences, foreign)
    (foreign / "mine.py").write_text("raise SystemExit('this ran')")
    modules = json.loads((foreign / "modules.json").read_text())
    modules[1]["type"] = "mine.Pooling"
    (foreign / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(RewardError, match="cannot load"):
        SentenceSimilarity(str(foreign))


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"cannot load '.*' as .*: give a hub name or the directory"):
        SentenceSimilarity(str(tmp_path))


def test_a_real_model_prefers_a_paraphrase() -> None:
    candidates = Candidates(
        [
            "someone rides a horse on the beach",
            "two bowls of soup on a wooden table",
            "the horse rides a man",
            "a woman plays the guitar",
        ],
        [["a man on horseback gallops along the shore", "a rider and his horse by the sea"]] * 4,
    )
    reward = SentenceSimilarity(minilm())
    scores = reward(candidates)
    assert scores[0] > 0.5
    assert scores[0] > scores[2] > max(scores[1], scores[3]) + 0.2
    np.testing.assert_allclose(scores, published(minilm(), candidates, "mean"), atol=1e-6)
