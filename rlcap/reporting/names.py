"""What numbers are called, and whether more of them is better."""

import re

STATISTICS = {
    "length": "Words",
    "length_deviation": "Words, deviation",
    "bad_ending_rate": "Bad endings",
    "repetition_rate": "Repetition",
    "ended_rate": "Ended",
    "distinct_1": "Distinct-1",
    "distinct_2": "Distinct-2",
    "vocabulary": "Vocabulary",
    "distinct_captions": "Different captions",
    "novel_captions": "Novel captions",
    "self_cider": "Self-CIDEr",
    **{f"mbleu_{order}": f"mBLEU-{order}" for order in range(1, 5)},
    "div_1": "Div-1",
    "div_2": "Div-2",
    "samples_vocabulary": "Vocabulary of samples",
}
"""What captions are like, by key of scores.json."""

MEANINGS = {
    "length": "Words: per caption.",
    "bad_ending_rate": 'Bad endings: captions that end in a word such as "a" or "with", or are empty.',
    "repetition_rate": "Repetition: captions that hold an n-gram twice.",
    "distinct_1": "Distinct-1 and -2: different words and pairs of words over all of all captions.",
    "vocabulary": "Vocabulary: different words.",
    "distinct_captions": "Different captions: their share of all.",
    "novel_captions": "Novel captions: the share that is no training caption.",
    "self_cider": "Self-CIDEr: how different several captions of an image are, 0 to 1.",
    "mbleu_1": "mBLEU: BLEU of each of several captions of an image against the others; less is more diverse.",
    "div_1": "Div-1 and -2: different words and pairs over all of several captions of an image.",
}
"""What these numbers are, in a sentence each."""

MEANS = frozenset({"CIDEr-D", "ROUGE-L"})
"""Metrics whose score of a split is always the mean over its images."""

# Better the lower they are; whatever else is a score is better the higher it is.
_LOWER = re.compile(r"bad_ending_rate|repetition_rate|mbleu_\d|CHAIR.*|.*perplexity.*", re.IGNORECASE)
# What captions are like says nothing of how good they are.
_NEITHER = frozenset({"length", "length_deviation", "vocabulary", "samples_vocabulary", "ended_rate"})


def direction(name: str, signature: str = "") -> int:
    """1 where more of a metric or statistic is better, -1 where less is, 0 where neither.

    The signature decides where there is one: a metric may have any name, and ``-CHAIRi`` is CHAIRi turned round.
    """
    if name in _NEITHER:
        return 0
    return -1 if _LOWER.fullmatch(signature.partition("|")[0] or name) else 1
