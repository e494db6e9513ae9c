"""Captions made wrong in several ways: each way applies, the negatives differ, and none is true of the image."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from rewards.scene_graph import parse, reference_graph, scene_graph_f, statements
from rewards.statistics import bad_ending
from rlcap.data.caption_edits import says_otherwise
from rlcap.data.negatives import LINGUISTIC, SEMANTIC, Corruptor
from rlcap.data.replacements import Vocabulary
from rlcap.data.shapes import SYNONYMS, Shapes
from rlcap.types import UserError

VOCABULARY = Vocabulary.of(
    ["A black dog chases a white cat .", "A small child in an orange shirt is left of a big bus ."]
)


def test_negatives_of_people_s_captions(captions: Sequence[Sequence[str]]) -> None:
    """On Flickr8k: each kind applies about as often as it should, changes what is said, and leaves the rest."""
    corruptor = Corruptor(Vocabulary.of([caption for own in captions for caption in own], least=2))
    rng = np.random.default_rng(0)
    applied = Counter[str]()
    for own in captions:
        caption = own[0]
        graph = reference_graph([parse(caption)])
        for negative in corruptor(caption, rng, len(corruptor.corruptions)):
            applied[negative.kind] += 1
            assert negative.text != caption
            if negative.kind in SEMANTIC:
                assert scene_graph_f(parse(negative.text), graph, kinds=0.0).f < 1
                assert says_otherwise(caption, negative.text)
                assert set(statements(parse(negative.text))) != set(statements(parse(caption)))
            if negative.kind in ("swap_attributes", "shuffle_words"):
                assert len(negative.text.split()) == len(caption.split())
            if negative.kind in ("replace_attribute", "swap_attributes"):  # an article may change besides
                changed = sum(a != b for a, b in zip(caption.split(), negative.text.split(), strict=True))
                assert 1 <= changed <= 4
            if negative.kind == "truncate":
                assert caption.startswith(negative.text)
                assert bad_ending(negative.text)
    least = {"swap_attributes": 0.15, "replace_attribute": 0.4, "reverse_relation": 0.6, "change_count": 0.5}
    for kind in (*SEMANTIC, *LINGUISTIC):
        assert applied[kind] >= least.get(kind, 0.9) * len(captions), kind


def test_corruptor_draws_different_ones_and_keeps_to_what_it_is_given() -> None:
    corruptor = Corruptor(VOCABULARY)
    caption = "A black dog chases a white cat ."
    found = corruptor(caption, np.random.default_rng(3), 12)
    assert len({negative.text.lower() for negative in found}) == 12
    assert set(corruptor.corruptions) == {negative.kind for negative in found[: len(corruptor.corruptions)]}
    assert found == corruptor(caption, np.random.default_rng(3), 12)
    assert found[:3] == corruptor(caption, np.random.default_rng(3), 3)
    only = Corruptor(VOCABULARY, ["swap_attributes"])
    assert [negative.text for negative in only(caption, np.random.default_rng(0), 5)] == [
        "A white dog chases a black cat ."
    ]
    told = ["A white animal", "a white dog and a black cat", "a dog chases a cat"]
    assert only(caption, np.random.default_rng(0), 5, references=told) == []  # it is true, as far as people say
    with pytest.raises(UserError, match="there is no corruption 'swap', only swap_attributes"):
        Corruptor(VOCABULARY, ["swap"])
    with pytest.raises(UserError, match="name no object"):
        Vocabulary.of(["running fast"])


def test_scenes_are_made_wrong_in_every_way() -> None:
    records = Shapes(train=60, val=0, test=0, image_size=32).records("train")
    vocabulary = Vocabulary.of([caption for record in records for caption in record.references], synonyms=SYNONYMS)
    corruptor = Corruptor(vocabulary)
    rng = np.random.default_rng(0)
    kinds = Counter(
        negative.kind for record in records for negative in corruptor(record.references[0], rng, 8, record.references)
    )
    assert set(kinds) == {*SEMANTIC, *LINGUISTIC}
