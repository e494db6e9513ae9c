"""Captions made wrong: hard negatives for rewards that are learned.

What a caption says is changed in one place - an attribute, an object, a relation, a number - and all else is kept, so
that a bag of words hardly sees it (NegCLIP: Yuksekgonul et al. 2023, "When and why vision-language models behave like
bags-of-words"). Or its language is spoiled: words are shuffled, said again or left away at the end. The grammar reward
of Cho et al. 2022 ("Fine-grained Image Captioning with CLIP Reward") learns from such negatives; theirs repeat, remove,
insert and exchange words anywhere, these fail as policies do that chase a reward. Word classes are those of
:mod:`rewards.scene_graph`; English only. A function gives None where it does not apply.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rewards.scene_graph import parse, reference_graph, scene_graph_f
from rewards.scene_graph.lexicon import COLOURS, COUNT_WORDS, NUMBERS, SIZES, words
from rewards.scene_graph.noun_phrases import NOUNS
from rewards.scene_graph.wordnet import first_kin, first_synonym, known
from rewards.statistics import bad_ending
from rlcap.data.caption_words import Word, edited, noun_phrases, tagged
from rlcap.types import UserError

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

COUNTED = NUMBERS[2:7]  # two to six
LEAST_WORDS = 3  # of a caption that can be shuffled or cut
TRIES = 8  # draws of one corruption before it is taken not to apply

Corruption = Callable[[str, np.random.Generator], str | None]
"""Makes a caption wrong in one way; None where it cannot."""


# --- what the data's captions name


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


def _drawn(counts: Mapping[str, int], rng: np.random.Generator) -> str | None:
    """A word, frequent ones more often: by the square root of their counts, so that rare ones occur too."""
    if not counts:
        return None
    shares = np.sqrt(np.array(list(counts.values()), np.float64))
    return list(counts)[int(rng.choice(len(shares), p=shares / shares.sum()))]


# --- what the caption says


def swap_attributes(caption: str, rng: np.random.Generator) -> str | None:
    """The caption with adjectives of two objects exchanged, of one kind where it can: "a red cat and a black dog"."""
    read = tagged(caption)
    phrases = noun_phrases(read)
    pairs = [
        (one, other)
        for place, first in enumerate(phrases)
        for second in phrases[place + 1 :]
        for one in first.adjectives
        for other in second.adjectives
        if read[one].text not in {read[place].text for place in second.adjectives}
        and read[other].text not in {read[place].text for place in first.adjectives}
        and _same(read[first.head]) != _same(read[second.head])
    ]
    alike = [(one, other) for one, other in pairs if _sort(read[one].text) == _sort(read[other].text)]
    return _one_of(
        caption,
        rng,
        [{_span(read[one]): read[other].text, _span(read[other]): read[one].text} for one, other in alike or pairs],
    )


def replace_attribute(caption: str, rng: np.random.Generator, vocabulary: Vocabulary) -> str | None:
    """The caption with a colour for another colour, a size or the like for its opposite, or another adjective.

    The other adjective is one that the data give to the same object, where there is neither colour nor opposite.
    """
    read = tagged(caption)
    contrary: list[dict[tuple[int, int], str]] = []
    other: list[dict[tuple[int, int], str]] = []
    for phrase in noun_phrases(read):
        own = {read[place].text for place in phrase.adjectives}
        for place in phrase.adjectives:
            word = read[place].text
            if word in COLOURS:
                colours = {colour: count for colour, count in vocabulary.colours.items() if colour not in own}
                colours = {colour: count for colour, count in colours.items() if not first_synonym(colour, [word])}
                instead = _drawn(colours, rng) or OPPOSITES.get(word)
                contrary += [{_span(read[place]): instead}] if instead else []
            elif word in OPPOSITES:
                contrary.append({_span(read[place]): OPPOSITES[word]})
            else:
                known = vocabulary.adjectives.get(NOUNS[read[phrase.head].text], {})
                kept = {name: count for name, count in known.items() if name not in own and _sort(name) == "other"}
                instead = _drawn({name: kept[name] for name in kept if not first_synonym(name, [word])}, rng)
                other += [{_span(read[place]): instead}] if instead else []
    return _one_of(caption, rng, contrary or other)


def replace_object(caption: str, rng: np.random.Generator, vocabulary: Vocabulary) -> str | None:
    """The caption with another object for one of its own: of its sort and as many as it was.

    The sorts are persons and animals, vehicles, and things.
    """
    read = tagged(caption)
    named = {NOUNS[name.rpartition(" ")[2]] for name in parse(caption).objects}
    named_same = {vocabulary.same.get(name, name) for name in named}
    edits = []
    for phrase in noun_phrases(read):
        head = read[phrase.head]
        if NOUNS[head.text] not in named:
            continue
        moves = _moves(head.text)
        others = {
            word: count
            for word, count in (vocabulary.plural if head.tag == "S" else vocabulary.singular).items()
            if _moves(word) == moves
            and NOUNS[word] not in named
            and vocabulary.same.get(NOUNS[word], NOUNS[word]) not in named_same
            and first_synonym(NOUNS[word], named) is None
            and first_kin(NOUNS[word], named) is None
        }
        instead = _drawn(others, rng)
        if instead:
            edits.append({(read[phrase.nouns[0]].start, head.end): instead})
    return _one_of(caption, rng, edits)


def _moves(noun: str) -> str:
    """Whether a noun names a vehicle, another mover (a person or animal) or a thing."""
    lemma = NOUNS[noun]
    return "vehicle" if lemma in words().vehicles else "mover" if lemma in words().movers else "thing"


def reverse_relation(caption: str, rng: np.random.Generator) -> str | None:
    """The caption with a relation the wrong way round: "left of" for "right of", or subject and object exchanged."""
    read = tagged(caption)
    edits = [
        {_span(word): word.text.removesuffix(name) + OPPOSITE_RELATIONS[name]}
        for word in read
        if word.tag in "IA"
        for name in [_relation(word.text)]
        if name in OPPOSITE_RELATIONS
    ]
    phrases = noun_phrases(read)
    for one, other in pairwise(phrases):
        between = read[one.head + 1 : other.first]
        head, second = read[one.head], read[other.head]
        agrees = (head.tag == "S") == (second.tag == "S") or not any(word.tag in "VHX" for word in between)
        tells = any(word.tag in "VGEI" for word in between) and all(word.tag in "VGEHXIARFT" for word in between)
        both_ways = any(word.text in BOTH_WAYS or word.text.endswith("side of") for word in between)
        if tells and agrees and not both_ways and _same(head) != _same(second):
            spans = [(read[own.first].start, read[own.head].end) for own in (one, other)]
            texts = [_uncapped(caption[start:end], read[0]) for start, end in spans]
            edits.append({spans[0]: texts[1], spans[1]: texts[0]})
    return _one_of(caption, rng, edits)


def change_count(caption: str, rng: np.random.Generator) -> str | None:
    """The caption with another number, or with several of what it names one of, where no verb need change."""
    read = tagged(caption)
    edits: list[dict[tuple[int, int], str]] = []
    for phrase in noun_phrases(read):
        opening = read[phrase.first]
        if opening.tag == "C" and COUNT_WORDS.get(opening.text, opening.text) in COUNTED:
            own = COUNT_WORDS.get(opening.text, opening.text)
            others = [number for number in COUNTED if number != own]
            edits.append({_span(opening): others[int(rng.integers(len(others)))]})
    if not edits:
        for phrase in noun_phrases(read):
            opening, head = read[phrase.first], read[phrase.head]
            rest = [word.tag for word in read[phrase.head + 1 :]]
            before = read[phrase.first - 1] if phrase.first else None
            subject = before is None or before.tag not in "IOTVGEHXA"
            agreeing = [place for place, tag in enumerate(rest) if tag in "VHXM"]
            if opening.text not in ("a", "an", "one") or head.tag == "S" or rest[:1] in (["Y"], ["Q"], ["K"]):
                continue  # "two dogs and a cat runs"
            if (agreeing[:1] not in ([], [0]) or rest[:1] not in ([], ["X"])) and subject and agreeing:
                continue  # "two dogs runs"
            if not subject and agreeing[:1] == [0]:
                continue  # "a man in two boats is"
            edit = {_span(opening): COUNTED[int(rng.integers(3))], _span(head): _plural(head.text)}
            for word in (read[phrase.head + 1] if rest[:1] == ["X"] else None, before):
                if word is not None and word.tag == "X":
                    edit[_span(word)] = _PLURAL_BE.get(word.text, word.text)
            edits.append(edit)
    return _one_of(caption, rng, edits)


_PLURAL_BE = {"was": "were", "is": "are"}


def _plural(noun: str) -> str:
    """The plural of a noun."""
    irregular = {"man": "men", "woman": "women", "person": "people", "child": "children", "foot": "feet"}
    irregular |= {"mouse": "mice", "goose": "geese", "sheep": "sheep", "fish": "fish", "deer": "deer", "tooth": "teeth"}
    for one, many in irregular.items():
        if noun == one or (len(one) > 2 and one in ("man", "woman", "child") and noun.endswith(one)):
            return noun.removesuffix(one) + many
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return f"{noun}es"
    if re.search(r"(kni|wi|li|hal|shel|lea|wol|cal|scar)fe?$", noun):
        return re.sub(r"fe?$", "ves", noun)
    return f"{noun}s"


# --- how the caption says it


def shuffle_words(caption: str, rng: np.random.Generator) -> str | None:
    """The caption with its words in another order; a full stop stays at the end."""
    words_, stop = _split(caption)
    if len(words_) < LEAST_WORDS or len(set(words_)) < 2:
        return None
    order = rng.permutation(len(words_))
    return " ".join([words_[place] for place in order] + stop)


def repeat_words(caption: str, rng: np.random.Generator) -> str | None:
    """The caption with a word, or two in a row, said again once to three times: what chasing a reward leads to."""
    words_, stop = _split(caption)
    if not words_:
        return None
    size = min(int(rng.integers(1, 3)), len(words_))
    start = int(rng.integers(len(words_) - size + 1))
    again = words_[start : start + size] * int(rng.integers(1, 4))
    again = [word.lower() if word[:1].isupper() and start == 0 else word for word in again]
    return " ".join([*words_[: start + size], *again, *words_[start + size :], *stop])


def truncate(caption: str, rng: np.random.Generator) -> str | None:
    """The caption broken off at a word that needs another: "a man with a"."""
    words_, _ = _split(caption)
    cuts = [end for end in range(LEAST_WORDS - 1, len(words_)) if bad_ending(" ".join(words_[:end]))]
    if not cuts:
        return None
    return " ".join(words_[: cuts[int(rng.integers(len(cuts)))]])


def _split(caption: str) -> tuple[list[str], list[str]]:
    """The words of a caption, and the full stop that stands apart or at the last one."""
    found = caption.split()
    if found and found[-1] in (".", "!", "?"):
        return found[:-1], found[-1:]
    return found, []


# --- several at once


class Negative(NamedTuple):
    """A caption made wrong, and how."""

    text: str
    kind: str


SEMANTIC = ("swap_attributes", "replace_attribute", "replace_object", "reverse_relation", "change_count")
"""Corruptions that change what is said."""

LINGUISTIC = ("shuffle_words", "repeat_words", "truncate")
"""Corruptions that spoil how it is said."""


class Corruptor:
    """Makes captions wrong in several ways, each drawn with equal probability among those that apply.

    Args:
        vocabulary: of the data set's captions.
        kinds: which corruptions; see ``SEMANTIC`` and ``LINGUISTIC``.
    """

    def __init__(self, vocabulary: Vocabulary, kinds: Sequence[str] = (*SEMANTIC, *LINGUISTIC)) -> None:
        known: dict[str, Corruption] = {
            "swap_attributes": swap_attributes,
            "replace_attribute": partial(replace_attribute, vocabulary=vocabulary),
            "replace_object": partial(replace_object, vocabulary=vocabulary),
            "reverse_relation": reverse_relation,
            "change_count": change_count,
            "shuffle_words": shuffle_words,
            "repeat_words": repeat_words,
            "truncate": truncate,
        }
        for kind in kinds:
            if kind not in known:
                raise UserError(f"there is no corruption {kind!r}, only {', '.join(known)}")
        if not kinds:
            raise UserError(f"kinds names no corruption: give some of {', '.join(known)}")
        self.corruptions = {kind: known[kind] for kind in kinds}

    def __call__(
        self, caption: str, rng: np.random.Generator, count: int, references: Collection[str] = ()
    ) -> list[Negative]:
        """Up to ``count`` different negatives of a caption, in random order; fewer where fewer can be made.

        Every kind that applies is drawn before one is drawn again.

        Args:
            caption: to make wrong.
            rng: draws the kinds, the places and the words.
            count: how many.
            references: further captions of the image: a negative that says nothing they do not say is left out.
        """
        truth = reference_graph([parse(reference) for reference in (caption, *references)])
        taken = {_plain(text) for text in (caption, *references)}
        found: list[Negative] = []
        for _ in range(count):  # in one round every kind has its turn
            before = len(found)
            for place in rng.permutation(len(self.corruptions)):
                kind = list(self.corruptions)[int(place)]
                for _ in range(TRIES):
                    if len(found) == count:
                        return found
                    text = self.corruptions[kind](caption, rng)
                    if text is None:
                        break
                    true = kind in SEMANTIC and scene_graph_f(parse(text), truth, kinds=0.0).precision == 1
                    if _plain(text) not in taken and not true:
                        taken.add(_plain(text))
                        found.append(Negative(text, kind))
                        break
            if len(found) == before:
                break
        return found


@dataclass(frozen=True)
class Corruptions:
    """Corrupted captions that are learned from beside those of other images.

    Attributes:
        per_caption: how many of each caption, made anew at every step; fewer where fewer can be made, and 0 for none.
        kinds: in which ways; each that applies is equally probable.
        synonyms: groups of words that mean the same in the data set, besides those of WordNet, so that none of a group
            is put for another.
    """

    per_caption: int = 0
    kinds: tuple[str, ...] = (*SEMANTIC, *LINGUISTIC)
    synonyms: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.per_caption < 0:
            raise UserError(f"corruptions.per_caption must be 0 (off) or more, got {self.per_caption}")

    def corruptor(self, references: Iterable[Sequence[str]]) -> Corruptor:
        """What makes them, given the references of a data set's images."""
        captions = (caption for own in references for caption in own)
        return Corruptor(Vocabulary.of(captions, synonyms=self.synonyms), self.kinds)


