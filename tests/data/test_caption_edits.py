"""Edits that make a caption wrong: one place changes, it says something else, and it reads as English."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np

from rewards.scene_graph.tagger import settle, tokenize
from rlcap.data.caption_edits import (
    change_count,
    repeat_words,
    replace_attribute,
    replace_object,
    reverse_relation,
    shuffle_words,
    swap_attributes,
    truncate,
)
from rlcap.data.caption_words import edited, noun_phrases, tagged
from rlcap.data.negatives import Corruption
from rlcap.data.replacements import Vocabulary
from rlcap.data.shapes import SYNONYMS

SAID = [
    "A black dog chases a white cat .",
    "Two men ride brown horses near a wooden fence .",
    "A small child in an orange shirt is left of a big bus .",
    "Three women are sitting on a red bench",
    "an old man holds a shiny umbrella over a little girl",
]
VOCABULARY = Vocabulary.of(SAID)


def every(corruption: Corruption, caption: str, draws: int = 60) -> set[str | None]:
    """All that it makes of a caption in so many draws."""
    return {corruption(caption, np.random.default_rng(seed)) for seed in range(draws)}


def test_swap_attributes() -> None:
    assert every(swap_attributes, "A black dog chases a white cat .") == {"A white dog chases a black cat ."}
    # Of one kind where it can: colour for colour, though sizes and colours could be exchanged too.
    assert every(swap_attributes, "a big red cup on a small blue plate") == {
        "a small red cup on a big blue plate",
        "a big blue cup on a small red plate",
    }
    assert every(swap_attributes, "an orange cup near a red box") == {"a red cup near an orange box"}
    for alone in ("a red cup near a red box", "a cup near a red box", "a red cup and a blue cup", "a large purple cup"):
        assert every(swap_attributes, alone) == {None}
    assert every(swap_attributes, "a big cup near a large box") == {None}  # which says the same


def test_replace_attribute() -> None:
    replace = partial(replace_attribute, vocabulary=VOCABULARY)
    assert every(replace, "a red cup") == {f"{word} cup" for word in ("a black", "a white", "a brown", "an orange")}
    assert every(replace, "an old man walks") == {"a young man walks"}
    assert every(replace, "a wooden umbrella") == {"a shiny umbrella"}  # which the data call an umbrella
    assert every(replace, "a plastic cup") == {None}
    assert every(replace, "a cup") == {None}


def test_replace_object() -> None:
    replace = partial(replace_object, vocabulary=VOCABULARY)
    # A mover for a mover, not one that is named, a synonym or a kind of one (man and woman are kinds of adult alike).
    found = every(replace, "The dog runs .")
    assert found == {f"The {word} runs ." for word in ("cat", "child", "man", "girl")}
    assert every(replace, "two women") == {f"two {word}" for word in ("men", "horses")}
    assert every(replace, "a shirt") == {f"{word}" for word in ("a fence", "a bench", "an umbrella")}
    assert every(replace, "running fast") == {None}
    pets = Vocabulary.of(["a dog", "a cat", "a puppy"])
    assert every(partial(replace_object, vocabulary=pets), "a puppy") == {"a cat"}  # a dog would be true
    same = Vocabulary.of(["a circle", "a disc", "a star"], synonyms=SYNONYMS)
    assert every(partial(replace_object, vocabulary=same), "a disc") == {"a star"}


def test_reverse_relation() -> None:
    assert every(reverse_relation, "A dog chases a cat .") == {"A cat chases a dog ."}
    assert every(reverse_relation, "a red star left of a box") == {
        "a red star right of a box",
        "a box left of a red star",
    }
    assert "A cup is to the right of the box" in every(reverse_relation, "A cup is to the left of the box")
    assert every(reverse_relation, "dogs chase a cat") == {None}  # "a cat chase dogs" is no English
    for same in ("a dog next to a cat", "a dog and a cat", "a dog near a cat", "a cat on a cat", "a dog runs"):
        assert every(reverse_relation, same) == {None}


def test_change_count() -> None:
    assert every(change_count, "Two dogs run .") == {f"{word} dogs run ." for word in ("Three", "Four", "Five", "Six")}
    assert every(change_count, "3 dogs and a cat") == {
        f"{word} dogs and a cat" for word in ("two", "four", "five", "six")
    }
    assert every(change_count, "a dog is asleep") == {f"{word} dogs are asleep" for word in ("two", "three", "four")}
    assert every(change_count, "there is an old man") == {
        f"there are {word} old men" for word in ("two", "three", "four")
    }
    assert every(change_count, "a dog runs") == {None}  # "two dogs runs" is no English
    assert every(change_count, "a boy watches a bus") == {
        f"a boy watches {word} buses" for word in ("two", "three", "four")
    }
    assert every(change_count, "the dogs") == {None}


def test_how_it_is_said() -> None:
    caption = "A man with a dog ."
    for shuffled in every(shuffle_words, caption):
        assert shuffled is not None
        assert shuffled.endswith(" .")
        assert Counter(shuffled.split()) == Counter(caption.split())
    assert every(shuffle_words, "a dog") == {None}
    attached = every(shuffle_words, "A man with a dog.")
    assert {Counter(str(text).split()).total() for text in attached} == {5}
    assert not any("." in str(text) for text in attached)  # nor does it move into the middle
    assert every(truncate, caption) == {"A man with", "A man with a"}
    assert every(truncate, "red dogs run") == {None}
    repeated = every(repeat_words, "A dog runs", draws=200)
    assert {"A dog dog runs", "A dog a dog runs", "A dog runs runs runs runs", "A a dog runs"} < repeated
    assert all(
        text is not None and text.startswith("A ") and set(text.lower().split()) == {"a", "dog", "runs"}
        for text in repeated
    )
    assert every(repeat_words, " ") == {None}


def test_frequent_words_are_put_more_often() -> None:
    """By the square root of their counts: 16 stars to 1 box make 4 to 1; within four standard deviations."""
    vocabulary = Vocabulary.of([*["a star"] * 16, "a box", "a cup"])
    rng = np.random.default_rng(0)
    drawn = Counter(replace_object("a cup", rng, vocabulary) for _ in range(1000))
    assert abs(drawn["a star"] / 1000 - 0.8) < 4 * np.sqrt(0.8 * 0.2 / 1000)


def test_tags_are_the_parsers(captions: Sequence[Sequence[str]]) -> None:
    for caption in [*SAID, "The man's dog isn't in front of 3 ’s", "", "İstanbul’s ÉTÉ", *map(" ".join, captions)]:
        tokens, tags = tokenize(caption)
        settle(tags)
        read = tagged(caption)
        assert [word.tag for word in read] == tags
        for word, token in zip(read, tokens, strict=True):
            assert caption[word.start : word.end].lower().replace("’", "'").startswith(word.text)
            assert word.text == token or " " in word.text or word.tag == "C"


def test_noun_phrases_and_articles() -> None:
    read = tagged("A big red fire truck and the old man's two dogs")
    said = [[read[place].text for place in (*phrase.adjectives, *phrase.nouns)] for phrase in noun_phrases(read)]
    assert said == [["big", "red", "fire", "truck"], ["old", "man"], ["dogs"]]
    assert edited("A red hour with a elephant", {(2, 5): "orange"}) == "An orange hour with a elephant"  # was so before
    assert edited("an old man", {(3, 6): "young"}) == "a young man"
    assert edited("a red man", {(2, 5): "uniformed"}) == "a uniformed man"
