"""SPICE: the original program from the parsed tuples on, its own command line as the judge, and what is missing.

The parser's models are not at hand, so the tuples of these captions are written by hand into the program's data base of
parses, which it asks before it parses. CoreNLP's classes are those of pycocoevalcap's tokeniser (3.4.1).
"""

import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rewards.base import Candidates, RewardError
from rewards.java.programs import JavaProcesses, Known, of_pycocoevalcap
from rewards.spice import CORENLP, OPENED, Spice, SpiceScore, _ask, corenlp, spice_program

needs_java = [pytest.mark.java, pytest.mark.skipif(shutil.which("java") is None, reason="there is no java")]

DOG, RED, BROWN, TWO, BALL = ["dog"], ["dog", "red"], ["dog", "brown"], ["dog", "two"], ["ball"]
CHASES = ["dog", "ball", "chase"]
PARSES = {
    "a red dog chases a ball": [DOG, RED, BALL, CHASES],
    "two brown dogs": [DOG, BROWN, TWO],
    "a red hound": [["hound"], ["hound", "red"]],
    "a tree": [["tree"]],
    "a dog chases a ball": [DOG, BALL, CHASES],
}
REFERENCES = ["a red dog chases a ball", "two brown dogs"]


def class_path(jars: Path) -> str:
    """All of the program's jars."""
    program, libraries = of_pycocoevalcap("spice", "spice-1.0.jar"), of_pycocoevalcap("spice", "lib")
    return os.pathsep.join(map(str, (program, jars / CORENLP[0], libraries / "*")))


@pytest.fixture(scope="module")
def jars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CoreNLP's classes under the names that are looked for; no models."""
    folder = tmp_path_factory.mktemp("jars")
    shutil.copy(of_pycocoevalcap("tokenizer", "stanford-corenlp-3.4.1.jar"), folder / CORENLP[0])
    with zipfile.ZipFile(folder / CORENLP[1], "w") as empty:
        empty.writestr("nothing", "")
    return folder


