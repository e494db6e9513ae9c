"""Scene graphs: hand-worked graphs and F-scores, any text, the known scenes, and agreement with people."""

import csv
import gzip
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from rewards.base import Candidates, RewardError
from rewards.scene_graph import SceneGraphF, graph_from, parse, reference_graph, scene_graph_f, statements, sub_scores
from rewards.scene_graph.registers import SceneGraph
from rewards.scene_graph.tagger import MOST_TOKENS
from rlcap.data.shapes import COLORS, RELATIONS, SHAPES, SIZES, Shapes

# A caption and what it says: objects; object.attribute; subject>relation>object. Objects that bear the same name are
# numbered from the second.
HAND_WORKED = {
    # adjectives, noun compounds, multi-word prepositions: the example of Anderson et al. 2016
    "A young girl standing on top of a tennis court.": "girl, court; girl.young girl.stand court.tennis; "
    "girl>on top of>court",
    "a baseball player next to a traffic light": "player, light; player.baseball light.traffic; player>next to>light",
    "a hot dog and an ice cream cone": "hot dog, cone; cone.ice cone.cream",
    "a black and white dog": "dog; dog.black dog.white",
    "a small, round, wooden table": "table; table.small table.round table.wooden",
    # plurals and counts
    "two dogs": "dog; dog.two",
    "3 women and several children": "woman, child; woman.three child.several",
    "a couple of buses": "bus; bus.two",
    "a pair of dogs and a pair of scissors": "dog, scissors; dog.two",
    "a group of people standing in a field": "people, field; people.group people.stand; people>in>field",
    "a large herd of sheep": "sheep; sheep.herd",
    # participles
    "a sleeping cat": "cat; cat.sleep",
    "a dog running on grass": "dog, grass; dog.run; dog>on>grass",
    "a man is riding a horse": "man, horse; ; man>ride>horse",
    "parked cars along a street": "car, street; car.park; car>along>street",
    "a snow covered field": "field; field.snow field.cover",
    # finite verbs, and words that are verbs or nouns by their place
    "A woman sits and eats a sandwich.": "woman, sandwich; woman.sit; woman>eat>sandwich",
    "people play in the park": "people, park; people.play; people>in>park",
    "kids park their bikes at the skate park": "kid, bike, park; park.skate; kid>park>bike kid>have>bike kid>at>park",
    "a man skates down a ramp": "man, ramp; man.skate; man>down>ramp",
    "a man holds a stop sign": "man, sign; sign.stop; man>hold>sign",
    "a boy trying to catch a ball": "boy, ball; boy.try; boy>catch>ball",
    "a man picking up a box": "man, box; ; man>pick>box",
    # prepositions
    "a cat in front of a house": "cat, house; ; cat>in front of>house",
    "a lamp to the left of a bed": "lamp, bed; ; lamp>left of>bed",
    "in the park, a boy is flying a kite": "park, boy, kite; ; boy>in>park boy>fly>kite",
    "a photo of a man riding a bike": "photo, man, bike; ; photo>of>man man>ride>bike",
    "a bowl full of oranges": "bowl, orange; bowl.full; bowl>of>orange",
    # conjunctions of nouns, adjectives and verbs
    "a man and a woman walking a dog": "man, woman, dog; ; man>walk>dog woman>walk>dog",
    "a table with rice, beans and a fork": "table, rice, bean, fork; ; table>with>rice table>with>bean table>with>fork",
    "a man on a bike and a woman walking": "man, bike, woman; woman.walk; man>on>bike",
    "a man in a red shirt and blue jeans": "man, shirt, jeans; shirt.red jeans.blue; man>wear>shirt man>wear>jeans",
    "a man sits and a dog runs": "man, dog; man.sit dog.run",
    "a boy and his dog play in the snow": "boy, dog, snow; boy.play dog.play; boy>have>dog boy>in>snow dog>in>snow",
    "the cat is orange and white": "cat; cat.orange cat.white",
    # "there is", passive, possessives
    "There are two cats on the bed.": "cat, bed; cat.two; cat>on>bed",
    "a frisbee is being caught by a dog": "frisbee, dog; ; dog>catch>frisbee",
    "a sign held up by a man": "sign, man; ; man>hold>sign",
    "a car parked by a tree": "car, tree; car.park; car>by>tree",
    "the man's hat is red": "man, hat; hat.red; man>have>hat",
    "a girl brushing her hair": "girl, hair; ; girl>have>hair girl>brush>hair",
    # relative clauses
    "a dog that is brown": "dog; dog.brown",
    "a woman who wears glasses is holding a phone": "woman, glasses, phone; ; woman>wear>glasses woman>hold>phone",
    # with, pronouns, other clauses
    "a table with plates on it": "table, plate; ; table>with>plate plate>on>table",
    "a man sits. He is smiling.": "man; man.sit man.smile",
    "a player swings while the catcher watches": "player, catcher; player.swing catcher.watch",
    "a man walking a dog wearing a hat": "man, dog, hat; ; man>walk>dog man>wear>hat",
    "people watching a man riding a wave": "people, man, wave; ; people>watch>man man>ride>wave",
    "a woman dressed in a long coat": "woman, coat; coat.long; woman>wear>coat",
    "a dog looks happy": "dog; dog.look dog.happy",
}  # fmt: skip


