"""Which images a gallery shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from jaxtyping import Float


class Rule(Enum):
    """Why an image is shown."""

    GAIN = "Largest gain"
    LOSS = "Largest loss"
    DISAGREEMENT = "Methods disagree"
    SAMPLE = "Random sample"


@dataclass(frozen=True)
class Choice:
    """An image by its place, why it is shown, and whose gain or loss it is by the method's row."""

    image: int
    rule: Rule
    method: int | None = None


@dataclass(frozen=True)
class Grounds:
    """What images are chosen by.

    Attributes:
        gains: of each method over the baseline, positive where it is better; NaN where that is unknown.
        spread: the standard deviation of the scores over methods; 0 where they are unknown.
        distance: how far the captions are apart.
    """

    gains: Float[np.ndarray, "methods images"]
    spread: Float[np.ndarray, " images"]
    distance: Float[np.ndarray, " images"]


def choose(grounds: Grounds, pool: Sequence[int], places: int, rng: np.random.Generator) -> list[Choice]:
    """So many images of the pool, or all, the rules in turn: three quarters extremes, and a sample of the rest."""
    found = extremes(grounds, pool, 3 * places // 4)
    taken = {choice.image for choice in found}
    rest = [image for image in pool if image not in taken]
    drawn = rng.choice(len(rest), min(places - len(found), len(rest)), replace=False)
    return _rules_in_turn([*found, *(Choice(rest[place], Rule.SAMPLE) for place in sorted(drawn))])


def extremes(grounds: Grounds, pool: Sequence[int], places: int) -> list[Choice]:
    """At most so many images: a third the largest gains, a third the largest losses, a third the most disagreement.

    Methods take turns at gains and at losses, so that one with large gains leaves places to the others.
    """
    third, found, taken = places // 3, [], set[int]()
    for rule, gains in ((Rule.GAIN, grounds.gains), (Rule.LOSS, -grounds.gains)):
        chosen = _in_turns(gains, rule, [image for image in pool if image not in taken], third)
        taken |= {choice.image for choice in chosen}
        found += chosen
    apart = [i for i in pool if i not in taken and (grounds.spread[i] > 0 or grounds.distance[i] > 0)]
    apart.sort(key=lambda i: (-grounds.spread[i], -grounds.distance[i], i))
    return _rules_in_turn([*found, *(Choice(image, Rule.DISAGREEMENT) for image in apart[: places - 2 * third])])


def _rules_in_turn(choices: Sequence[Choice]) -> list[Choice]:
    """The choices so that the first few are of every rule."""
    of_rules = [[choice for choice in choices if choice.rule is rule] for rule in Rule]
    longest = max(map(len, of_rules))
    return [of_rule[place] for place in range(longest) for of_rule in of_rules if place < len(of_rule)]


def _in_turns(gains: Float[np.ndarray, "methods images"], rule: Rule, pool: Sequence[int], places: int) -> list[Choice]:
    """The images with the largest gains above zero, one of each method in turn."""
    ranked = [iter(sorted((-own[image], image) for image in pool if own[image] > 0)) for own in gains]
    found: dict[int, Choice] = {}
    waiting = list(range(len(ranked)))
    while waiting and len(found) < places:
        method = waiting.pop(0)
        image = next((image for _, image in ranked[method] if image not in found), None)
        if image is not None:
            found[image] = Choice(image, rule, method)
            waiting.append(method)
    return list(found.values())
