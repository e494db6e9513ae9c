"""What is asked: an image with two captions of it that differ, on which side each stands, and in which order."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

Key = tuple[str, frozenset[str]]
"""An image and two captions of it, whichever stands where."""


@dataclass(frozen=True)
class Question:
    """An image with two captions to choose from.

    Attributes:
        image: its id.
        left: the caption shown on the left.
        right: the caption shown on the right.
        left_runs: every run that says what stands on the left.
        right_runs: every run that says what stands on the right.
    """

    image: str
    left: str
    right: str
    left_runs: tuple[str, ...]
    right_runs: tuple[str, ...]

    @property
    def key(self) -> Key:
        """What tells it from other questions."""
        return question_key(self.image, self.left, self.right)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs of runs that an answer compares, each sorted."""
        return [(min(pair), max(pair)) for pair in product(self.left_runs, self.right_runs)]


@dataclass(frozen=True)
class Questions:
    """All that can be asked of some runs.

    Attributes:
        asked: in the order in which they are asked.
        identical: pairs of captions left out, since both runs say the same of the image.
    """

    asked: tuple[Question, ...]
    identical: int


def plain(caption: str) -> str:
    """The caption as a page shows it: runs of white space are one space."""
    return " ".join(caption.split())


def question_key(image: str, first: str, second: str) -> Key:
    """The image and the two captions without their order."""
    return image, frozenset((plain(first), plain(second)))


def make_questions(captions: Mapping[str, Mapping[str, str]], seed: int) -> Questions:
    """Every two differing captions of an image that two runs share, once, even if several runs say the same.

    Sides and order follow from the seed, the image and the captions alone. At any moment the pairs of runs have been
    asked about equally often, as far as they have questions left.

    Args:
        captions: of each run, by image id.
        seed: of sides and order.
    """
    identical = 0
    of_pair: dict[tuple[str, str], list[Key]] = {}
    questions: dict[Key, Question] = {}
    places: dict[Key, bytes] = {}
    for first, second in combinations(captions, 2):
        pair = (min(first, second), max(first, second))
        of_pair[pair] = []
        for image in captions[first].keys() & captions[second].keys():
            texts = captions[first][image], captions[second][image]
            key = question_key(image, *texts)
            if len(key[1]) == 1:
                identical += 1
                continue
            of_pair[pair].append(key)
            if key not in questions:
                places[key], swapped = _drawn(seed, key)
                left, right = sorted(texts, key=plain, reverse=swapped)
                runs = tuple(_runs_saying(captions, image, text) for text in (left, right))
                questions[key] = Question(image, left, right, *runs)
    return Questions(tuple(questions[key] for key in _mixed(of_pair, questions, places)), identical)


def _drawn(seed: int, key: Key) -> tuple[bytes, bool]:
    """A question's place among all, and whether its captions change sides: random, but the same in every session."""
    text = "\0".join((str(seed), key[0], *sorted(key[1])))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return digest[1:], bool(digest[0] & 1)


def _runs_saying(captions: Mapping[str, Mapping[str, str]], image: str, text: str) -> tuple[str, ...]:
    return tuple(run for run, own in captions.items() if image in own and plain(own[image]) == plain(text))


def _mixed(
    of_pair: Mapping[tuple[str, str], Sequence[Key]], questions: Mapping[Key, Question], places: Mapping[Key, bytes]
) -> list[Key]:
    """All questions, the next one always of the pair of runs that was asked about least."""
    waiting = {pair: sorted(set(keys), key=lambda key: places[key], reverse=True) for pair, keys in of_pair.items()}
    times: Counter[tuple[str, str]] = Counter()
    order: dict[Key, None] = {}
    while waiting := {pair: keys for pair, keys in waiting.items() if keys}:
        key = waiting[min(waiting, key=lambda pair: (times[pair], pair))].pop()
        if key not in order:
            order[key] = None
            times.update(set(questions[key].pairs))
    return list(order)