@pytest.fixture(scope="module")
def parses(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the program's data base, filled with PARSES."""
    folder = tmp_path_factory.mktemp("cache") / "spice" / "parses"
    folder.mkdir(parents=True)
    program = str(Path(__file__).with_name("PutParses.java"))
    command = ["java", *OPENED, "-cp", class_path(jars), program, str(folder), json.dumps(PARSES)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def spice(jars: Path, parses: Path) -> Iterator[Callable[[str], Spice]]:
    """Spice of a category, whose program reads captions too from the data base of parses; all share one process."""
    processes = JavaProcesses(partial(spice_program, jars, parses.parents[1], 1, "1G", str(parses)))

    def make(category: str) -> Spice:
        reward = Spice(category, jars=jars)  # type: ignore[arg-type]
        reward._processes = processes
        reward._known = Known(partial(_ask, processes), 100)
        return reward

    yield make
    processes.close()


def against_the_references(*captions: str) -> Candidates:
    return Candidates(list(captions), [REFERENCES] * len(captions))


class TestFromTheTuplesOn:
    pytestmark = needs_java

    def test_by_hand(self, spice: Callable[[str], Spice]) -> None:
        # The references say dog, red dog, ball, dog chases ball, brown dog, two dogs: 6 tuples. A hound is a dog.
        (hound, tree) = spice("All").begin_categories(against_the_references("a red hound", "a tree"))()
        assert hound["All"] == SpiceScore(2 / 2, 2 / 6, 0.5)
        assert hound["Object"] == SpiceScore(1 / 1, 1 / 2, 2 / 3)
        assert hound["Attribute"] == SpiceScore(1 / 1, 1 / 3, 0.5)
        assert hound["Color"] == SpiceScore(1 / 1, 1 / 2, 2 / 3)
        assert hound["Relation"] == hound["Cardinality"] == SpiceScore(0.0, 0.0, 0.0)
        assert np.isnan([hound["Size"].precision, hound["Size"].recall, hound["Size"].f]).all()
        assert tree["All"] == SpiceScore(0.0, 0.0, 0.0)

    def test_scores_of_each_category(self, spice: Callable[[str], Spice]) -> None:
        candidates = against_the_references("a red hound", "a tree", "a dog chases a ball", "a red hound")
        # Of "dog, ball, dog chases ball" all 3 are among the 6.
        np.testing.assert_allclose(spice("All")(candidates), [0.5, 0, 2 / 3, 0.5], rtol=0, atol=1e-12)
        np.testing.assert_allclose(spice("Object")(candidates), [2 / 3, 0, 1, 2 / 3], rtol=0, atol=1e-12)
        np.testing.assert_allclose(spice("Relation")(candidates), [0, 0, 1, 0], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(spice("Size")(candidates), np.zeros(4))
        assert spice("All").corpus(candidates) == pytest.approx((0.5 + 0 + 2 / 3 + 0.5) / 4, abs=1e-12)

    def test_a_mean_is_over_the_captions_where_the_category_occurs(self, spice: Callable[[str], Spice]) -> None:
        candidates = Candidates(["a red hound", "a tree"], [REFERENCES, ["a tree"]])
        reward = spice("Color")
        scores = reward(candidates)
        np.testing.assert_allclose(scores, [2 / 3, 0], rtol=0, atol=1e-12)
        assert reward.aggregate(candidates, scores) == pytest.approx(2 / 3, abs=1e-12)
        times = np.array([[1.0, 3.0, 0.0], [1.0, 1.0, 2.0]])
        np.testing.assert_allclose(reward.resampled(candidates, scores)(times), [2 / 3, 2 / 3, 0], rtol=0, atol=1e-12)

    def test_no_words_say_nothing(self, spice: Callable[[str], Spice]) -> None:
        candidates = Candidates(["", "...", "a tree", ""], [REFERENCES, REFERENCES, ["", "!"], [""]])
        np.testing.assert_array_equal(spice("All")(candidates), np.zeros(4))

    def test_equal_to_the_programs_own_command_line(
        self, spice: Callable[[str], Spice], jars: Path, parses: Path, tmp_path: Path
    ) -> None:
        captions = ["a red hound", "a tree", "a dog chases a ball", "two brown dogs"]
        items = [{"image_id": row, "test": text, "refs": REFERENCES} for row, text in enumerate(captions)]
        (tmp_path / "input.json").write_text(json.dumps(items))
        own = tmp_path / "parses"
        shutil.copytree(parses, own)
        command = ["java", *OPENED, "-cp", class_path(jars), "edu.anu.spice.SpiceScorer", str(tmp_path / "input.json")]
        done = subprocess.run(
            [*command, "-cache", str(own), "-subset"], check=True, capture_output=True, text=True, timeout=60
        )
        said = dict(re.findall(r"(\w+) tuples\s+f-score:\s+(\S+)", done.stdout))
        assert len(said) == 7
        candidates = against_the_references(*captions)
        for category, f in said.items():
            ours = spice(category.capitalize()).corpus(candidates)
            assert ours == pytest.approx(0.0 if f == "NaN" else float(f), abs=5.1e-4), category  # three digits printed


@pytest.mark.java
@pytest.mark.skipif(shutil.which("java") is None, reason="there is no java")
def test_missing_models_are_told_in_one_line(jars: Path, tmp_path: Path) -> None:
    reward = Spice(jars=jars, cache=tmp_path, memory="1G", threads=1)
    with pytest.raises(RewardError, match=r"edu/stanford/nlp/models/.*run `rlcap fetch spice`"):
        reward(Candidates(["a dog runs"], [["the dog runs"]]))
    reward.close()


def test_missing_jars_are_told_with_all_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLCAP_SPICE", str(tmp_path / "named"))
    with pytest.raises(RewardError, match="rlcap fetch spice") as missing:
        Spice(cache=tmp_path)(Candidates(["a dog"], [["a dog"]]))
    for place in (tmp_path / "named", of_pycocoevalcap("spice", "lib"), tmp_path / "spice"):
        assert str(place) in str(missing.value)


def test_jars_are_found_in_the_first_place_that_has_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(folder: Path, *names: str) -> Path:
        folder.mkdir()
        for name in names:
            (folder / name).touch()
        return folder

    given, named = fill(tmp_path / "given", *CORENLP), fill(tmp_path / "named", CORENLP[0])
    fetched = fill(tmp_path / "spice", *CORENLP)
    monkeypatch.setenv("RLCAP_SPICE", str(named))
    assert corenlp(given, tmp_path) == [given / jar for jar in CORENLP]
    assert corenlp(None, tmp_path) == [fetched / jar for jar in CORENLP]  # `named` lacks one
    (named / CORENLP[1]).touch()
    assert corenlp(None, tmp_path) == [named / jar for jar in CORENLP]
    with pytest.raises(RewardError, match="rlcap fetch spice"):
        corenlp(tmp_path / "empty", tmp_path)


def test_no_captions_need_no_program() -> None:
    assert Spice()(Candidates([], [])).shape == (0,)
    assert Spice().corpus(Candidates([], [])) == 0.0


def test_wrong_arguments() -> None:
    with pytest.raises(RewardError, match="threads must be 0"):
        Spice(threads=-1)


def test_signature() -> None:
    assert str(Spice().signature) == "SPICE|program:1.0|parser:corenlp-3.6.0|tok:ptb|v:0.1.0"
    assert Spice("Color").signature.name == "SPICE-Color"
