"""From a caption to its scene graph: who is there, what they are like, and how they stand to one another.

What a scene graph of a sentence holds follows Schuster et al. 2015 ("Generating Semantically Precise Scene Graphs from
Textual Descriptions for Improved Image Retrieval") and Anderson et al. 2016 (SPICE): a verb without an object, an
adjective, a number and a noun before a noun are attributes; a verb with an object and a preposition are relations; "a
group of people" is people. Their parsers read the trees of a statistical parser. This one is a machine with a few
registers that goes through the tagged words once, so it takes a tenth of a millisecond: who a phrase belongs to is told
by its place, and where that leaves two, by which of them can move by itself or be worn.
"""

from collections.abc import Callable

from rewards.scene_graph.lexicon import BESIDE, DRESSED, LINKING, MOTION, PLACED, PLACES
from rewards.scene_graph.noun_phrases import VERBS, read_noun_phrase
from rewards.scene_graph.registers import Registers, SceneGraph, head_of
from rewards.scene_graph.tagger import NOUN_START, settle, tokenize


def parse(caption: str) -> SceneGraph:
    """The scene graph of an English caption; an empty one where it names nothing."""
    return _Reading(caption).graph()


class _Reading(Registers):
    """One pass over a caption: a method for each kind of tag, which gives the place to go on from."""

    __slots__ = ("tags", "tokens")

    def __init__(self, caption: str) -> None:
        self.tokens, self.tags = tokenize(caption)
        settle(self.tags)
        super().__init__()
        index, size, tags = 0, len(self.tags), self.tags
        tags.append(".")
        self.tokens.append(".")
        while index < size:
            index = _READERS[tags[index]](self, index)

    # --- noun phrases

    def noun_phrase(self, index: int) -> int:
        """Reads a noun phrase, or adjectives where no noun follows; the place after it."""
        phrase = read_noun_phrase(self.tokens, self.tags, index)
        owner = self.new_objects(phrase.owner) if phrase.owner else None
        if phrase.name and not (self.owners and phrase.adjective):
            node = self.new_object(phrase)
            if owner is not None:
                self.relations.append((owner, "have", node))
            elif phrase.possessive:
                self.relations += [(subject, "have", node) for subject in self.subjects]
            self.attach(node, self.following(phrase.end), phrase.determined)
            return phrase.end
        if owner is not None:
            self.attach(owner, self.following(phrase.end), determined=True)
        for adjective in phrase.attributes or filter(None, [phrase.name]):
            self.attributes += [(node, adjective) for node in self.owners or self.last]
        return phrase.end

    def following(self, place: int) -> str:
        """The tag from a place on, adverbs left out."""
        while self.tags[place] in "RF":
            place += 1
        return self.tags[place]

    # --- verbs

    def verb(self, index: int) -> int:
        """Reads a verb with its particle; the place after it."""
        tags, tokens, tag = self.tags, self.tokens, self.tags[index]
        lemma = "have" if tag == "H" else VERBS[tokens[index]]
        if self.owners is not None:
            subjects, self.owners = self.owners, None
        elif self.infinite:
            subjects = self.doers or self.subjects
        elif tag in "VHM":
            subjects = self.finite_subjects()
        else:
            subjects = self.participle_subjects(tag, lemma)
        self.joined = self.relative = self.infinite = False
        self.label = ""
        place = index + 1
        while tags[place] in "RF":
            place += 1
        if tag == "H" and tags[place] in "EXV":
            self.owners = subjects
            return place
        if tags[place] == "A" and not (lemma in MOTION and tags[place + 1] in NOUN_START):
            place += 1
        following = tags[place]
        self.doers = self.focus = subjects
        if lemma in LINKING and following in "Ja" and not (following == "J" and self.noun_ahead(place)):
            self.attributes += [(subject, lemma) for subject in subjects]
            self.owners = subjects  # "looks happy"
        elif following in NOUN_START and (following != "J" or self.noun_ahead(place)):
            self.ties, self.label, self.passive = subjects, lemma, False
        elif tag == "E" and tokens[place] == "by" and lemma not in PLACED:
            self.ties, self.label, self.passive = subjects, lemma, True
            return place + 1
        elif lemma in DRESSED and tokens[place] == "in":
            pass  # "dressed in" is "wearing"
        else:
            self.attributes += [(subject, lemma) for subject in subjects]
        return place

    def noun_ahead(self, place: int) -> bool:
        tags = self.tags
        while tags[place] in "JYR":
            place += 1
        return tags[place] in "NSa"

    def be(self, index: int) -> int:
        """Reads "is": what follows tells something of the subjects."""
        if self.owners is None:
            self.owners = self.finite_subjects()
        self.doers = self.focus = self.owners
        self.joined = False
        return index + 1

    def modal(self, index: int) -> int:
        """Reads "do" or "can": a verb only before a noun phrase ("does a trick")."""
        return self.verb(index) if self.tags[index + 1] in "DPCNSJa" else index + 1

    # --- what joins them

    def preposition(self, index: int) -> int:
        label = self.tokens[index]
        place = index + 1
        following = self.tags[place]
        if self.tags[index] == "A" and following not in NOUN_START:
            return place
        if following in ".,YXVWHMT":
            return place  # "with a hat on"
        if label == "of" and not self.label:
            self.ties = self.doers if self.doers and self.tags[index - 1] in "VGEA" else self.last
        elif not self.label:
            self.ties = self.focus
            holds = self.link and self.link[1] in ("with", "have") and self.focus and not self.moves(self.focus)
            if holds and (label in BESIDE or head_of(self.names[self.focus[-1]]) in PLACES):
                self.ties = self.last
        self.label, self.passive, self.joined, self.owners = label, False, False, None
        return place

    def to(self, index: int) -> int:
        if self.tags[index + 1] == "V":
            self.infinite, self.label = True, ""
            return index + 1
        return self.preposition(index)

    def conjunction(self, index: int) -> int:
        self.joined = True
        return index + 1

    def subordinator(self, index: int) -> int:
        doers = self.doers or self.subjects
        self.new_clause()
        self.doers, self.infinite = doers, self.tags[index + 1] in "GE"
        return index + 1

    def relative_pronoun(self, index: int) -> int:
        self.relative = True
        self.joined, self.label, self.owners = False, "", None
        return index + 1

    def pronoun(self, index: int) -> int:
        if self.label:
            if self.last is not self.subjects and not self.passive:
                latest = [node for node in self.last if node not in self.subjects]
                self.relations += [(node, self.label, other) for node in latest for other in self.subjects]
            self.label = ""
        else:
            subjects = self.subjects
            self.new_clause()
            self.last = self.focus = self.subjects = subjects
        return index + 1

    def there(self, index: int) -> int:
        place = index + 1
        if self.tags[place] == "X":
            self.new_clause()
            place += 1
        return place

    def full_stop(self, index: int) -> int:
        subjects = self.subjects
        self.new_sentence()
        self.subjects = subjects if self.tags[index + 1 : index + 2] == ["U"] else []
        return index + 1

    def skip(self, index: int) -> int:
        return index + 1


_READERS: dict[str, Callable[[_Reading, int], int]] = {
    **dict.fromkeys("DPCJNSBaR", _Reading.noun_phrase),
    **dict.fromkeys("VGEH", _Reading.verb),
    **dict.fromkeys("IOA", _Reading.preposition),
    **dict.fromkeys("Y,", _Reading.conjunction),
    **dict.fromkeys("KF", _Reading.skip),
    "M": _Reading.modal,
    "X": _Reading.be,
    "T": _Reading.to,
    "W": _Reading.subordinator,
    "Q": _Reading.relative_pronoun,
    "U": _Reading.pronoun,
    "L": _Reading.there,
    ".": _Reading.full_stop,
}
