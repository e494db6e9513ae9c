"""Which words of captions differ, and how far captions are apart."""

from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from math import comb

# Words compared; what follows is shown unmarked.
COMPARED = 300


def marked_words(caption: str, other: str) -> tuple[tuple[str, bool], ...]:
    """The caption's words, each with whether it has no counterpart in the other caption."""
    words, others = caption.split(), other.split()
    differs = [True] * min(len(words), COMPARED) + [False] * max(0, len(words) - COMPARED)
    matcher = SequenceMatcher(None, words[:COMPARED], others[:COMPARED], autojunk=False)
    for block in matcher.get_matching_blocks():
        differs[block.a : block.a + block.size] = [False] * block.size
    return tuple(zip(words, differs, strict=True))


def caption_distance(captions: Sequence[str]) -> float:
    """How far captions are apart: of the different words of two captions, the share that only one has, over all pairs.

    Words are counted instead of pairs: a word that k of n captions have is in k (n - k) pairs on one side only, and in
    all but those of the pairs among the n - k others on some side.
    """
    captions_with = Counter(word for caption in captions for word in set(caption.split()))
    count = len(captions)
    apart = sum(times * (count - times) for times in captions_with.values())
    either = sum(comb(count, 2) - comb(count - times, 2) for times in captions_with.values())
    return apart / either if either else 0.0
