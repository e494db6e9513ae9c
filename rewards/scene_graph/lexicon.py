"""The part of speech a word may have, its dictionary form, and whether it names what moves by itself or is worn.

Closed classes and what captions make of some words are listed here. The open classes are in ``data/lexicon.txt``: words
that the rules for unknown ones would misjudge, with the readings that WordNet 3.0 gives them; those that occur in less
than some per cent of the clear contexts of the captions of COCO val2014 are left out.

A tag is one letter. Upper case is settled, lower case is for the context to settle:

    D determiner   P possessive   C number      J adjective   N noun    S plural noun   R adverb
    V finite verb  G -ing form    E participle  X be          H have    M modal, do     T to
    I preposition  O of           Y conjunction W subordinator          Q relative pronoun
    U pronoun      L there        K 's          A particle    B group of F dropped   , . punctuation
    a adjective or noun   b noun or base verb   p base verb or noun   s plural or third person   z the reverse
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from rewards.scene_graph.wordnet import NO_PLURAL, infinitive, known, singular


def listed(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


CLOSED: dict[str, str] = {
    "D": "a an the this these those some any every another no",
    "P": "his her its their my our your whose",
    "C": "zero one two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty fifty "
    "hundred thousand several many few multiple numerous dozen",
    "X": "is are was were be been being am isn aren wasn 're 'm",
    "H": "has have had having",
    "M": "can could will would should may might must do does did don doesn didn won 'll 'd 've",
    "T": "to",
    "O": "of",
    "I": "in on at with by from into onto near behind beside besides between through across along around against above "
    "below inside under underneath beneath over toward towards during upon atop among amongst amid within without off "
    "past via for alongside aboard beyond like throughout outside per inbetween",
    "A": "up down out away",
    "Y": "and or but & nor plus",
    "W": "while whilst as when where because if although though whereas so after before since until than",
    "Q": "that which who whom",
    "U": "he she it they him them himself herself itself themselves something i we you us me others",
    "L": "there here",
    "G": "doing",
    "E": "done",
    "K": "'s",
    "F": "n't 't t also just only even very really too quite not yet still then about both all each either neither "
    "such enough",
}

NUMBERS = "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"
COUNT_WORDS = {str(number): word for number, word in enumerate(NUMBERS)}

COLOURS = listed(
    "black white red green blue yellow orange brown pink purple gray grey tan gold golden silver beige maroon "
    "turquoise teal navy violet lavender cream crimson scarlet khaki ivory magenta cyan indigo bronze olive burgundy "
    "peach blonde blond brunette auburn multicolored colorful colourful multi-colored"
)
COUNTS = listed(CLOSED["C"]) | listed("couple pair single lone")
SIZES = listed(
    "big large huge giant enormous massive gigantic oversized jumbo immense small little tiny miniature mini short "
    "tall long wide narrow medium high low thick thin larger smaller bigger taller largest smallest biggest"
)

# Several words that stand in one place: their tag, what they are read as, and how they are written.
PHRASES: list[tuple[str, str, str]] = [
    ("I", "in front of", "in front of|in the front of|at the front of|front of|in front"),
    ("I", "on top of", "on top of|on the top of|over top of|on top"),
    ("I", "next to", "next to|beside of|by the side of|at the side of|to the side of|on the side of|adjacent to"),
    ("I", "near", "near to|close to|close by|nearby to"),
    ("I", "left of", "left of|to the left of|on the left of|at the left of|to left of|on the left side of"),
    ("I", "right of", "right of|to the right of|on the right of|at the right of|to right of|on the right side of"),
    ("I", "in", "in the middle of|in the center of|in the centre of|in middle of|in the midst of|in the corner of"),
    ("I", "at", "at the end of|at the edge of|at the top of|at the bottom of|at the base of|at the foot of"),
    ("I", "on", "on the edge of|on the back of|on the end of|on the corner of|on the bottom of|on the surface of"),
    ("I", "on", "up on|down on|on the other side of|on the front of"),
    ("I", "onto", "on to|up onto|down onto"),
    ("I", "behind", "in back of|in the back of|at the back of"),
    ("I", "above", "up above"),
    ("I", "below", "down below"),
    ("I", "under", "down under"),
    ("I", "along", "alongside of"),
    ("I", "against", "up against"),
    ("I", "around", "all around"),
    ("I", "inside", "inside of"),
    ("I", "outside", "outside of"),
    ("I", "out of", "out of"),
    ("I", "off", "off of"),
    ("I", "away from", "away from"),
    ("I", "between", "in between"),
    ("I", "across from", "across from"),
    ("I", "with", "along with|together with|such as"),
    ("I", "to", "up to|down to|over to"),
    ("N", "close-up", "close up"),
    ("Y", "and", "as well as"),
    ("F", "", "of course|as if|at all|in order|at least|each other|one another"),
    ("D", "some", "all of|some of|each of|both of|most of|a kind of|a type of|a sort of|a piece of|pieces of"),
    ("B", "many", "lot of|lots of|plenty of|number of|hundreds of|dozens of"),
    ("B", "two", "couple of"),
    ("B", "pair", "pair of|pairs of"),
    ("C", "several", "a few"),
    ("C", "twelve", "a dozen"),
    *(
        ("B", name, f"{name} of|{plural} of")
        for name, plural in (
            *(("group", "groups"), ("bunch", "bunches"), ("herd", "herds"), ("flock", "flocks"), ("crowd", "crowds")),
            *(("pack", "packs"), ("row", "rows"), ("variety", "varieties"), ("assortment", "assortments")),
            *(("collection", "collections"), ("array", "arrays"), ("series", "series"), ("set", "sets")),
        )
    ),
]

PREPOSITIONS = listed(f"{CLOSED['I']} {CLOSED['A']} of to") | {reading for tag, reading, _ in PHRASES if tag == "I"}

# Dictionary forms of irregular verbs, and of one that captions take for another.
LEMMAS = dict.fromkeys(("laying", "lays", "lay", "laid"), "lie")
LEMMAS |= dict.fromkeys(("does", "did", "doing", "done"), "do") | dict.fromkeys(("has", "having"), "have")

# Things of which one is called a pair.
PAIRED = listed(
    "scissors pants jeans shorts trousers tights glasses eyeglasses sunglasses goggles binoculars headphones pliers "
    "tongs"
)
# Participles that say where something is: "by" after them is a place, not the one who acts.
PLACED = listed(
    "park sit seat situate locate gather stand place stop pose leave hang mount line perch dock moor tie anchor"
)
# After these a particle is a way to go, so "up", "down" and "out" are prepositions.
MOTION = listed(
    "walk run ride go drive ski climb move come travel fly ride skate skateboard snowboard roll slide look head jump "
    "swim float lead hike race fall make ride surf cross glide sail speed bike stroll march"
)
# Things seen: who they are done to does what follows ("watching a man riding").
SEEING = listed("watch see look show have observe film photograph picture depict feature display find")

# Things one sees something in: what follows tells of that. Rooms and grounds: what follows tells of what is in them.
VIEWS = listed("picture photo photograph image view close-up closeup shot snapshot painting drawing")
PLACES = listed(
    "room kitchen bathroom bedroom area street field park building city store office restaurant beach yard scene lot "
    "market garden town hall road house airport station shop cafe hallway intersection space"
)
BESIDE = listed("beside behind under above near over below") | {"next to", "in front of", "left of", "right of"}
# Participles of verbs that are done to, or by, those who can move: whom they tell of if the nearest cannot.
DONE_TO_MOVERS = listed("dress seat clothe clad pose follow chase pull tow accompany crouch")
DRESSED = listed("dress clothe clad")
LINKING = listed("look appear seem feel become get stay remain turn stand sit lie")  # "looks happy"

ADJECTIVE_ENDINGS = ("able", "ible", "ful", "ous", "less", "ish", "ive", "ic", "esque", "like")


@dataclass(frozen=True)
class Words:
    """What ``data/lexicon.txt`` holds.

    Attributes:
        tags: tags of words.
        lemmas: dictionary forms that the rules of :mod:`rewards.scene_graph.wordnet` miss.
        movers: nouns of persons, animals and vehicles.
        vehicles: those of vehicles.
        worn: nouns of clothes.
    """

    tags: dict[str, str]
    lemmas: dict[str, str]
    movers: frozenset[str]
    vehicles: frozenset[str]
    worn: frozenset[str]


@cache
def words() -> Words:
    """The lists of ``data/lexicon.txt``: a line is a heading and its words; one that begins with ``#`` is a remark."""
    tags: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    for line in (files("rewards.scene_graph") / "lexicon.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            heading, *members = line.split()
            lists.setdefault(heading, []).extend(members)
    for heading, members in lists.items():
        if len(heading) == 1:
            tags |= dict.fromkeys(members, heading)
    for tag, members_text in CLOSED.items():
        tags |= dict.fromkeys(members_text.split(), tag)
    lists["movers"] += lists["vehicles"]
    lemmas = dict(pair.split(":") for pair in lists["lemmas"])
    return Words(tags, lemmas | LEMMAS, *(frozenset(lists[heading]) for heading in ("movers", "vehicles", "worn")))


def guess(word: str) -> str:
    """The tag of a word that no list holds, by its form."""
    if not word[0].isalpha():
        return "C" if word[0].isdecimal() else "F"
    if "-" in word:
        return "N" if known(word) else "S" if guess(word.rpartition("-")[2] or "-") == "S" else "a"
    tags = words().tags
    if word.endswith("ing") and len(word) > 4 and (tags.get(infinitive(word), "N") in "Vbp" or not known(word)):
        return "G"
    if word.endswith("ed") and len(word) > 3 and (tags.get(infinitive(word), "N") in "Vbp" or not known(word)):
        return "E"
    if word.endswith("ly") and len(word) > 4:
        return "R"
    if word.endswith("s") and (lemma := singular(word)) != word:
        return {"V": "V", "p": "z", "b": "s"}.get(tags.get(lemma, "N"), "S")
    if word.endswith("s") and len(word) > 3 and not word.endswith(NO_PLURAL) and not known(word):
        return "S"
    stem = word.removesuffix("er").removesuffix("est")
    if stem != word and len(stem) > 2:
        bases = [stem, stem + "e"] + ([stem[:-1] + "y"] if stem[-1] == "i" else [stem[:-1]] * (stem[-1] == stem[-2]))
        if any(tags.get(base) == "J" or base in COLOURS or base in SIZES for base in bases):
            return "J"
    if word.endswith(ADJECTIVE_ENDINGS) and len(word) > 5:
        return "J"
    return "N"