def says_otherwise(caption: str, other: str) -> bool:
    """Whether one of two captions states what the other does not, synonyms aside, by their scene graphs."""
    return scene_graph_f(parse(other), reference_graph([parse(caption)]), kinds=0.0).f < 1


def _one_of(caption: str, rng: np.random.Generator, edits: Sequence[Mapping[tuple[int, int], str]]) -> str | None:
    """The caption with one of these edits, drawn among those that change what it says."""
    for place in rng.permutation(len(edits)):
        text = edited(caption, edits[int(place)])
        if _plain(text) != _plain(caption) and says_otherwise(caption, text):
            return text
    return None


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _span(word: Word) -> tuple[int, int]:
    return word.start, word.end


def _same(word: Word) -> str:
    """The dictionary form of a noun."""
    return NOUNS[word.text]


def _sort(adjective: str) -> str:
    return "colour" if adjective in COLOURS else "size" if adjective in SIZES else "other"


def _relation(text: str) -> str:
    """What of a phrase turns: ``left of`` of ``to the left of``."""
    for end in ("left of", "right of"):
        if text.endswith(end):
            return end
    return text


def _uncapped(text: str, first: Word) -> str:
    """The beginning of a caption as it stands inside of one; names keep their capital."""
    begins = text.lower().startswith(first.text)
    return text[:1].lower() + text[1:] if begins and (first.tag in "DPC" or known(NOUNS[first.text])) else text
