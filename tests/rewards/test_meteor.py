"""METEOR: the formula by hand, pycocoevalcap's own class as the judge, odd captions, and a program that is killed."""

import gzip
import json
import os
import pickle
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from pycocoevalcap.meteor.meteor import Meteor as Official

from rewards.base import Candidates, RewardError
from rewards.failures import ScoringError
from rewards.java import programs as transport
from rewards.meteor import FIELDS, Meteor, joined, meteor, request, statistics_of
from rewards.tokenize import ptb_tokenize

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="there is no java")
ODD = [
    "",
    " ",
    "...!?",
    "a | b || c ||| d",
    "|||",
    "SCORE ||| a dog ||| a dog",
    "EVAL ||| 1.0 2.0",
    "a dog\nruns\r\non\rgrass",
    "line\u2028separator\u2029and\x85next\x0bline\x0cfeed\x1cfile",
    "ein Hündchen läuft 犬が走る 🐶",
    "\x00 nul \ud83d lone surrogate",
    "no\xa0break 22 3/4 spaces",
    "TITLE IN CAPITALS: DOGS RUNNING",
    "dog " * 2500,
    "x" * 10_000,
    "a dog runs on the grass",
]


@pytest.fixture(scope="module")
def reward() -> Iterator[Meteor]:
    """One for all tests, started where the environment would have Java read ASCII and lower-case in Turkish."""
    with pytest.MonkeyPatch.context() as patch:
        hostile = "-Dfile.encoding=US-ASCII -Duser.language=tr -Duser.country=TR"
        patch.setenv("JAVA_TOOL_OPTIONS", hostile)
        one = Meteor()
        one.prepare([])
        one(Candidates(["a dog"], [["a dog"]]))
    yield one
    one.close()


@pytest.fixture(scope="module")
def official() -> Iterator[Official]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", "-Dfile.encoding=UTF-8 -Duser.language=en")
        one = Official()
    yield one
    one.meteor_p.stdout.close()
    one.meteor_p.stderr.close()
    one.meteor_p.stdin.close()
    one.meteor_p.wait(10)


def official_scores(
    official: Official, captions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, np.ndarray]:
    """Corpus score and sentence scores of pycocoevalcap."""
    gts = {row: list(own) for row, own in enumerate(references)}
    together, each = official.compute_score(gts, {row: [caption] for row, caption in enumerate(captions)})
    return together, np.array(each)


def counts(**given: float) -> str:
    """A line of the program: caption and reference of given words, with one matched chunk of exact content words."""
    row = np.zeros(FIELDS)
    row[0], row[1], row[2], row[3] = given["words"], given["reference"], given["function"], given["reference_function"]
    row[4] = row[5] = given["content_matches"]
    row[6] = row[7] = given["function_matches"]
    row[20], row[21:] = given["chunks"], given["content_matches"] + given["function_matches"]
    return " ".join(map(str, row))


