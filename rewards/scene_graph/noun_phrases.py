"""Noun phrases of a tagged caption: the object they name and what they say of it."""

from collections.abc import Callable
from typing import NamedTuple

from rewards.scene_graph.lexicon import PAIRED, listed, words
from rewards.scene_graph.tagger import first_tag
from rewards.scene_graph.wordnet import MOST_REMEMBERED, infinitive, singular

# Compounds that are not what their last word says: no dog, no bear. Of others the last word is the object.
COMPOUND_NAMES = (
    "teddy bear|hot dog|corn dog|remote control|ice cream|peanut butter|polka dot|ferris wheel|big ben|tank top|"
    "sea lion|sea horse|guinea pig|hot rod|french fry|sweet potato|hang glider|home plate|home run|prairie dog|"
    "cotton candy|fire engine|jump rope|bell pepper|butter knife"
)
COMPOUNDS = frozenset(COMPOUND_NAMES.split("|"))
# Participles that make an attribute of a noun and themselves: "snow covered".
AFTER_NOUN = listed("covered drawn filled lined shaped colored coloured powered topped made themed built")


class NounPhrase(NamedTuple):
    """What was read from one place on.

    Attributes:
        end: the place after it.
        name: of the object; empty where there are only adjectives.
        attributes: of the object, or the adjectives without a noun.
        owner: whose it is ("the man's hat").
        possessive: whether "his" or its like begins it.
        determined: whether an article, number or possessive begins it.
        adjective: whether it is a single word that may be an adjective: "orange".
    """

    end: int
    name: str
    attributes: list[str]
    owner: "NounPhrase | None" = None
    possessive: bool = False
    determined: bool = False
    adjective: bool = False


class _Lemmas(dict[str, str]):
    """The dictionary form of each word met, remembered up to a limit."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        self.rule = rule

    def __missing__(self, word: str) -> str:
        if len(self) >= MOST_REMEMBERED:
            self.clear()
        self[word] = lemma = words().lemmas.get(word) or self.rule(word)
        return lemma


NOUNS = _Lemmas(singular)
VERBS = _Lemmas(lambda word: word if first_tag(word) in "bp" else infinitive(word))


def read_noun_phrase(tokens: list[str], tags: list[str], start: int) -> NounPhrase:
    """The noun phrase that begins at a place. The last tag of all must be a full stop."""
    before: list[str] = []  # attributes that stand before all adjectives: numbers, "group of"
    items: list[int] = []  # nouns and adjectives
    head, owner = -1, None
    possessive = determined = article = False
    place = start
    while True:
        tag = tags[place]
        if tag in "NSa":
            head = place
            items.append(place)
        elif tag == "J":
            if head >= 0 and tags[place + 1] not in "NSa":
                break
            items.append(place)
        elif tag in "DPC":
            if items:
                break
            determined = True
            article = article or tag == "D"
            possessive = possessive or tag == "P"
            if tag == "C":
                before.append(tokens[place])
        elif tag in "RF":
            if head >= 0 or tags[place + 1] not in "JaNSRC":
                break
        elif tag in "Y,":
            if not items or tags[items[-1]] in "NS" or not _adjectives_go_on(tags, place + 1):
                break
        elif tag == "K" and head >= 0:
            name, attributes = _named(tokens, tags, items)
            owner = NounPhrase(place, name, before + attributes, owner)
            before, items, head = [], [], -1
        elif tag == "E" and head >= 0 and tokens[place] in AFTER_NOUN and tags[place + 1] in "NSa":
            items.append(place)
        elif tag == "B":
            if head >= 0:
                break
            before, items, determined = [tokens[place]], [], True
        else:
            break
        place += 1
    if head < 0 and article and items and first_tag(tokens[items[-1]]) == "J":
        head = items[-1]  # "an inflatable"
    end = max(place, start + 1)
    if head < 0:
        return NounPhrase(end, "", [tokens[item] for item in items], owner)
    if before[:1] == ["pair"]:
        before = [] if NOUNS[tokens[head]] in PAIRED else ["two"]
    adjective = not determined and len(items) == 1 and tags[head] == "a"
    name, attributes = _named(tokens, tags, items)
    return NounPhrase(end, name, before + attributes, owner, possessive, determined, adjective)


def _adjectives_go_on(tags: list[str], place: int) -> bool:
    """Whether only adjectives stand from here to a noun: "black and white dog"."""
    first = place = place + (tags[place] == "Y")
    while tags[place] in "JaR" or (tags[place] in "Y," and place > first):
        place += 1
    return place > first and tags[place] in "NS"


def _named(tokens: list[str], tags: list[str], items: list[int]) -> tuple[str, list[str]]:
    """The object named by the last of these words, and the others, which are its attributes."""
    *others, place = items
    name = NOUNS[tokens[place]] if tags[place] == "S" else tokens[place]
    if others and others[-1] == place - 1:
        compound = f"{tokens[place - 1]} {name}"
        if compound in COMPOUNDS:
            name = compound
            others.pop()
    attributes = []
    for other in others:
        word = tokens[other]
        if tags[other] == "S":
            word = NOUNS[word]
        elif word.endswith(("ing", "ed", "n")) and first_tag(word) in "GE":
            word = VERBS[word]  # "a sleeping cat" says what "a cat is sleeping" says
        attributes.append(word)
    return name, attributes
