"""WordNet as METEOR's archive holds it: synonyms, next wider terms, dictionary forms."""

import pytest

from rewards.base import RewardError
from rewards.scene_graph import wordnet
from rewards.scene_graph.wordnet import first_kin, first_synonym, infinitive, known, singular


def test_synonyms_share_a_synset() -> None:
    assert first_synonym("couch", ["dog", "sofa", "lounge"]) == "sofa"
    assert first_synonym("automobile", ["car"]) == "car"
    assert first_synonym("cellphone", ["mobile phone"]) == "mobile phone"
    assert first_synonym("dog", ["dog"]) == "dog"
    assert first_synonym("dog", ["cat", "puppy"]) is None
    assert first_synonym("grblf", ["grblf"]) == "grblf"  # a word of no dictionary is itself
    assert first_synonym("grblf", ["dog"]) is None


def test_kin_are_one_step_apart() -> None:
    assert first_kin("dog", ["cat", "puppy"]) == "puppy"
    assert first_kin("puppy", ["cat", "dog"]) == "dog"
    assert first_kin("dog", ["table", "grblf"]) is None


def test_dictionary_forms_of_nouns() -> None:
    plurals = "dogs boxes dishes babies glasses buses knives men children geese tomatoes vases corgis grblfs t-shirts"
    expected = "dog box dish baby glass bus knife man child goose tomato vase corgi grblf t-shirt"
    assert [singular(word) for word in plurals.split()] == expected.split()
    for word in ("grass", "bus", "tennis", "dog", "s", ""):
        assert singular(word) == word


def test_dictionary_forms_of_verbs() -> None:
    inflected = (
        "sits riding swimming carried covered sat crossing passing hanging making stopped watches falling putting"
    )
    expected = "sit ride swim carry cover sit cross pass hang make stop watch fall put"
    assert [infinitive(word) for word in inflected.split()] == expected.split()
    for word in ("sit", "ing", "ed", "bring", ""):
        assert infinitive(word) == word


def test_known() -> None:
    assert known("dog")
    assert known("hot_dog")
    assert not known("grblf")


def test_a_missing_archive_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordnet, "ARCHIVE", "nowhere.jar")
    with pytest.raises(RewardError, match="install pycocoevalcap"):
        wordnet._read("synonym/english.synsets")
