"""Counts: hand-worked numbers, the plain dictionary they stand for; and the memory of what was built."""

from collections import Counter

import numpy as np
import pytest

from rewards.ngrams import END, Memory, NgramCounts, count_ngrams


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