def as_text(graph: SceneGraph) -> tuple[list[str], set[str], set[str]]:
    names = [
        name + (str(graph.objects[:place].count(name) + 1) if name in graph.objects[:place] else "")
        for place, name in enumerate(graph.objects)
    ]
    attributes = {f"{names[owner]}.{attribute}" for owner, attribute in graph.attributes}
    return names, attributes, {f"{names[i]}>{relation}>{names[j]}" for i, relation, j in graph.relations}


@pytest.mark.parametrize("caption", HAND_WORKED)
def test_graphs_by_hand(caption: str) -> None:
    objects, attributes, relations = [*HAND_WORKED[caption].split(";"), "", ""][:3]
    names, found_attributes, found_relations = as_text(parse(caption))
    assert names == [name.strip() for name in objects.split(",")]
    assert found_attributes == set(parts(attributes))
    assert found_relations == set(parts(relations))


def parts(text: str) -> list[str]:
    """The statements of a text, whose words may hold spaces ("on top of")."""
    found: list[str] = []
    for word in text.split():
        mark = ">" if ">" in text else "."
        whole = found and found[-1].count(">") < 2 and mark == ">"
        if whole or (found and mark not in word and mark == "."):
            found[-1] += f" {word}"
        else:
            found.append(word)
    return found


def test_capitals_and_tokenised_text_read_the_same() -> None:
    plain = parse("a man's dog doesn't sit on the bench")
    assert parse("A MAN'S DOG DOESN'T SIT ON THE BENCH!") == plain
    assert parse("a man 's dog does n't sit on the bench .") == plain
    assert parse("A man’s dog doesn’t sit on the bench.") == plain


# --- any text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        "🙂🙂🙂",
        "zzxq grblf",
        "the the the",
        "of in on",
        "is",
        "'s",
        "and and",
        "who that which",
        "123 45",
    ],
)
def test_text_that_says_nothing_much(text: str) -> None:
    graph = parse(text)
    assert len(graph.objects) <= 2
    reference = reference_graph([parse("a dog runs")])
    assert scene_graph_f(graph, reference).f == 0


@pytest.mark.parametrize(
    "words", ["a dog and ", "in front of ", "a ", "red ", "man riding ", "x", "🙂", "'", "-", "a-", "d'"]
)
def test_long_text_is_cut_not_slow(words: str) -> None:
    start = time.perf_counter()
    graph = parse(words * (10_000 // len(words)))
    assert time.perf_counter() - start < 0.5  # some milliseconds; quadratic or worse would take many seconds
    assert len(graph.objects) <= MOST_TOKENS


SOME_WORDS = (
    "a the two man men dog red orange is are riding sits parked by of in to and , . that who it his 's with there on "
    "top front while has does can not very group people play park 7 tennis covered looks happy n't up"
)
WORDS = st.sampled_from(SOME_WORDS.split())


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=14).map(" ".join)))
@example("is a")
@example("of 's the and")
@settings(max_examples=400, deadline=None)
def test_any_text_gives_a_graph(text: str) -> None:
    graph = parse(text)
    places = range(len(graph.objects))
    assert all(name for name in graph.objects)
    assert all(owner in places and attribute for owner, attribute in graph.attributes)
    assert all(i in places and j in places and relation for i, relation, j in graph.relations)
    assert len(set(graph.relations)) == len(graph.relations)
    assert parse(text) == graph
    if graph.objects:  # what is said is what is said
        assert scene_graph_f(graph, reference_graph([graph])).f == pytest.approx(1, rel=1e-12)


