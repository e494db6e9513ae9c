"""Phrases in captions: whole words, the longest first, plurals, and meanings that contradict one another."""

import pytest

from rewards.base import RewardError
from rewards.phrases import Phrases, plurals, words_of


def found(phrases: Phrases, text: str) -> list[tuple[str, str]]:
    """Each name and the words it was found in."""
    (words,) = words_of([text])
    return [(mention.name, " ".join(words[mention.start : mention.stop])) for mention in phrases.find(words)]


def test_the_longest_phrase_wins_and_no_word_counts_twice() -> None:
    phrases = Phrases({"dog": ["puppy"], "hot dog": ["chili dog"], "stand": []}, ignored=["hot dog stand"])
    assert found(phrases, "A dog, a HOT-DOG and a Puppy.") == [("dog", "dog"), ("hot dog", "hot dog"), ("dog", "puppy")]
    assert found(phrases, "a hot dog stand") == []
    assert found(phrases, "hot hot dog dog") == [("hot dog", "hot dog"), ("dog", "dog")]


def test_only_whole_words_are_found() -> None:
    assert found(Phrases({"cat": []}), "a catalogue of a bobcat") == []
    assert found(Phrases({"cat": []}), "the cat's tail") == [("cat", "cat")]


@pytest.mark.parametrize(
    ("word", "plural"),
    [
        *(("dog", "dogs"), ("bus", "buses"), ("bench", "benches"), ("berry", "berries"), ("boy", "boys")),
        *(("knife", "knives"), ("giraffe", "giraffes"), ("fireman", "firemen"), ("human", "humans")),
        *(("shelf", "shelves"), ("loaf", "loaves"), ("potato", "potatoes"), ("photo", "photos"), ("mouse", "mice")),
        *(("glass", "glasses"), ("person", "people"), ("child", "children")),
    ],
)
def test_plurals(word: str, plural: str) -> None:
    assert plural in plurals(word)


def test_a_listed_plural_keeps_its_own_meaning() -> None:
    phrases = Phrases({"cup": ["glass"], "spectacles": ["glasses"]})
    assert found(phrases, "glasses beside a glass") == [("spectacles", "glasses"), ("cup", "glass")]
    assert found(Phrases({"dog": []}, inflected=False), "dogs") == []


def test_an_ignored_name_is_known_as_a_label_only() -> None:
    phrases = Phrases({"orange": ["tangerine"]}, ignored=["orange"])
    assert found(phrases, "an orange cat with a tangerine") == [("orange", "tangerine")]
    assert phrases.resolve("Orange") == "orange"
    assert phrases.resolve("tangerines") == "orange"
    assert phrases.resolve("cat") is None


def test_contradictions_are_refused() -> None:
    with pytest.raises(RewardError, match="'bear' stands for both 'toy' and 'bear'"):
        Phrases({"bear": [], "toy": ["bear"]})
    with pytest.raises(RewardError, match="'seat' stands for both 'chair' and nothing"):
        Phrases({"chair": ["seat"]}, ignored=["seat"])
    with pytest.raises(RewardError, match=r"'\.\.\.' has no words"):
        Phrases({"dots": ["..."]})
