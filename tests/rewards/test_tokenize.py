import gzip
import json
import random
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from rewards.tokenize import CAPTIONS, DROPPED, MOST_REMEMBERED, PIECES, ptb_tokenize

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no java on PATH")

# What the Java original answers, by group of rules.
CASES = {
    "abbreviations": [
        ("mr. smith met dr. jones on oak st. near the bldg.", "mr. smith met dr. jones on oak st. near the bldg."),
        ("Sat. and Sun. but Mon. etc.", "sat and sun but mon. etc."),
        ("a mass. of Mass. tourists", "a mass of mass. tourists"),
        ("no. 5 and no. five, fig. 2, pp. 3", "no. 5 and no five fig. 2 pp. 3"),
        ("Fla.s and Fla.st", "fla. s and fla.st"),
        ("Mr.Smith and U.S. troops", "mr.smith and u.s. troops"),
        ("ave.) blvd., inc.", "ave. -rrb- blvd. inc."),
    ],
    "initials": [
        ("the letter b. on a sign", "the letter b. on a sign"),
        ("U.S.A. and u.k. at 5 p.m. today", "u.s.a. and u.k. at 5 p.m. today"),
        ("a person I. A hood", "a person i a hood"),
        ("J.R.R. Tolkien, Ph.D.", "j.r.r. tolkien ph.d."),
        ("T.V. and T.V in a room", "t.v. and t.v in a room"),
        ("a K. the cat", "a k. the cat"),
    ],
    "dotted": [
        ("a dog in a park.The dog runs", "a dog in a park.the dog runs"),
        ("foo.bar.baz and a!b and dog?Yes", "foo.bar.baz and a!b and dog?yes"),
        ("see the street sign.,", "see the street sign."),
        ("field.. and field... and field....", "field and field and field"),
        ("5.foo foo.5", "5 foo foo .5"),
    ],
    "contractions": [
        ("don't can't won't ain't CAN'T", "do n't ca n't wo n't ai n't ca n't"),
        ("it's the dog's and the dogs' ball", "it 's the dog 's and the dogs ball"),
        ("I'm he'd they'll we've you're", "i 'm he 'd they 'll we 've you 're"),
        ("shouldn't've", "should n't 've"),
        ("don’t dog’s they’ll", "do n't dog 's they 'll"),
        ("graffiti'd its'", "graffiti 'd its"),
    ],
    "apostrophes": [
        ("'em 'til 'cause rock 'n' roll", "'em 'til 'cause rock 'n' roll"),
        ("rock'n'roll", "rock 'n' roll"),
        ("'tis the season 'twas", "'t is the season 't was"),
        ("six o'clock, hors d'oeuvres, l'eau, O'Neal", "six o'clock hors d'oeuvres l'eau o'neal"),
        ("ma'am c'mon y'all ol' Dunkin' Donuts", "ma'am c'mon y' all ol' dunkin' donuts"),
        ("the '90s, 1950's, '80's", "the '90s 1950 's 80 's"),
        ("'round and 'bout", "round and bout"),
        ("hallowe'en cap'n s'mores", "hallowe'en cap'n s'mores"),
    ],
    "split words": [
        ("cannot gonna wanna gotta gimme lemme", "can not gon na wan na got ta gim me lem me"),
        ("Cannot, cannots, cannot's, cannot-do", "can not cannots cannot 's cannot-do"),
    ],
    "numbers": [
        ("-5 +5 1,000 1.5 .5 10,00", "-5 +5 1,000 1.5 .5 10,00"),
        ("5:30 5:30pm 5pm 5 p.m. 5p.m.", "5:30 5:30 pm 5pm 5 p.m. 5p m."),
        ("1/2 3-1/2 22 3/4 inch", "1/2 3-1/2 22\xa03/4 inch"),
        ("10-20 1990-91 9/11/2001 24/7", "10-20 1990-91 9/11/2001 24/7"),
        ("1st 2nd 3d 20-year-old", "1st 2nd 3d 20-year-old"),
        ('5\'10" and 8x10"', "5 10 and 8x10"),
        ("2.5-inch 1,000-foot 1.5m 5%", "2.5-inch 1,000-foot 1.5 m 5 %"),
    ],
    "joined words": [
        ("black-and-white t-shirt half-pipe.", "black-and-white t-shirt half-pipe"),
        ("his/her and/or room/dining-room w/o a/b/c/d", "his/her and/or room/dining-room w/o a/b/c / d"),
        ("multi- colored -ish a--b", "multi colored ish a b"),
        ("foo_bar _foo a_b_c", "foo_bar _ foo a_b_c"),
        ("non-U.S. u.s.-based", "non-u.s. u.s.-based"),
        ("is th,ee-layer cake", "is th,ee-layer cake"),
    ],
    "money": [
        ("$5.00 US$5 C$ £5 €5 5¢ ¥5 ½ ¾ cup ⅓", "$ 5.00 us$ 5 c$ # 5 $ 5 5 cents ¥ 5 1/2 3/4 cup 1/3"),
    ],
    "entities": [
        ("AT&T R&B a & b M&M's a&b", "at&t r&b a & b m&m 's a & b"),
        ("black &amp; white &lt;3 &quot;hi&quot; AT&amp;T &nbsp; x", "black & white < 3 hi at&t x"),
        ("caf&eacute; &foo; &mdash;", "caf&eacute; & foo"),
    ],
    "addresses": [
        ("see www.foo.com or http://foo.com/bar?x=1&y=2.", "see www.foo.com or http://foo.com/bar?x=1&y=2"),
        ("foo@bar.com, @foo_bar #selfie #1", "foo@bar.com, @foo_bar #selfie # 1"),
        ("https://a foo.com/bar.", "https / / a foo.com/bar"),
    ],
    "markup": [
        ('<a> <br/> <a href="x"> text </a>', '<a> <br/> <a\xa0href="x"> text </a>'),
        ("1 < 2 > 0 and <3", "1 < 2 > 0 and < 3"),
        ("<unk> sign <foo bar>", "<unk> sign <foo\xa0bar>"),
    ],
    "telephones": [
        ("call (800) 555-1212 now", "call -lrb-800-rrb-\xa0555-1212 now"),
        ("800-555-1212 or 800.555.1212", "800-555-1212 or 800.555.1212"),
        ("dial 800 555 1212", "dial 800\xa0555\xa01212"),
    ],
    "smileys": [
        (":) :-) ;) :( :D :P :/ ^_^ -_- (^_^)", ":-rrb- :--rrb- ;-rrb- :-lrb- :d :p / ^_^ -_- -lrb-^_^-rrb-"),
        ("happy:)yes", "happy -rrb- yes"),
        ("C++ and C# and F#", "c++ and c# and f#"),
    ],
    "dashes and dots": [
        ("a - b -- c --- d ----- e", "a b c d ----- e"),
        ("a – b—c", "a b c"),
        ("wait... what… . . . end", "wait what end"),
    ],
    "quotes": [
        ("\"no parking\" 'stop' ``go'' “left” ‘right’ «up»", "no parking stop go left right up"),
        ('reads"stop"and', "reads stop and"),
    ],
    "brackets": [
        ("(a) [b] {c} foo(s)", "-lrb- a -rrb- -lsb- b -rsb- -lcb- c -rcb- foo -lrb- s -rrb-"),
    ],
    "punctuation": [
        ("what?! no!! yes! ok? a;b c: d,e ,f", "what ?! no !! yes ok a b c d e f"),
        (", ; : . ! ?", ""),
        ("* ** foo*bar # ## 2+2=4 ~ ^ | \\", "* ** foo * bar # ## 2 +2 = 4 ~ ^ | \\"),
    ],
    "unicode": [
        ("café Zürich 日本語 naïve été", "café zürich 日本語 naïve été"),
        ("emoji 😀 dog😀cat ❤️ ☃ ™", "emoji dog cat ❤ ☃ ™"),
        ("nb\xa0sp zero\u200bwidth soft\xadhyphen", "nb sp zero width softhyphen"),
        ("5° 90°F m²", "5 ° 90 ° f m ²"),
        ("ΟΔΟΣ İstanbul", "οδος i̇stanbul"),
    ],
    "blank": [
        ("", ""),
        (" ", ""),
        ("  two   spaces ", "two spaces"),
        ("\ttab\there", "tab here"),
    ],
}