# --- F-scores


def f_score(caption: str, *references: str, kinds: float = 0.0) -> tuple[float, float, float]:
    return tuple(scene_graph_f(parse(caption), reference_graph([parse(text) for text in references]), kinds))


def test_f_by_hand() -> None:
    # (dog) (dog, brown) (dog, run) | (dog) (dog, run) (grass) (dog, on, grass): two of three, two of four.
    assert f_score("a brown dog running", "a dog runs on grass") == pytest.approx((4 / 7, 2 / 3, 2 / 4), rel=1e-12)
    # Two references state (dog) (dog, run) (dog, brown) (cat): three of four are found, three of three stand.
    two = f_score("a brown dog runs", "a dog is running", "a brown dog and a cat")
    assert two == pytest.approx((6 / 7, 1, 3 / 4), rel=1e-12)
    assert f_score("a red bus", "a cat sleeps") == (0, 0, 0)
    assert f_score("", "a cat sleeps") == f_score("a cat sleeps", "") == (0, 0, 0)


def test_saying_it_twice_changes_nothing() -> None:
    reference = "a brown dog on the grass"
    assert f_score("a dog and a dog and a dog", reference) == f_score("a dog", reference)
    assert f_score("a dog", reference, reference) == f_score("a dog", reference)


def test_synonyms_are_one() -> None:
    assert f_score("a little automobile", "a small car")[0] == 1
    assert f_score("a kid riding a bike", "a child rides a bicycle")[0] == 1
    # Two references with synonyms state (couch) once: (couch) (couch, red), of which one is found.
    assert f_score("a sofa", "a couch", "a red sofa") == pytest.approx((2 / 3, 1, 1 / 2), rel=1e-12)


def test_a_converse_is_the_same_relation() -> None:
    assert f_score("a cat below a table", "a table over a cat")[0] == 1
    assert f_score("a box to the right of a ball", "a ball left of a box")[0] == 1
    assert f_score("a box left of a ball", "a ball left of a box")[0] == pytest.approx(2 / 3, rel=1e-12)


def test_a_preposition_is_no_noun() -> None:
    # WordNet has "in" for inch and "at" for astatine; of (dog) (grass) (dog, at, grass) two are found.
    assert f_score("a dog at the grass", "a dog in the grass")[0] == pytest.approx(2 / 3, rel=1e-12)


def test_kinds_count_as_given() -> None:
    # A puppy is a kind of dog: (puppy) counts half of (dog); (puppy, run) does not count as (dog, run).
    assert f_score("a puppy runs", "a dog runs", kinds=0.5)[0] == pytest.approx(2 * 0.5 / 4, rel=1e-12)
    assert f_score("a puppy runs", "a dog runs")[0] == 0
    # One dog is not the kind of two others, and a dog that is named stands for itself.
    assert f_score("a puppy and a dog", "a dog", kinds=0.5) == pytest.approx((2 / 3, 1 / 2, 1), rel=1e-12)
    assert f_score("a table", "a dog", kinds=0.5)[0] == 0


def test_sub_scores_by_hand() -> None:
    reference = reference_graph([parse("two large red balls on a table"), parse("a red ball on a white table")])
    scores = sub_scores(parse("two small red balls under a table"), reference, kinds=0.0)
    assert scores["object"].f == scores["count"].f == 1
    assert scores["attribute"] == pytest.approx((2 * 2 / (3 + 4), 2 / 3, 2 / 4), rel=1e-12)  # two and red of four
    assert scores["colour"] == pytest.approx((2 / 3, 1, 1 / 2), rel=1e-12)  # red, not the white table
    assert scores["relation"].f == scores["size"].f == 0
    assert math.isnan(sub_scores(parse("a ball"), reference_graph([parse("a ball")]))["colour"].f)


def test_statements_are_told_once() -> None:
    graph = parse("a red ball and a red ball on a table")
    assert statements(graph).count(("ball",)) == statements(graph).count(("ball", "red")) == 1


# --- the reward