class TestFormula:
    def test_by_hand(self) -> None:
        # 5 words, 2 of them function words; the reference has 4 and 1. 2 content words and 1 function word match.
        line = counts(
            words=5, reference=4, function=2, reference_function=1, content_matches=2, function_matches=1, chunks=2
        )
        matched = 0.75 * 2 + 0.25 * 1
        precision, recall = matched / (0.75 * 3 + 0.25 * 2), matched / (0.75 * 3 + 0.25 * 1)
        mean = precision * recall / (0.85 * precision + 0.15 * recall)
        expected = mean * (1 - 0.6 * (2 / 3) ** 0.2)
        assert meteor(statistics_of(line)[None])[0] == pytest.approx(expected, rel=1e-12)

    def test_matches_weigh_by_their_kind(self) -> None:
        # One content word each side, matched exactly, by stem, as synonym, as paraphrase: 1, 0.6, 0.8, 0.6 of it.
        rows = np.zeros((4, FIELDS))
        rows[:, 0], rows[:, 1], rows[:, 21:] = 1, 1, 1
        for matcher in range(4):
            rows[matcher, 4 + 4 * matcher : 6 + 4 * matcher] = 1
        np.testing.assert_allclose(meteor(rows), [1, 0.6, 0.8, 0.6], rtol=1e-12)

    def test_a_copy_scores_one_and_nothing_in_common_zero(self) -> None:
        whole = {"words": 4, "reference": 4, "function": 1, "reference_function": 1, "chunks": 1}
        copy = statistics_of(counts(**whole, content_matches=3, function_matches=1))
        none = statistics_of(counts(**whole | {"chunks": 0}, content_matches=0, function_matches=0))
        np.testing.assert_allclose(meteor(np.stack([copy, none])), [1, 0], rtol=0, atol=1e-12)

    def test_an_answer_that_is_none(self) -> None:
        for answer in ("Error: specify SCORE or EVAL or SING", "1.0 2.0", ""):
            with pytest.raises(ScoringError, match="instead of 23 numbers"):
                statistics_of(answer)

    def test_texts_cannot_leave_their_field_or_line(self) -> None:
        line = request("a ||| b\nEVAL ||| c\rd", joined(["e ||| f", "g\n|||"]))
        assert line.count("|||") == 3  # after SCORE, between two references, before the caption
        assert not set(line) & {"\n", "\r"}