# Cut up and put together again, these make captions of every rule.
SCRAPS = [scrap for cases in CASES.values() for caption, _ in cases for scrap in caption.split()]


def java_tokenize(captions: list[str]) -> list[str]:
    """The answer of the Java original, each caption before a line of one plain word, which its lexer may look at."""
    records = {}
    for index, caption in enumerate(captions):
        records[index] = [{"caption": caption}]
        records[-1 - index] = [{"caption": "neighbour"}]
    tokens = PTBTokenizer().tokenize(records)
    return [tokens[index][0] for index in range(len(captions))]


@pytest.mark.parametrize(
    ("caption", "tokens"), [pytest.param(*case, id=name) for name in CASES for case in CASES[name]]
)
def test_rule_group(caption: str, tokens: str) -> None:
    assert ptb_tokenize([caption]) == [tokens]


def test_newline_inside_a_caption_is_a_space() -> None:
    assert ptb_tokenize(["a dog\nruns", "22\n3/4 inch"]) == ["a dog runs", "22\xa03/4 inch"]


def test_no_captions() -> None:
    assert ptb_tokenize([]) == []


def test_a_caption_does_not_depend_on_its_neighbours() -> None:
    captions = ["letter P.", "The dog", "Ave S.", "A cat"]
    assert ptb_tokenize(captions) == [ptb_tokenize([caption])[0] for caption in captions]
    assert ptb_tokenize(captions) == ["letter p.", "the dog", "ave s.", "a cat"]