def test_the_reward_is_the_function() -> None:
    captions, references = ["a dog runs", "a cat"], [("a puppy runs", "a dog"), ("two cats", "a kitten")]
    reward = SceneGraphF(kinds=0.25)
    expected = [
        scene_graph_f(parse(caption), reference_graph([parse(text) for text in own]), 0.25).f
        for caption, own in zip(captions, references, strict=True)
    ]
    candidates = Candidates(captions, references=references)
    np.testing.assert_allclose(reward(candidates), expected, rtol=1e-12)
    np.testing.assert_allclose(reward(candidates), expected, rtol=1e-12)  # from memory
    assert reward.sub_scores(candidates)[0]["object"].f == pytest.approx(2 * 1 / 3, rel=1e-12)
    assert str(reward.signature) != str(SceneGraphF().signature)
    assert str(SceneGraphF(synonyms=[["a", "b"]]).signature) != str(SceneGraphF().signature)
    assert SceneGraphF().needs_references
    assert not SceneGraphF(truth="scene").needs_references


def test_mistakes_are_told() -> None:
    with pytest.raises(RewardError, match=r"kinds must be from 0 to 1, got 2"):
        SceneGraphF(kinds=2.0)
    with pytest.raises(RewardError, match="references"):
        SceneGraphF()(Candidates(["a dog"]))
    with pytest.raises(RewardError, match="no 'scene'"):
        SceneGraphF(truth="scene")(Candidates(["a dog"]))
    for wrong in (
        {},
        {"objects": [{"color": "red"}]},
        {"objects": ["dog"], "relations": [[0, "on", 1]]},
        {"objects": 3},
    ):
        with pytest.raises(RewardError, match="no scene graph"):
            graph_from(wrong)


def test_a_graph_from_metadata() -> None:
    graph = graph_from({"objects": [{"name": "dog", "attributes": ["brown"]}, "grass"], "relations": [[0, "on", 1]]})
    assert graph == SceneGraph(("dog", "grass"), ((0, "brown"),), ((0, "on", 1),))


# --- scenes whose graph is known

CANONICAL = {word: name for table in (SHAPES, SIZES) for name, words in table.items() for word in words}
SYNONYMS = [["circle", "disc"], ["square", "box"]]


def stated(reference: str) -> tuple[list[str], set[str], set[str]]:
    """What a reference of a scene states, by the grammar of the scenes, read from its end to its beginning."""
    text = reference.removeprefix("there is ").replace(" is ", " ")
    relation = ""
    for name, variants in RELATIONS.items():
        for variant in sorted(variants, key=len, reverse=True):
            if not relation and f" {variant} " in text:
                relation, text = (name if name.endswith(" of") else variant), text.replace(f" {variant} ", " and ")
    phrases = [phrase.split()[1:] for phrase in text.split(" and ")]
    names: list[str] = []
    for phrase in phrases:
        name = phrase[-1]
        names.append(name + (str(sum(other.rstrip("23") == name for other in names) + 1) if name in names else ""))
    attributes = {f"{name}.{word}" for name, phrase in zip(names, phrases, strict=True) for word in phrase[:-1]}
    return names, attributes, {f"{names[0]}>{relation}>{names[1]}"} if relation else set()


@pytest.fixture(scope="module")
def scenes() -> list[tuple[dict[str, Any], tuple[str, ...]]]:
    data = Shapes(train=600, val=200, test=200, seed=3, image_size=32)
    return [
        (dict(record.metadata["scene"]), tuple(record.references))
        for split in ("train", "val", "test")
        for record in data.records(split)
    ]


def test_scene_references_are_read_exactly(scenes: list[tuple[dict[str, Any], tuple[str, ...]]]) -> None:
    references = {reference for _, own in scenes for reference in own}
    assert len(references) > 3000
    wrong = [reference for reference in references if as_text(parse(reference)) != stated(reference)]
    assert not wrong


def test_every_phrase_of_the_scenes_is_read_exactly() -> None:
    shapes = [word for words in SHAPES.values() for word in words]
    sizes = [word for words in SIZES.values() for word in words]
    nouns = [
        " ".join(["an" if words[0][0] in "aeiou" else "a", *words])
        for shape in shapes
        for color in COLORS
        for size in sizes
        for words in ([size, color, shape], [color, shape], [size, shape], [shape])
    ]
    relations = [word for words in RELATIONS.values() for word in words]
    for place, noun in enumerate(nouns):
        other = nouns[(place * 31 + 7) % len(nouns)]
        joined = [f"{verb}{relation}" for relation in relations for verb in ("", "is ")] + ["and"]
        for joint in joined:
            for opening in ("", "there is ") if not joint.startswith("is ") else ("",):
                text = f"{opening}{noun} {joint} {other}"
                assert as_text(parse(text)) == stated(text), text


