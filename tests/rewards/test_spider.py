"""SPIDEr: half CIDEr-D, half a measure of meaning, each begun before the other is waited for."""

from collections.abc import Sequence

import numpy as np
import pytest
from jaxtyping import Float64
from jsonargparse import ArgumentError, ArgumentParser

from rewards.base import Candidates, Pending, Reward, RewardError, Signature
from rewards.cider import CiderD
from rewards.rouge import RougeL
from rewards.spice import Spice
from rewards.spider import Spider

CANDIDATES = Candidates(
    ["a dog runs on grass", "two men", "a dog runs on grass"],
    [["the dog runs on the grass", "a dog outside"], ["three men", "two men talk"], ["a dog runs on grass", "a dog"]],
)


def corpus_cider() -> CiderD:
    return CiderD(document_frequencies="corpus", eos=False)


def test_half_of_each() -> None:
    expected = 0.5 * corpus_cider()(CANDIDATES) + 0.5 * RougeL()(CANDIDATES)
    assert len(set(expected)) == 3
    reward = Spider(RougeL(), corpus_cider())
    np.testing.assert_allclose(reward(CANDIDATES), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(reward.begin(CANDIDATES)(), expected, rtol=0, atol=1e-12)
    assert reward.corpus(CANDIDATES) == pytest.approx(expected.mean(), abs=1e-12)


def test_only_spice_makes_it_spider() -> None:
    official = "SPIDEr|cider:0.5*(CIDEr-D|df:train|tok:ptb|eos:yes|v:0.1.0)|semantic:0.5*(SPICE|program:1.0|"
    assert str(Spider().signature).startswith(official)
    assert Spider(Spice("Color")).signature.name == "CIDEr-D+SPICE-Color"
    assert Spider(RougeL()).signature.name == "CIDEr-D+ROUGE-L"
    assert "refs:2" in str(Spider(RougeL(), corpus_cider()).signature_of(CANDIDATES))


def test_cider_twice_is_refused() -> None:
    with pytest.raises(RewardError, match="got CIDEr-D again"):
        Spider(corpus_cider())


def test_a_configuration_names_java_rewards() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--reward", type=Reward)

    def built(class_path: str, **init_args: object) -> Reward:
        config = parser.parse_object({"reward": {"class_path": class_path, "init_args": init_args}})
        return parser.instantiate(config).reward

    spider = built(
        "rewards.spider.Spider",
        semantic={"class_path": "rewards.spice.Spice", "init_args": {"category": "Object", "jars": "."}},
        cider={"class_path": "rewards.cider.CiderD", "init_args": {"eos": False}},
    )
    assert spider.signature.name == "CIDEr-D+SPICE-Object"
    assert "eos:no" in str(spider.signature)
    assert built("rewards.spider.Spider").signature.name == "SPIDEr"
    assert built("rewards.meteor.Meteor", processes=2, memory="2G").signature.name == "METEOR"
    with pytest.raises(ArgumentError, match="colour"):
        built("rewards.spice.Spice", category="colour")


class Meaning(Reward):
    """Writes down what it is told."""

    needs_images = True
    background = True

    def __init__(self) -> None:
        self.told: list[str] = []

    @property
    def signature(self) -> Signature:
        return Signature("meaning")

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        return np.ones(len(candidates))

    def begin(self, candidates: Candidates) -> Pending:
        self.told.append("begin")
        return lambda: (self.told.append("wait"), self(candidates))[1]

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        self.told.append(f"prepare {len(references)}")

    def to(self, device: str) -> None:
        self.told.append(device)

    def close(self) -> None:
        self.told.append("close")


def test_the_measure_of_meaning_is_begun_prepared_moved_and_closed() -> None:
    meaning, cider = Meaning(), CiderD()
    reward = Spider(meaning, cider)
    assert reward.needs_images
    assert reward.needs_references
    assert reward.background
    reward.prepare(CANDIDATES.references or [])
    pending = reward.begin(CANDIDATES)
    assert meaning.told == ["prepare 3", "begin"]
    np.testing.assert_allclose(pending(), (cider(CANDIDATES) + 1) / 2, rtol=0, atol=1e-12)
    reward.to("cpu")
    reward.close()
    assert meaning.told == ["prepare 3", "begin", "wait", "cpu", "close"]
