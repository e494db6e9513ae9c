"""What captions look like, whatever they say: length, endings, diversity."""

from collections.abc import Collection, Sequence
from statistics import pstdev

BAD_ENDINGS = frozenset(
    [
        *("a", "an", "the", "this", "that", "these", "those", "his", "her", "its", "their"),
        *("in", "on", "of", "at", "to", "for", "with", "by", "from", "into", "onto", "upon", "near", "over", "under"),
        *("and", "or", "but", "as", "while", "which", "who"),
        *("is", "are", "was", "were", "be", "being"),
    ]
)
"""Words that leave a caption unfinished."""


def bad_ending(caption: str) -> bool:
    """Whether a caption stops at a word that needs another, as in ``a man with a``; true of an empty one."""
    words = caption.lower().rstrip(" .!?").rsplit(maxsplit=1)
    return not words or words[-1] in BAD_ENDINGS


def distinct(captions: Sequence[str], order: int) -> float:
    """Distinct n-grams over all n-grams of all captions. Li et al. 2016 (distinct-1, distinct-2)."""
    ngrams = [
        tuple(words[start : start + order])
        for words in (caption.split() for caption in captions)
        for start in range(len(words) - order + 1)
    ]
    return len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def repetition(words: Sequence[str], order: int, adjacent: bool = True) -> float:
    """Share of n-grams that repeat an earlier one of the caption; 0 when there is none.

    Args:
        words: of one caption; fewer than ``order`` are one n-gram.
        order: words of an n-gram.
        adjacent: count an n-gram that holds a word twice in a row as repeated, too: the two words of ``man man``.
    """
    order = min(order, len(words))
    if order == 0:
        return 0.0
    ngrams = list(zip(*(words[start:] for start in range(order)), strict=False))
    fresh = set(ngrams)
    if adjacent and order > 1 and any(map(str.__eq__, words, words[1:])):
        fresh = {ngram for ngram in fresh if not any(map(str.__eq__, ngram, ngram[1:]))}
    return 1 - len(fresh) / len(ngrams)


def caption_statistics(
    captions: Sequence[str], training: Collection[str] | None = None, ended: Sequence[bool] | None = None
) -> dict[str, float]:
    """What captions look like, by name; shares are of all captions.

    - length, length_deviation: mean and standard deviation of the captions' words
    - bad_ending_rate: share that stops at a word that needs another
    - repetition_rate: share with a bigram that comes again or is one word twice, see :func:`repetition`
    - distinct_1, distinct_2: distinct words over all words, distinct bigrams over all bigrams
    - vocabulary: distinct words
    - distinct_captions: distinct captions over all captions
    - novel_captions: share that is no training caption, where those are given
    - ended_rate: share that is closed rather than cut at the length limit, where that is known

    Args:
        captions: tokenised captions, words separated by spaces.
        training: the captions learned from, tokenised alike.
        ended: whether each caption was closed.
    """
    words = [caption.split() for caption in captions]
    lengths = list(map(len, words))
    count = max(1, len(captions))
    statistics = {
        "length": sum(lengths) / count,
        "length_deviation": pstdev(lengths) if lengths else 0.0,
        "bad_ending_rate": sum(map(bad_ending, captions)) / count,
        "repetition_rate": sum(repetition(own, 2) > 0 for own in words) / count,
        "distinct_1": distinct(captions, 1),
        "distinct_2": distinct(captions, 2),
        "vocabulary": float(len({word for caption in words for word in caption})),
        "distinct_captions": len(set(captions)) / count,
    }
    if training is not None:
        statistics["novel_captions"] = sum(caption not in training for caption in captions) / count
    if ended is not None:
        statistics["ended_rate"] = sum(ended) / count
    return statistics
