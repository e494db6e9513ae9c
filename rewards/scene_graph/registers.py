"""What is known at each word of a caption, and to whom a new object, verb or place belongs."""

from dataclasses import dataclass

from rewards.scene_graph.lexicon import DONE_TO_MOVERS, PREPOSITIONS, SEEING, VIEWS, words
from rewards.scene_graph.noun_phrases import NounPhrase


@dataclass(frozen=True)
class SceneGraph:
    """What a caption says.

    Attributes:
        objects: the name of each object, in the order of the caption; two may bear the same name.
        attributes: an object's place in ``objects``, and an attribute of it.
        relations: the place of the subject, the relation, and the place of its object.
    """

    objects: tuple[str, ...] = ()
    attributes: tuple[tuple[int, str], ...] = ()
    relations: tuple[tuple[int, str, int], ...] = ()


class Registers:
    """The graph so far, and who is who. Lists hold objects, by their places.

    Attributes:
        names, attributes, relations: the graph.
        subjects: of the clause.
        last: the latest noun phrase, or those it is joined to by "and".
        focus: whom a preposition belongs to.
        doers: who did the latest verb; None before the first of a clause.
        owners: whom "is" tells something of, until it is told.
        label, ties, passive: the relation that waits for its object, and its subjects.
        link: the relation through which ``last`` came in, which what is joined to it shares.
        joined, relative, infinite: whether "and", "who" or "to" came just before.
        hanging: places that came before the subject ("in a park, ...").
    """

    __slots__ = (
        *("attributes", "doers", "focus", "hanging", "infinite", "joined", "label", "last", "link", "names", "owners"),
        *("passive", "relations", "relative", "subjects", "ties"),
    )

    def __init__(self) -> None:
        self.names: list[str] = []
        self.attributes: list[tuple[int, str]] = []
        self.relations: list[tuple[int, str, int]] = []
        self.new_sentence()

    def graph(self) -> SceneGraph:
        """What was read, each statement once."""
        return SceneGraph(
            tuple(self.names), tuple(dict.fromkeys(self.attributes)), tuple(dict.fromkeys(self.relations))
        )

    def new_sentence(self) -> None:
        self.subjects: list[int] = []
        self.last: list[int] = []
        self.focus: list[int] = []
        self.hanging: list[tuple[str, int]] = []
        self.new_clause()

    def new_clause(self) -> None:
        self.doers: list[int] | None = None
        self.owners: list[int] | None = None
        self.label = ""
        self.ties: list[int] = []
        self.passive = False
        self.link: tuple[list[int], str, bool] | None = None
        self.joined = self.relative = self.infinite = False

    def new_objects(self, phrase: NounPhrase) -> int:
        """A new object and those who own it; the place of the object."""
        owner = self.new_objects(phrase.owner) if phrase.owner else None
        node = self.new_object(phrase)
        if owner is not None:
            self.relations.append((owner, "have", node))
        return node

    def new_object(self, phrase: NounPhrase) -> int:
        """A new object; its place."""
        node = len(self.names)
        self.names.append(phrase.name)
        self.attributes += [(node, attribute) for attribute in phrase.attributes]
        return node

    def attach(self, node: int, following: str, determined: bool) -> None:
        """Gives a new object its part: object of what waits for one, one more of the latest, or a new subject.

        Args:
            node: the object.
            following: the tag after it.
            determined: whether it has an article, a number or a possessive.
        """
        if self.label:
            self.link = (self.ties, self.label, self.passive)
            self.relate(self.link, node)
            if not self.ties:
                self.hanging.append((self.label, node))
            elif self.label == "of" and self.names[self.ties[0]] in VIEWS:
                self.subjects = self.focus = [node]
            self.last, self.label, self.passive, self.joined = [node], "", False, False
        elif self.joined and self.last and not self.hanging and not self.begins_clause(node, following, determined):
            self.joined = False
            self.last.append(node)
            if self.link:
                self.relate(self.link, node)
        elif self.owners:  # "the man is a farmer"
            self.attributes += [(owner, self.names[node]) for owner in self.owners]
            self.owners, self.last = None, [node]
        else:
            self.new_clause()
            self.subjects = self.last = self.focus = [node]
            self.relations += [(node, label, other) for label, other in self.hanging]
            self.hanging = []

    def begins_clause(self, node: int, following: str, determined: bool) -> bool:
        """Whether what "and" joins is the subject of a clause of its own: "a man on a bike and a woman walking"."""
        if (self.link is None and self.doers is None) or following not in "VXHMEG":
            return False
        return self.moves([node]) or (determined and following != "G")

    def relate(self, link: tuple[list[int], str, bool], node: int) -> None:
        ties, label, passive = link
        worn, movers = words().worn, words().movers
        for tie in ties:
            if label == "in" and head_of(self.names[node]) in worn and head_of(self.names[tie]) in movers:
                self.relations.append((tie, "wear", node))
            else:
                self.relations.append((node, label, tie) if passive else (tie, label, node))

    def moves(self, nodes: list[int]) -> bool:
        movers = words().movers
        return any(head_of(self.names[node]) in movers for node in nodes)

    def rides(self, nodes: list[int]) -> bool:
        """Whether these are vehicles."""
        vehicles = words().vehicles
        return all(head_of(self.names[node]) in vehicles for node in nodes)

    def finite_subjects(self) -> list[int]:
        """Who does a finite verb."""
        if self.relative:
            self.relative = False
            return self.last
        if self.joined and self.doers:
            return self.doers
        return self.subjects

    def participle_subjects(self, tag: str, lemma: str) -> list[int]:
        """Who does an -ing form, or is what a participle says, without "is" before it."""
        if self.label:
            ties, self.label = self.ties, ""
            return ties
        if (self.joined or self.infinite) and self.doers:
            return self.doers
        if self.link is None or not self.last:
            return self.last or self.subjects
        if tag == "E":
            others = lemma in DONE_TO_MOVERS and not self.moves(self.last) and self.moves(self.subjects)
            return self.subjects if others else self.last
        label = self.link[1]
        if not self.moves(self.last) or (self.rides(self.last) and self.moves(self.subjects)):
            return self.subjects or self.last
        # "a man walking a dog wearing a hat", but "a man beside a dog" and "people watching a dog"
        return self.last if label in PREPOSITIONS or label in SEEING or not self.moves(self.subjects) else self.subjects


def head_of(name: str) -> str:
    """The last word of a compound."""
    return name.rpartition(" ")[2]
