"""Counts: hand-worked numbers, the plain dictionary they stand for; and the memory of what was built."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from rewards.base import Candidates
from rewards.bleu import Bleu
from rewards.cider import CiderD
from rewards.ngrams import END, KnownScores, Memory, NgramCounts, count_ngrams
from rewards.rouge import RougeL
from rewards.scene_graph import SceneGraphF


def plain(text: str, end: bool = False) -> Counter[tuple[str, ...]]:
    """The n-grams of one text, counted plainly."""
    words = text.split() + [END] * end
    return Counter(tuple(words[i : i + n]) for n in range(1, 5) for i in range(len(words) - n + 1))


def fingerprint(words: tuple[str, ...]) -> np.uint64:
    """The fingerprint of one n-gram, END included."""
    counts = count_ngrams([" ".join(word for word in words if word != END)], [END in words])
    whole = counts.order == len(words) - 1
    assert whole.sum() == 1
    return np.uint64(counts.ngram[whole][0])


def of_text(counts: NgramCounts, text: int) -> dict[int, int]:
    mine = counts.text == text
    return dict(zip(counts.ngram[mine].tolist(), counts.count[mine].tolist(), strict=True))


@pytest.mark.parametrize("end", [False, True])
def test_counts_are_those_of_a_plain_counter(end: bool) -> None:
    texts = ["a dog and a dog and a dog", "", "cat", "a dog", "dog a"]
    counts = count_ngrams(texts, [end] * len(texts))
    for index, text in enumerate(texts):
        expected = {int(fingerprint(words)): count for words, count in plain(text, end).items()}
        assert of_text(counts, index) == expected
    assert counts.words.tolist() == [len(text.split()) + end for text in texts]
    assert (np.diff(counts.text) >= 0).all()


def test_the_end_is_counted_only_where_the_caption_ended() -> None:
    counts = count_ngrams(["a dog", "a dog"], [True, False])
    assert counts.words.tolist() == [3, 2]
    assert len(of_text(counts, 0)) == 6  # 3 + 2 + 1
    assert len(of_text(counts, 1)) == 3  # 2 + 1


def test_fingerprints_tell_word_orders_apart() -> None:
    words = [f"w{i}" for i in range(60)]
    pairs = count_ngrams([f"{first} {second}" for first in words for second in words])
    assert len(np.unique(pairs.ngram[pairs.order == 1])) == 60 * 60


def test_fingerprints_are_the_same_in_every_process() -> None:
    assert int(count_ngrams(["dog"]).ngram[0]) == 13383670719337165997


def test_no_texts_have_no_ngrams() -> None:
    assert len(count_ngrams([]).ngram) == 0
    assert len(count_ngrams(["", ""]).ngram) == 0


def test_memory_builds_each_key_once_and_forgets_the_oldest() -> None:
    built: list[list[str]] = []

    def build(keys: list[str]) -> list[str]:
        built.append(keys)
        return [key.upper() for key in keys]

    memory = Memory(build, size=2)
    assert memory(["a", "b", "a"]) == ["A", "B", "A"]
    assert memory(["b", "a"]) == ["B", "A"]
    assert built == [["a", "b"]]
    assert memory(["c"]) == ["C"]  # "b" was used longest ago
    assert memory(["a", "c"]) == ["A", "C"]
    assert memory(["a", "b", "c"]) == ["A", "B", "C"]  # more than it keeps
    assert built == [["a", "b"], ["c"], ["b"]]
    assert memory([]) == []
    assert len(memory.known) == 2


def test_known_scores_are_made_once() -> None:
    asked: list[list[int]] = []

    def score(rows: list[int]) -> Any:
        asked.append(rows)
        return np.array([10.0 * row for row in rows])

    known = KnownScores(size=3)
    assert known(["a", "b", "a", "c"], score).tolist() == [0, 10, 0, 30]
    assert known(["c", "d", "a"], score).tolist() == [30, 10, 0]
    assert asked == [[0, 1, 3], [1]]
    assert known(["a"], score).tolist() == [0]  # which the fourth pushed out, but not while it was needed
    assert known([], score).shape == (0,)
    assert asked == [[0, 1, 3], [1], [0]]


@pytest.mark.parametrize(
    "reward", [CiderD(), Bleu(4), RougeL(), SceneGraphF()], ids=lambda reward: type(reward).__name__
)
def test_scores_do_not_depend_on_what_was_scored_before(reward: Any) -> None:
    """To the last bit: a run that is resumed remembers nothing, and must go on like one that was not interrupted."""
    words = ["a", "the", "dog", "cat", "man", "red", "big", "on", "under", "runs", "sits", "with", "and", "two"]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, size=rng.integers(1, 12))) for _ in range(400)]
    references = [texts[row : row + 4] for row in range(200)]
    reward.prepare(references)
    whole = Candidates(texts[200:], references, ended=[row % 3 > 0 for row in range(200)])
    at_once = type(reward)()
    at_once.prepare(references)
    expected = at_once(whole).tolist()
    for size in (1, 7, 50):  # of which each finds a part known
        for start in range(0, 200 - size, 31):
            rows = list(range(start, start + size))
            assert reward(whole.select(rows)).tolist() == [expected[row] for row in rows]
    assert reward(whole).tolist() == expected
    changed = Candidates(["a dog runs"] * 2, [["a dog runs fast"], ["a cat"]])
    assert reward(changed)[0] > reward(changed)[1]
