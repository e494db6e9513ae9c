"""Scoring from Python: any reward by name, path, object or function; intervals; what is missing."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rewards.base import Candidates, OpenedWhenRead, Reward, RewardError
from rewards.bleu import Bleu
from rewards.cache import Cached
from rewards.cider import CiderD
from rewards.composite import Term, WeightedSum
from rewards.metrics import standard_metrics
from rewards.rouge import RougeL
from rewards.scoring.bootstrap import Bootstrap
from rewards.scoring.result import CAPTIONS_AT_ONCE, open_image, score

CAPTIONS = ["a dog runs on grass", "a man rides a horse", "a cat", "two dogs play in the snow", "a red bus"]
REFERENCES = [
    ["A dog runs over the grass.", "the brown dog runs"],
    ["a man rides a brown horse", "a rider on a horse"],
    ["A cat sleeps on a bed.", "the cat lies down"],
    ["two dogs play", "dogs in the snow"],
    ["a bus on a street", "a red double decker bus"],
]
SEVERAL = Candidates(CAPTIONS, REFERENCES, image_ids=["a", "b", "c", "d", "e"])


def letters(captions: Sequence[str]) -> list[int]:
    return [len(caption) for caption in captions]


class Counted(Reward):
    """Words of each caption; together, the words per distinct word."""

    closed = 0

    def __call__(self, candidates: Candidates) -> Any:
        return np.array([float(len(caption.split())) for caption in candidates.captions])

    def aggregate(self, candidates: Candidates, scores: Any) -> float:
        return float(scores.sum()) / len({word for caption in candidates.captions for word in caption.split()})

    def close(self) -> None:
        type(self).closed += 1


class Bright(Reward):
    """Brightness of each image."""

    needs_images = True

    def __call__(self, candidates: Candidates) -> Any:
        return np.array([float(np.asarray(image).mean()) for image in candidates.images or ()])


def test_rewards_may_be_names_objects_and_functions() -> None:
    result = score(CAPTIONS, REFERENCES, rewards=["CIDEr-D", "rewards.bleu.Bleu", RougeL(), letters])
    own = f"{__name__}.letters"
    assert list(result) == ["CIDEr-D", "rewards.bleu.Bleu", "ROUGE-L", own]
    expected = CiderD(document_frequencies="corpus", eos=False)
    assert result["CIDEr-D"].scores.tolist() == expected(SEVERAL).tolist()
    assert result["CIDEr-D"].value == expected.corpus(SEVERAL)
    assert result["rewards.bleu.Bleu"].value == Bleu(4).corpus(SEVERAL)
    assert result["ROUGE-L"].signature == "ROUGE-L|beta:1.2|tok:ptb|refs:2|v:0.1.0"
    assert result[own].scores.tolist() == letters(CAPTIONS)
    assert list(score(CAPTIONS, REFERENCES)) == list(standard_metrics())
    assert score(SEVERAL, rewards="BLEU-4")["BLEU-4"].value == Bleu(4).corpus(SEVERAL)


@pytest.mark.parametrize("reward", [Bleu(2), Counted(), RougeL()], ids=["bleu", "own", "mean"])
def test_an_interval_is_that_of_the_value_on_resampled_images(reward: Reward) -> None:
    ids = ["a", "b", "a", "c", "b"]
    candidates = Candidates(CAPTIONS, REFERENCES, image_ids=ids)
    found = score(candidates, rewards={"it": reward}, bootstrap=Bootstrap(80, seed=4))["it"]
    rng, values = np.random.default_rng(4), []
    for _ in range(80):
        drawn = ["abc"[number] for number in rng.integers(3, size=3)]
        rows = [row for image in drawn for row in range(5) if ids[row] == image]
        values.append(reward.corpus(candidates.select(rows)))
    assert found.value == pytest.approx(reward.corpus(candidates), rel=1e-12)
    assert found.interval == pytest.approx(np.quantile(values, [0.025, 0.975]), rel=1e-9)
    assert found.interval == score(candidates, rewards={"it": reward}, bootstrap=Bootstrap(80, seed=4))["it"].interval
    one = score(Candidates(CAPTIONS[:1], REFERENCES[:1]), rewards={"it": reward})["it"]
    assert one.interval is None


def test_document_frequencies_stay_those_of_all_captions() -> None:
    found = score(SEVERAL, rewards=["CIDEr-D"], bootstrap=Bootstrap(50, seed=1))["CIDEr-D"]
    rng = np.random.default_rng(1)
    means = [found.scores[rng.integers(5, size=5)].mean() for _ in range(50)]
    assert found.interval == pytest.approx(np.quantile(means, [0.025, 0.975]), rel=1e-12)


def test_a_name_that_is_not_in_the_result_is_told_with_those_that_are() -> None:
    result = score(CAPTIONS, REFERENCES, rewards=["BLEU-1", "BLEU-2"])
    with pytest.raises(KeyError, match="no reward 'BLEU' in this result: there are BLEU-1, BLEU-2"):
        result["BLEU"]
    assert "BLEU" not in result
    assert result.get("BLEU") is None


def test_nothing_is_scored_before_all_training_references_are_counted() -> None:
    words, unprepared = Counted(), CiderD()
    begun: list[int] = []
    with pytest.raises(RewardError, match=r"reward 'cider': CiderD.* or set document_frequencies to 'corpus'"):
        score(CAPTIONS, REFERENCES, rewards={"words": words, "cider": Cached(unprepared)}, progress=begun.append)
    assert begun == []
    unprepared.prepare(REFERENCES)
    assert list(score(CAPTIONS, REFERENCES, rewards={"cider": Cached(unprepared)})) == ["cider"]


def test_terms_with_weights_are_added_up() -> None:
    terms = {"words": Term(Counted(), weight=0.5), "letters": Term(RougeL(), weight=2.0)}
    result = score(SEVERAL, rewards=terms)
    assert list(result) == ["words", "letters", "total"]
    expected = WeightedSum(terms)
    assert result["total"].scores.tolist() == pytest.approx(expected(SEVERAL).tolist())
    assert result["total"].value == pytest.approx(expected.corpus(SEVERAL))
    assert result["total"].signature == str(expected.signature_of(SEVERAL))
    assert list(score(SEVERAL, rewards={"words": Term(Counted())})) == ["words"]


def test_captions_are_scored_in_parts_only_where_that_changes_nothing() -> None:
    count = CAPTIONS_AT_ONCE + 3
    many = Candidates(CAPTIONS * count, REFERENCES * count, image_ids=[str(row) for row in range(5 * count)])
    sizes: list[int] = []

    def position(captions: Sequence[str]) -> list[int]:
        sizes.append(len(captions))
        return list(range(len(captions)))

    done: list[int] = []
    rewards = {"cider": CiderD("corpus", eos=False), "rouge": RougeL(), "place": position}
    result = score(many, rewards=rewards, bootstrap=Bootstrap(2), progress=done.append)
    assert result["rouge"].scores.tolist() == RougeL()(many).tolist()
    assert result["cider"].scores.tolist() == CiderD("corpus", eos=False)(many).tolist()
    assert sizes == [len(many)]
    assert sum(done) == 3 * len(many)
    assert max(done[1:-1]) == CAPTIONS_AT_ONCE


def test_images_may_be_paths_which_are_opened_when_read(tmp_path: Path) -> None:
    paths = []
    for name, grey in (("dark", 10), ("light", 200)):
        paths.append(tmp_path / f"{name}.png")
        Image.new("L", (4, 4), grey).save(paths[-1])
    result = score(["a", "b", "c"], images=[*paths, Image.new("RGB", (4, 4), (30, 30, 30))], rewards={"it": Bright()})
    assert result["it"].scores.tolist() == [10, 200, 30]
    paths[1].unlink()
    with pytest.raises(RewardError, match=r"cannot read image .*light\.png: no such file"):
        open_image(paths[1])
    paths[1].write_bytes(b"no image")
    with pytest.raises(RewardError, match=r"cannot read image .*light\.png: cannot identify"):
        open_image(str(paths[1]))


def test_only_rewards_made_here_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bleu, "close", lambda self: closed.append(self.order))
    closed: list[int] = []
    Counted.closed = 0
    score(SEVERAL, rewards={"BLEU-1": "BLEU-1", "mine": Counted(), "two": Bleu(2)})
    assert closed == [1]
    assert Counted.closed == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"captions": "a dog"}, "captions is the text 'a dog': give a list"),
        ({"captions": []}, "there are no captions to score"),
        ({"captions": ["a"], "references": ["a dog"]}, "references hold the text 'a dog' for a caption"),
        ({"captions": ["a"], "references": []}, "Candidates.references has 0 entries for 1 captions"),
        (
            {"captions": ["a"]},
            "reward 'CIDEr-D' compares with references, and there are none: give references .rlcap sc",
        ),
        ({"captions": ["a"], "references": [[]]}, "reward 'CIDEr-D': caption 'a' has no references"),
        ({"captions": ["a"], "rewards": {"it": Bright()}}, "reward 'it' looks at images, and there are none"),
        ({"captions": SEVERAL, "references": REFERENCES}, "given twice: Candidates hold them"),
        ({"captions": ["a"], "rewards": []}, "there are no rewards to score by"),
        ({"captions": ["a"], "rewards": [letters, letters]}, "two rewards are called .*letters': give a mapping"),
        ({"captions": ["a"], "rewards": ["cider"]}, "no reward is called 'cider'"),
    ],
    ids=lambda value: None if isinstance(value, dict) else str(value)[:20].replace(" ", "-"),
)
def test_what_is_missing_or_wrong_is_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RewardError, match=message):
        score(**arguments)


def test_opened_images_are_passed_on_as_they_are() -> None:
    opened = OpenedWhenRead([lambda: Image.new("RGB", (2, 2), (9, 9, 9))])
    assert score(Candidates(["a"], images=opened), rewards={"it": Bright()})["it"].value == 9


def test_scoring_starts_without_torch_or_scipy() -> None:
    code = (
        "import sys; from rewards.scoring.result import score; import rewards.scoring.comparison; "
        "score(['a dog'], [['a dog']], rewards=['BLEU-4', 'CIDEr-D']); "
        "sys.exit([name for name in ('torch', 'transformers', 'scipy', 'yaml') if name in sys.modules] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