def test_true_statements_have_precision_one(scenes: list[tuple[dict[str, Any], tuple[str, ...]]]) -> None:
    """A reference is true, so all it states is in the scene's graph, and recall is the share it tells of it."""
    reward = SceneGraphF(truth="scene", synonyms=SYNONYMS, kinds=0.0)
    rows = [(scene, reference) for scene, own in scenes for reference in own]
    scores = reward.scores(Candidates([text for _, text in rows], metadata=[{"scene": scene} for scene, _ in rows]))
    for (scene, reference), score in zip(rows, scores, strict=True):
        assert score.precision == 1, reference
        shapes = [item["shape"] for item in scene["objects"]]
        everything = {(name,) for name in shapes}
        everything |= {(item["shape"], item[key]) for item in scene["objects"] for key in ("color", "size")}
        everything |= {
            (shapes[i], name, shapes[j]) for i, name, j in scene["relations"] if name in ("left of", "above")
        }
        told = len(statements(parse(reference)))
        if len(set(shapes)) == len(shapes):  # else statements of two objects may be one
            assert score.recall == pytest.approx(told / len(everything), rel=1e-12), reference


def test_false_statements_lower_precision() -> None:
    scene = {
        "objects": [
            {"shape": "circle", "color": "red", "size": "large", "radius": 0.2, "center": [0.25, 0.5]},
            {"shape": "star", "color": "blue", "size": "small", "radius": 0.1, "center": [0.75, 0.5]},
        ],
        "relations": [[0, "left of", 1], [1, "right of", 0]],
    }
    reward = SceneGraphF(truth="scene", synonyms=SYNONYMS)

    def precision(caption: str) -> float:
        return reward.scores(Candidates([caption], metadata=[{"scene": scene}]))[0].precision

    # 7 statements are true: two objects, two colours, two sizes, one relation.
    whole = Candidates(["a large red disc to the left of a little blue star"], metadata=[{"scene": scene}])
    np.testing.assert_allclose(reward(whole), [1.0])
    assert precision("a small blue star is right of a big red circle") == 1
    assert precision("a large red circle is right of a small blue star") == pytest.approx(6 / 7, rel=1e-12)
    assert precision("a large green circle left of a small blue star") == pytest.approx(6 / 7, rel=1e-12)
    assert precision("a small red circle left of a small blue star") == pytest.approx(6 / 7, rel=1e-12)
    for wrong in ("square", "box", "triangle"):  # no word of the scenes passes for another
        assert precision(f"a {wrong} and a star") == pytest.approx(1 / 2, rel=1e-12)


# --- agreement with others


def test_agreement_with_people(real_data: Path) -> None:
    """Flickr8k-Expert by the published protocol: 16,992 pairs of a score and one expert's rating, Kendall's tau-c."""
    images = json.loads(gzip.decompress((real_data / "flickr8k/dataset_flickr8k.json.gz").read_bytes()))["images"]
    references = {image["filename"].split(".")[0]: [s["raw"] for s in image["sentences"]] for image in images}
    with (real_data / "human/flickr8k_expert.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["caption_is_own_reference"] == "0"]
    assert len(rows) == 5664
    own = [references[row["image"].split(".")[0]] for row in rows]
    scores = SceneGraphF()(Candidates([row["caption"] for row in rows], references=own))
    ratings = np.array([[int(row[f"expert{expert}"]) for expert in (1, 2, 3)] for row in rows])
    tau = kendalltau(np.repeat(scores, 3), ratings.ravel(), variant="c").statistic
    assert tau > 0.45  # SPICE 0.449, CIDEr-D 0.439


def test_agreement_with_spice(real_data: Path) -> None:
    items = json.loads((real_data / "coco/fakecap_gold.json").read_text())["items"]
    items = [item for item in items if item.get("spice")]
    candidates = Candidates([item["caption"] for item in items], references=[item["raw_refs"] for item in items])
    official = [item["spice"]["All"] for item in items]
    assert spearmanr(SceneGraphF(kinds=0.0)(candidates), official).statistic > 0.8
