"""The edits that make a caption wrong, each a function of the caption and a generator; None where it does not apply.

What a caption says is changed in one place - an attribute, an object, a relation, a number - and all else is kept, so
that a bag of words hardly sees it (NegCLIP: Yuksekgonul et al. 2023, "When and why vision-language models behave like
bags-of-words"). Or its language is spoiled: words are shuffled, said again or left away at the end. The grammar reward
of Cho et al. 2022 ("Fine-grained Image Captioning with CLIP Reward") learns from such negatives; theirs repeat, remove,
insert and exchange words anywhere, these fail as policies do that chase a reward. Word classes are those of
:mod:`rewards.scene_graph`; English only.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from rewards.scene_graph import parse, reference_graph, scene_graph_f
from rewards.scene_graph.lexicon import COLOURS, COUNT_WORDS, NUMBERS, SIZES, words
from rewards.scene_graph.noun_phrases import NOUNS
from rewards.scene_graph.wordnet import first_kin, first_synonym, known
from rewards.statistics import bad_ending
from rlcap.data.caption_words import Word, edited, noun_phrases, plain, tagged
from rlcap.data.replacements import BOTH_WAYS, OPPOSITE_RELATIONS, OPPOSITES, Vocabulary, drawn

COUNTED = NUMBERS[2:7]  # two to six
LEAST_WORDS = 3  # of a caption that can be shuffled or cut


def says_otherwise(caption: str, other: str) -> bool:
    """Whether one of two captions states what the other does not, synonyms aside, by their scene graphs."""
    return scene_graph_f(parse(other), reference_graph([parse(caption)]), kinds=0.0).f < 1


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
                instead = drawn(colours, rng) or OPPOSITES.get(word)
                contrary += [{_span(read[place]): instead}] if instead else []
            elif word in OPPOSITES:
                contrary.append({_span(read[place]): OPPOSITES[word]})
            else:
                known = vocabulary.adjectives.get(NOUNS[read[phrase.head].text], {})
                kept = {name: count for name, count in known.items() if name not in own and _sort(name) == "other"}
                instead = drawn({name: kept[name] for name in kept if not first_synonym(name, [word])}, rng)
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
        instead = drawn(others, rng)
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


def _one_of(caption: str, rng: np.random.Generator, edits: Sequence[Mapping[tuple[int, int], str]]) -> str | None:
    """The caption with one of these edits, drawn among those that change what it says."""
    for place in rng.permutation(len(edits)):
        text = edited(caption, edits[int(place)])
        if plain(text) != plain(caption) and says_otherwise(caption, text):
            return text
    return None


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
    """The words of a caption, and the full stop at its end, apart or at the last one."""
    found = caption.rstrip(" .!?").split()
    return found, caption.split()[-1:] if caption.rstrip().endswith((" .", " !", " ?")) else []