def test_memory_changes_no_answer_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    captions = [caption for cases in CASES.values() for caption, _ in cases]
    PIECES.clear()
    CAPTIONS.clear()
    first = ptb_tokenize(captions)
    assert ptb_tokenize(captions) == first
    monkeypatch.setattr("rewards.tokenize.MOST_REMEMBERED", 10)
    monkeypatch.setattr("rewards.tokenize.MOST_CAPTIONS_REMEMBERED", 5)
    PIECES.clear()
    CAPTIONS.clear()
    assert ptb_tokenize(captions) == first
    assert len(PIECES) <= 10 < MOST_REMEMBERED
    assert len(CAPTIONS) <= 5
    ptb_tokenize(["a " * 300])
    assert "a " * 300 not in CAPTIONS
    ptb_tokenize(["x" * 65])
    assert "x" * 65 not in PIECES


@pytest.mark.parametrize(
    "unit",
    ["a", "a.", "a,", "a-", "a'", "n't", "<a ", '<a b="', "http://", "http://a.", "a@", "a+", "A&", "1.", "1 ", "(",
     "&", "!", "_", "foo.com/", "e'e", "5 5 ", "a-b/c-", "K. The ", "\u0301", "😀", "\n"],
)  # fmt: skip
def test_a_very_long_caption_takes_no_more_than_a_moment(unit: str) -> None:
    start = time.process_time()
    ptb_tokenize([(unit * 10_000)[:10_000]])
    assert time.process_time() - start < 3


@given(st.text())
def test_any_text_gives_clean_tokens(caption: str) -> None:
    (line,) = ptb_tokenize([caption])
    tokens = line.split(" ") if line else []
    assert all(tokens)
    assert DROPPED.isdisjoint(tokens)
    assert "\n" not in line


@given(st.lists(st.sampled_from(SCRAPS)).map(" ".join))
def test_scraps_of_every_rule_give_clean_tokens(caption: str) -> None:
    (line,) = ptb_tokenize([caption])
    tokens = line.split(" ") if line else []
    assert all(tokens)
    assert DROPPED.isdisjoint(tokens)


@given(st.lists(st.text("bcdfhkmxz", min_size=2)))
def test_plain_words_stay_as_they_are(words: list[str]) -> None:
    line = " ".join(words)
    assert ptb_tokenize([line + " ."]) == [line]


@pytest.mark.java
@needs_java
def test_cases_are_what_java_answers() -> None:
    cases = [case for group in CASES.values() for case in group]
    assert java_tokenize([caption for caption, _ in cases]) == [tokens for _, tokens in cases]


@pytest.mark.java
@needs_java
def test_agrees_with_java_on_shuffled_scraps() -> None:
    rng = random.Random(0)
    plain = ["a", "the", "dog", "cat", "plays", "near", "of", "on", "two", "red"]
    captions = [
        " ".join(rng.choices(SCRAPS, k=2) + rng.choices(plain, k=5) + rng.choices(SCRAPS)) for _ in range(5_000)
    ]
    agreed = sum(ours == java for ours, java in zip(ptb_tokenize(captions), java_tokenize(captions), strict=True))
    assert agreed >= 0.999 * len(captions)


@pytest.mark.java
@needs_java
@pytest.mark.parametrize("source", ["coco", "flickr8k"])
def test_agrees_with_java_on_real_captions(real_data: Path, source: str) -> None:
    """The Java original as it is used, neighbours and all: what it costs to read each caption on its own is in here."""
    if source == "coco":
        groups = json.loads(gzip.decompress((real_data / "coco/captions_val2014.json.gz").read_bytes()))
    else:
        flickr = json.loads(gzip.decompress((real_data / "flickr8k/dataset_flickr8k.json.gz").read_bytes()))
        groups = {image["filename"]: [sentence["raw"] for sentence in image["sentences"]] for image in flickr["images"]}
    java = PTBTokenizer().tokenize({key: [{"caption": text} for text in group] for key, group in groups.items()})
    agreed = sum(
        ours == theirs for key in groups for ours, theirs in zip(ptb_tokenize(groups[key]), java[key], strict=True)
    )
    assert agreed >= 0.9999 * sum(map(len, groups.values()))
