"""Words of a caption with their part of speech: a lexicon, then rules that look at the neighbours."""

import re

from rewards.scene_graph.lexicon import COUNT_WORDS, PHRASES, guess, words
from rewards.scene_graph.wordnet import MOST_REMEMBERED

LONGEST_WORD = 40  # characters; longer ones are no words and are cut
MOST_TOKENS = 400  # what comes after is not read: a caption of this length repeats itself

TOKEN = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*|'s\b|[,;:.!?]")
ENDING = re.compile(r"(.+?)(n't|'s|'re|'m|'ll|'d|'ve)")
STOPS = dict.fromkeys(",;:", ",") | dict.fromkeys(".!?", ".")

# What begins a noun phrase, what may be a noun or stand before one, what begins an object, what may follow a verb.
NOUN_START = frozenset("DPCJNSBa")
NOMINAL = frozenset("NSJabsGEpz")
OBJECT_START = frozenset("DPCBU")
VERBAL = frozenset("VGEXHMIO.,WQ")  # verbs, and what ends a list of subjects
AFTER_VERB = frozenset("DPCBIATRGFO.,YWU")


class _Tags(dict[str, str]):
    """The tag of each word met, remembered up to a limit."""

    def __missing__(self, word: str) -> str:
        if len(self) >= MOST_REMEMBERED:
            self.clear()
        self[word] = tag = words().tags.get(word) or STOPS.get(word) or guess(word)
        return tag


_TAGS = _Tags()


def _phrase_table() -> dict[str, dict[str, list[tuple[list[str], str, str]]]]:
    """The phrases by first and second word, the longest first: the words after those, the tag and the reading."""
    table: dict[str, dict[str, list[tuple[list[str], str, str]]]] = {}
    for tag, reading, variants in PHRASES:
        for variant in variants.split("|"):
            first, second, *rest = variant.split()
            table.setdefault(first, {}).setdefault(second, []).append((rest, tag, reading))
    for seconds in table.values():
        for entries in seconds.values():
            entries.sort(key=lambda entry: -len(entry[0]))
    return table


_PHRASES = _phrase_table()


def tokenize(caption: str) -> tuple[list[str], list[str]]:
    """The words of a caption in lower case, phrases read as one, and the tag that each has without a context."""
    found = TOKEN.findall(caption.lower().replace("’", "'"))
    if len(found) > MOST_TOKENS:
        del found[MOST_TOKENS:]
    if "'" in caption or "’" in caption:
        found = [part for word in found for part in _parts(word)]
    tokens, tags, index, size = [], [], 0, len(found)
    found.append("")
    while index < size:
        word = found[index][:LONGEST_WORD]
        index += 1
        seconds = _PHRASES.get(word)
        entries = seconds.get(found[index]) if seconds else None
        for rest, tag, reading in entries or ():
            end = index + 1 + len(rest)
            if found[index + 1 : end] == rest:
                tokens.append(reading)
                tags.append(tag)
                index = end
                break
        else:
            tag = _TAGS[word]
            tokens.append(COUNT_WORDS.get(word, word) if tag == "C" else word)
            tags.append(tag)
    return tokens, tags


def _parts(word: str) -> tuple[str, ...]:
    """A word and what is joined to it by an apostrophe."""
    match = ENDING.fullmatch(word) if "'" in word else None
    return match.groups() if match else (word,)


def first_tag(word: str) -> str:
    """The tag of a word without a context."""
    return _TAGS[word]


def settle(tags: list[str]) -> None:
    """Settle, in place and from left to right, every tag that depends on its neighbours."""
    size = len(tags)
    before = "."  # the tag to the left, adverbs left out
    verbless = True  # no verb so far in the clause
    joined = False  # "a man and his dog" are several, so a base verb may follow
    for index, tag in enumerate(tags):
        if tag in "RF":
            continue
        rule = _RULES.get(tag)
        if rule is not None:
            following = index + 1
            while following < size and tags[following] in "RF":
                following += 1
            after = tags[following] if following < size else "."
            if tag == "K" and before == "U" and after in "NSab":
                tags[index - 1], tags[index] = "P", "F"  # "it's head"
                before = "P"
                continue
            if joined and tag in "pz":
                before = {"N": "S", "a": "S", "Y": "D", ",": "D"}.get(before, before)
            tags[index] = tag = rule(before, after)
        before = tag
        if tag in VERBAL:
            verbless, joined = tag in ".,W", False
        elif tag == "Y":
            joined = verbless


def _noun_or_base(before: str, after: str) -> str:
    if before in "TMUQ":
        return "V" if after in AFTER_VERB else "N"
    return "V" if before in "SY" and after in OBJECT_START else "N"


def _base_or_noun(before: str, after: str) -> str:
    if before in "TMUQ":
        return "V"
    if before == "S":
        return "V" if after in AFTER_VERB or after in NOUN_START else "N"
    return "V" if (before in "Y." and after in OBJECT_START) or (before == "Y" and after in "IA") else "N"


def _plural_or_verb(before: str, after: str) -> str:
    return "V" if before in "UQ" or (before in "Na" and after in "DPC") else "S"


def _verb_or_plural(before: str, after: str) -> str:
    return "S" if before in "DPCJBOIKVGEX." else "V"


def _ing(before: str, after: str) -> str:
    """A verb, or what stands before a noun as an adjective does ("a sleeping cat"), or a noun ("a crossing with")."""
    if after in "NSJabspE":
        return "J" if before in "DPCJBOKa" or (before in ".I" and after in "NSb") else "G"
    return "N" if before in "DPJK" and after in "IOXY.,GEVHW" else "G"


def _participle(before: str, after: str) -> str:
    if after in "NSJabspG" and before in "DPCJBOKIaY.,G":
        return "J"
    return "J" if before in "DPC" and after in "EY,C" else "E"


def _that(before: str, after: str) -> str:
    return "Q" if before in "NSaY,GE" else "D" if after in NOUN_START else "U"


def _possessive(before: str, after: str) -> str:
    return "P" if after in NOMINAL or after == "C" else "U"


def _apostrophe(before: str, after: str) -> str:
    """The genitive, or "is"."""
    return "X" if after in "GEDPICA" else "K"


_RULES = {
    "b": _noun_or_base,
    "p": _base_or_noun,
    "s": _plural_or_verb,
    "z": _verb_or_plural,
    "G": _ing,
    "E": _participle,
    "Q": _that,
    "P": _possessive,
    "K": _apostrophe,
}
