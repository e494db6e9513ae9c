"""What captions look like, whatever they say: length, endings, diversity."""

from collections.abc import Sequence

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


def caption_statistics(captions: Sequence[str]) -> dict[str, float]:
    """Mean length in words, share of bad endings, distinct-1 and -2, words in use, and share of different captions.

    Args:
        captions: tokenised captions, words separated by spaces.
    """
    words = [caption.split() for caption in captions]
    count = max(1, len(captions))
    return {
        "length": sum(map(len, words)) / count,
        "bad_ending_rate": sum(map(bad_ending, captions)) / count,
        "distinct_1": distinct(captions, 1),
        "distinct_2": distinct(captions, 2),
        "vocabulary": float(len({word for caption in words for word in caption})),
        "distinct_captions": len(set(captions)) / count,
    }
