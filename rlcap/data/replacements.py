"""The words that one may put for another in a caption to make it wrong: opposites, and what a data set's captions name.

Word classes are those of :mod:`rewards.scene_graph`; English only.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rewards.scene_graph.lexicon import COLOURS
from rewards.scene_graph.noun_phrases import NOUNS
from rlcap.data.caption_words import noun_phrases, tagged
from rlcap.types import UserError

# --- in any captions

_OPPOSITE_PAIRS = """
big small|large small|little big|small large|huge tiny|tiny huge|tall short|short tall|long short|wide narrow
narrow wide|thick thin|thin thick|high low|low high|old young|young old|open closed|closed open|wet dry|dry wet
empty full|full empty|dark bright|bright dark|clean dirty|dirty clean|male female|female male|black white|white black
happy sad|sad happy|indoor outdoor|outdoor indoor|sunny rainy|larger smaller|smaller larger|bigger smaller
taller shorter|shorter taller|older younger|younger older
"""
OPPOSITES: Mapping[str, str] = {
    one: other for pair in _OPPOSITE_PAIRS.strip().replace("\n", "|").split("|") for one, other in [pair.split()]
}
"""What cannot be true of a thing of which the other is."""

OPPOSITE_RELATIONS: Mapping[str, str] = {
    one: other
    for pair in (
        *("left of|right of", "above|below", "over|under", "in front of|behind", "inside|outside", "into|out of"),
        *("up|down", "onto|off", "on top of|underneath", "toward|away from", "towards|away from"),
    )
    for one, other in [pair.split("|"), reversed(pair.split("|"))]
} | {"beneath": "over", "off of": "onto", "inside of": "outside of", "outside of": "inside of"}
"""The other way round, for words between two things. That of ``to the left of`` follows from its last words."""

BOTH_WAYS = frozenset(
    [
        *("near", "next to", "beside", "with", "alongside", "by", "between", "among", "of", "like", "across from"),
        *("in front of", "behind"),
    ]
)
"""Relations that hold, or say little that is wrong, when two things change places, or whose opposite says it better."""


# --- in those of a data set


@dataclass(frozen=True)
class Vocabulary:
    """The words of a data set's captions that one may put for another.

    Attributes:
        singular: how often each object is named in the singular.
        plural: how often each plural occurs, by its own form.
        adjectives: the adjectives of each object, how often each.
        colours: how often each colour occurs.
        same: the first word of the group for each word of a group of words that are the same.
    """

    singular: Mapping[str, int]
    plural: Mapping[str, int]
    adjectives: Mapping[str, Mapping[str, int]]
    colours: Mapping[str, int]
    same: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, captions: Iterable[str], least: int = 1, synonyms: Sequence[Sequence[str]] = ()) -> "Vocabulary":
        """The vocabulary of captions.

        Args:
            captions: of a data set.
            least: words that occur less often are left out.
            synonyms: further words that are the same, in groups, besides those of WordNet.
        """
        singular: Counter[str] = Counter()
        plural: Counter[str] = Counter()
        colours: Counter[str] = Counter()
        adjectives: dict[str, Counter[str]] = {}
        for caption in captions:
            read = tagged(caption)
            for phrase in noun_phrases(read):
                head = read[phrase.head]
                if head.text in COLOURS:
                    continue  # "a dog in the black"
                (plural if head.tag == "S" else singular)[head.text] += 1
                for place in phrase.adjectives:
                    adjectives.setdefault(NOUNS[head.text], Counter())[read[place].text] += 1
                    if read[place].text in COLOURS:
                        colours[read[place].text] += 1
        if not singular and not plural:
            raise UserError("the captions name no object to put for another: give the captions of a data set")
        return cls(
            _often(singular, least),
            _often(plural, least),
            {noun: _often(own, least) for noun, own in adjectives.items()},
            _often(colours, least),
            {word: group[0] for group in synonyms for word in group},
        )


def _often(counts: Mapping[str, int], least: int) -> dict[str, int]:
    return {word: count for word, count in counts.items() if count >= least}


def drawn(counts: Mapping[str, int], rng: np.random.Generator) -> str | None:
    """A word, frequent ones more often: by the square root of their counts, so that rare ones occur too."""
    if not counts:
        return None
    shares = np.sqrt(np.array(list(counts.values()), np.float64))
    return list(counts)[int(rng.choice(len(shares), p=shares / shares.sum()))]
