"""What two scene graphs have in common: statements, synonyms, F-measure. Anderson et al. 2016 (SPICE), section 3.

A graph is taken apart into statements - (dog), (dog, brown), (dog, on, grass) - and two words are equal when WordNet
has them in one synset. Decided otherwise than there: a relation and its converse are one ("left of", "right of"), and
so are prepositions that captions use for one another ("near", "next to"); an object of which the other side has the
next wider or narrower term ("dog", "puppy") counts half.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import isnan, nan
from typing import NamedTuple, TypeVar

from rewards.scene_graph.lexicon import COLOURS, COUNTS, PREPOSITIONS, SIZES
from rewards.scene_graph.registers import SceneGraph
from rewards.scene_graph.wordnet import first_kin, first_synonym

MOST_MET = 256
KINDS = 0.5  # what an object counts that is a kind of another

# Prepositions that captions use for one another; the first stands for all. The second of a converse pair is turned.
SAME_RELATIONS = (
    "next to|beside|near|by|alongside|besides",
    "on|on top of|atop|upon|onto",
    "in|inside|within|into",
    "above|over",
    "below|under|underneath|beneath",
    "with|have",
    "to|toward|towards",
    "through|across",
    "along|down",
)
CONVERSE = {"right of": "left of", "below": "above", "behind": "in front of"}
_FIRST = {word: group.split("|")[0] for group in SAME_RELATIONS for word in group.split("|")}

Statement = tuple[str, ...]
"""(object), (object, attribute) or (subject, relation, object)."""

Numbered = tuple[int | str, ...]
"""A statement in numbers of words that are synonyms; a word that none of the references has stands for itself."""


Name = TypeVar("Name", bound=int | str)


class Score(NamedTuple):
    """F-measure, precision and recall; not a number where neither side says anything of the kind."""

    f: float
    precision: float
    recall: float


@dataclass(frozen=True)
class ReferenceGraph:
    """All that the references of one image say, synonyms being one.

    Attributes:
        words: the number of each name and attribute.
        relations: the number of each relation.
        spoken: the first word of each number.
        objects: the numbers of all objects.
        statements: in those numbers.
        met: the numbers of words that captions were found to say, or the words where the references lack them.
        met_relations: the same of relations.
    """

    words: dict[str, int]
    relations: dict[str, int]
    spoken: dict[int, str]
    objects: tuple[int, ...]
    statements: frozenset[tuple[int, ...]]
    met: "_KnownNumbers" = field(init=False, repr=False, compare=False)
    met_relations: "_KnownNumbers" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "met", _KnownNumbers(self.words, _word_number))
        object.__setattr__(self, "met_relations", _KnownNumbers(self.relations, _relation_number))


def statements(graph: SceneGraph, synonyms: Mapping[str, str] | None = None) -> list[Statement]:
    """What a graph states, each once: objects, attributes, relations. ``synonyms`` gives the word to read for one."""
    read = synonyms or {}
    names = [read.get(name, name) for name in graph.objects]
    found: dict[Statement, None] = dict.fromkeys((name,) for name in names)
    for place, attribute in graph.attributes:
        found[names[place], read.get(attribute, attribute)] = None
    for subject, relation, object_ in graph.relations:
        relation = read.get(relation, relation)
        relation = _FIRST.get(relation, relation)
        if relation in CONVERSE:
            subject, relation, object_ = object_, CONVERSE[relation], subject
        found[names[subject], relation, names[object_]] = None
    return list(found)


def reference_graph(graphs: Sequence[SceneGraph], synonyms: Mapping[str, str] | None = None) -> ReferenceGraph:
    """The graphs of one image as one: objects of the same name, or of synonymous names, are one."""
    words, relations = _NewNumbers(_word_number), _NewNumbers(_relation_number)
    told = chain.from_iterable(statements(graph, synonyms) for graph in graphs)
    stated = dict.fromkeys(_renamed(statement, words, relations) for statement in told)
    spoken = {number: word for word, number in reversed(words.items())}
    objects = tuple(numbers[0] for numbers in stated if len(numbers) == 1)
    return ReferenceGraph(dict(words), dict(relations), spoken, objects, frozenset(stated))


def number(stated: Sequence[Statement], reference: ReferenceGraph) -> list[Numbered]:
    """Statements in the numbers of the references."""
    words, relations = reference.met, reference.met_relations
    return list(dict.fromkeys(_renamed(statement, words, relations) for statement in stated))


class _NewNumbers(dict[str, int]):
    """The number of each word: that of a synonym, or a new one."""

    def __init__(self, find: Callable[[str, dict[str, int]], int | None]) -> None:
        self.find = find

    def __missing__(self, word: str) -> int:
        number = self.find(word, self)
        self[word] = number = len(self) if number is None else number
        return number


class _KnownNumbers(dict[str, int | str]):
    """The number of each word among known ones, or the word."""

    def __init__(self, known: dict[str, int], find: Callable[[str, dict[str, int]], int | None]) -> None:
        self.known, self.find = known, find

    def __missing__(self, word: str) -> int | str:
        number = self.find(word, self.known)
        name: int | str = word if number is None else number
        if len(self) < MOST_MET:  # a policy may say new words for ever
            self[word] = name
        return name


def _renamed(statement: Statement, words: Mapping[str, Name], relations: Mapping[str, Name]) -> tuple[Name, ...]:
    if len(statement) == 3:
        return words[statement[0]], relations[statement[1]], words[statement[2]]
    return tuple(words[word] for word in statement)


def _word_number(word: str, known: dict[str, int]) -> int | None:
    """The number of a name or attribute, or of the first synonym of it."""
    if word in known:
        return known[word]
    synonym = first_synonym(word, known)
    return None if synonym is None else known[synonym]


def _relation_number(word: str, known: dict[str, int]) -> int | None:
    """The number of a relation or of the first synonym of it. WordNet takes prepositions for nouns, "in" for inch."""
    if word in known:
        return known[word]
    if word in PREPOSITIONS:
        return None
    synonym = first_synonym(word, [other for other in known if other not in PREPOSITIONS])
    return None if synonym is None else known[synonym]


def compare(stated: Sequence[Numbered], reference: Collection[tuple[int, ...]], halves: float) -> Score:
    """F-measure of numbered statements, of which as many more as ``halves`` match. Anderson et al. 2016, eq. 4-6."""
    if not stated and not reference:
        return Score(nan, nan, nan)
    matched = halves + sum(statement in reference for statement in stated)
    if not matched:
        return Score(0.0, 0.0, 0.0)
    return Score(2 * matched / (len(stated) + len(reference)), matched / len(stated), matched / len(reference))


def kind_credit(stated: Sequence[Numbered], reference: ReferenceGraph, kinds: float) -> float:
    """``kinds`` for each object that is the next wider or narrower term of an object nothing else stands for."""
    own = [statement[0] for statement in stated if len(statement) == 1]
    unnamed = [reference.spoken[number] for number in reference.objects if number not in own]
    credit = 0.0
    for name in own:
        if name not in reference.objects:
            word = name if isinstance(name, str) else reference.spoken[name]
            kin = first_kin(word, unnamed)
            if kin is not None:
                unnamed.remove(kin)
                credit += kinds
    return credit


def scene_graph_f(
    graph: SceneGraph, reference: ReferenceGraph, kinds: float = KINDS, synonyms: Mapping[str, str] | None = None
) -> Score:
    """F-measure, precision and recall of what a graph states; 0 where it or the reference states nothing."""
    stated = number(statements(graph, synonyms), reference)
    score = compare(stated, reference.statements, kind_credit(stated, reference, kinds) if kinds else 0.0)
    return Score(0.0, 0.0, 0.0) if isnan(score.f) else score


def sub_scores(
    graph: SceneGraph, reference: ReferenceGraph, kinds: float = KINDS, synonyms: Mapping[str, str] | None = None
) -> dict[str, Score]:
    """The same of objects, attributes and relations apart, and of the attributes that are colours, counts, sizes."""
    stated = number(statements(graph, synonyms), reference)
    credit = kind_credit(stated, reference, kinds) if kinds else 0.0
    scores = {}
    for size, name in enumerate(("object", "attribute", "relation"), start=1):
        own = [statement for statement in stated if len(statement) == size]
        theirs = {statement for statement in reference.statements if len(statement) == size}
        scores[name] = compare(own, theirs, credit if size == 1 else 0.0)
    for name, members in (("colour", COLOURS), ("count", COUNTS), ("size", SIZES)):
        numbers = {known for word, known in reference.words.items() if word in members} | members
        own = [statement for statement in stated if len(statement) == 2 and statement[1] in numbers]
        theirs = {statement for statement in reference.statements if len(statement) == 2 and statement[1] in numbers}
        scores[name] = compare(own, theirs, 0.0)
    return scores