@pytest.mark.java
@needs_java
class TestProgram:
    def test_equal_to_pycocoevalcap(self, reward: Meteor, official: Official, real_data: Path) -> None:
        with gzip.open(real_data / "coco" / "captions_val2014.json.gz", "rt") as file:
            images = list(json.load(file).values())[:400]
        captions, references = [texts[0] for texts in images], [texts[1:] for texts in images]
        together, each = official_scores(official, ptb_tokenize(captions), [ptb_tokenize(own) for own in references])
        candidates = Candidates(captions, references)
        # The last bit of a few differs: Java's power function is not the C library's.
        np.testing.assert_allclose(reward(candidates), each, rtol=0, atol=3e-16)
        assert reward.corpus(candidates) == pytest.approx(together, abs=1e-15)

    def test_fakecap_is_the_official_number(self, reward: Meteor, real_data: Path) -> None:
        items = json.loads((real_data / "coco" / "fakecap_gold.json").read_text())["items"]
        candidates = Candidates([item["caption"] for item in items], [item["raw_refs"] for item in items])
        scores = reward(candidates)
        assert reward.aggregate(candidates, scores) == pytest.approx(0.19525, abs=5e-6)
        # Resamples: all captions once, and the first alone.
        times = np.stack([np.ones(len(scores)), np.arange(len(scores)) == 0], axis=1).astype(np.float64)
        expected = [reward.aggregate(candidates, scores), scores[0]]
        np.testing.assert_allclose(reward.resampled(candidates, scores)(times), expected, rtol=1e-12)

    def test_odd_captions_do_not_shift_the_others(self, reward: Meteor) -> None:
        plain, reference = "a dog runs fast", ["the dog runs on grass", "a dog"]
        alone = reward(Candidates([plain], [reference]))[0]
        captions = [text for odd in ODD for text in (odd, plain)]
        references = [own for odd in ODD for own in (reference, [odd, reference[0]])]
        scores = reward(Candidates(captions, [reference] * len(captions)))
        np.testing.assert_array_equal(scores[1::2], np.full(len(ODD), alone))
        assert scores[0] == scores[2] == scores[4] == 0
        assert np.isfinite(scores).all()
        assert np.isfinite(reward(Candidates(captions, references))).all()
        assert reward(Candidates([""], [[""]])) == 0

    def test_odd_captions_as_pycocoevalcap_has_them(self, reward: Meteor, official: Official) -> None:
        captions = [odd.encode(errors="replace").decode() for odd in ODD]
        references = [["the dog runs on grass", "Ein Hündchen läuft", "犬が走る"]] * len(ODD)
        tokenized = [ptb_tokenize(own) for own in references]
        _, each = official_scores(official, ptb_tokenize(captions), tokenized)
        np.testing.assert_allclose(reward(Candidates(captions, references)), each, rtol=0, atol=3e-16)

    def test_equal_pairs_are_scored_once(self, reward: Meteor, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []
        ask = reward._known.ask
        monkeypatch.setattr(reward._known, "ask", lambda requests: (asked.extend(requests), ask(requests))[1])
        distinct = [f"a dog with {number} balls" for number in range(16)]
        candidates = Candidates(distinct * 4, [["two dogs"]] * 32 + [["a ball"]] * 32)  # 64, and 32 different ones
        scores = reward(candidates)
        assert len(asked) == len(set(asked)) == 32
        np.testing.assert_array_equal(scores[:16], scores[16:32])
        np.testing.assert_array_equal(reward(candidates), scores)
        reward.aggregate(candidates, scores)
        assert len(asked) == 32

    def test_two_threads_share_it(self, reward: Meteor) -> None:
        candidates = Candidates([f"a dog and {number} cats" for number in range(300)], [["dogs and 7 cats"]] * 300)
        expected: dict[int, np.ndarray] = {}

        def score(thread: int) -> None:
            rows = range(0, 300) if thread == 0 else range(299, -1, -1)
            expected[thread] = reward(candidates.select(rows))[:: 1 if thread == 0 else -1]

        threads = [threading.Thread(target=score, args=(thread,)) for thread in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.testing.assert_array_equal(expected[0], expected[1])
        np.testing.assert_array_equal(reward(candidates), expected[0])

    @pytest.mark.slow
    def test_a_killed_program_is_started_again(self, reward: Meteor, caplog: pytest.LogCaptureFixture) -> None:
        candidates = Candidates([f"{number} men in a boat" for number in range(3000)], [["a man in a boat"]] * 3000)
        crew = reward._processes._crew
        assert crew is not None
        pending = reward.begin(candidates)
        time.sleep(0.2)  # it is at work: all takes more than a second
        os.kill(crew.living[0].pid, signal.SIGKILL)
        scores = pending()
        assert "METEOR was killed by signal 9" in caplog.text
        reward._known._results.clear()
        np.testing.assert_array_equal(reward(candidates), scores)

    def test_too_little_memory_is_told(self) -> None:
        reward = Meteor(memory="16m")
        with pytest.raises(RewardError, match=r"METEOR ended with status 1 \(.*OutOfMemoryError.*memory='16m'"):
            reward(Candidates(["a dog"], [["a dog"]]))
        reward.close()


def test_without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RewardError, match="METEOR runs on Java, and no java is on the PATH"):
        Meteor().prepare([])
    with pytest.raises(RewardError, match="METEOR runs on Java, and no java is on the PATH"):
        Meteor().begin(Candidates(["a dog"], [["a dog"]]))


def test_without_pycocoevalcap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "find_spec", lambda name: None)
    with pytest.raises(RewardError, match=r"meteor-1\.5\.jar of pycocoevalcap is missing: pip install pycocoevalcap"):
        Meteor()(Candidates(["a dog"], [["a dog"]]))


def test_no_captions_need_no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Meteor()(Candidates([], [])).shape == (0,)


def test_a_copy_sent_to_another_process_starts_programs_of_its_own() -> None:
    copy = pickle.loads(pickle.dumps(Meteor(processes=3, remembered=7)))  # noqa: S301 - made here
    assert copy._known.size == 7
    assert copy._processes.processes == 3
    assert copy._known.ask.args == (copy._processes,)  # not yet another's
    assert copy._processes.program() == Meteor()._processes.program()


def test_missing_references_are_refused() -> None:
    with pytest.raises(RewardError, match="references is None"):
        Meteor()(Candidates(["a dog"]))


def test_signature() -> None:
    signature = Meteor().signature_of(Candidates(["a"], [["b", "c"]]))
    assert str(signature) == "METEOR|program:1.5|tok:ptb|refs:2|v:0.1.0"
