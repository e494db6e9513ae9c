"""Penalties for what captions fall into when a reward is chased: length, repetition, endings, stock words, sameness.

A penalty is 0 where nothing is wrong and negative otherwise, so its weight in a sum is positive::

    rewards:
      cider_d: {reward: {class_path: rewards.cider.CiderD}}
      endings: {weight: 0.5, reward: {class_path: rewards.penalties.BadEnding}}

Words are those of the PTB tokeniser: lower-cased, without punctuation.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from rewards.base import Candidates, Resampled, Reward, RewardError, Signature
from rewards.bleu import bleu_statistics, reference_maxima, sentence_bleu
from rewards.ngrams import ORDERS, Memory, tokenize_groups
from rewards.phrases import Phrases, words_of
from rewards.statistics import bad_ending, repetition
from rewards.tokenize import ptb_tokenize

# --- length


def length_excess(
    words: Int64[np.ndarray, " captions"], shortest: int, longest: int, relative: bool
) -> Float64[np.ndarray, " captions"]:
    """How many words a caption lacks or has too many; ``relative`` as a share of the bound it misses."""
    lacking, beyond = np.maximum(shortest - words, 0), np.maximum(words - longest, 0)
    unit_below, unit_above = (max(shortest, 1), max(longest, 1)) if relative else (1, 1)
    excess: Float64[np.ndarray, " captions"] = lacking / unit_below + beyond / unit_above
    return excess


def brevity_penalty(
    words: Int64[np.ndarray, " captions"], reference_words: Int64[np.ndarray, " captions"]
) -> Float64[np.ndarray, " captions"]:
    """BLEU's exp(1 - r / c) where a caption of c words is shorter than its reference of r words, 1 elsewhere.

    Papineni et al. 2002, section 2.2.2. It is 0 for an empty caption.
    """
    ratio = np.divide(reference_words, words, out=np.full(len(words), np.inf), where=words > 0)
    ratio[(words == 0) & (reference_words == 0)] = 1.0
    penalty: Float64[np.ndarray, " captions"] = np.exp(np.minimum(0.0, 1.0 - ratio))
    return penalty


class Length(Reward):
    """Minus the words that a caption is outside a range of lengths; the range may be a single length.

    Nine of ten captions of COCO have 8 to 15 words.

    Args:
        shortest: the least words that cost nothing.
        longest: the most words that cost nothing.
        relative: count the share of the bound that is missed rather than words: 4 words where 8 are the least cost 0.5.
    """

    def __init__(self, shortest: int = 8, longest: int = 15, relative: bool = False) -> None:
        if not 0 <= shortest <= longest or longest == 0:
            raise RewardError(f"length needs 0 <= shortest <= longest and longest > 0, got {shortest} and {longest}")
        self.shortest, self.longest, self.relative = shortest, longest, relative

    @property
    def signature(self) -> Signature:
        """Range, unit and tokenisation."""
        unit = "share" if self.relative else "words"
        return Signature("Length", {"range": f"{self.shortest}-{self.longest}", "unit": unit, "tok": "ptb"})

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """Minus the distance of each caption's length from the range."""
        return 0.0 - length_excess(_lengths(candidates.captions), self.shortest, self.longest, self.relative)


class Brevity(Reward):
    """BLEU's brevity penalty less 1: from 0 for a caption not shorter than its closest reference down to -1.

    The value of all captions together comes from their summed lengths, as in BLEU.

    Args:
        remembered_images: how many images' reference lengths are kept between calls.
    """

    needs_references = True

    def __init__(self, remembered_images: int = 32768) -> None:
        self._memory: Memory[tuple[str, ...], tuple[int, ...]] = Memory(_reference_lengths, remembered_images)

    @property
    def signature(self) -> Signature:
        """Reference length and tokenisation."""
        return Signature("Brevity", {"length": "closest", "tok": "ptb"})

    def lengths(self, candidates: Candidates) -> tuple[Int64[np.ndarray, " captions"], Int64[np.ndarray, " captions"]]:
        """Words of each caption, and of its closest reference, the shorter of two equally close."""
        words = _lengths(candidates.captions)
        rows = zip(words.tolist(), self._memory(candidates.reference_tuples()), strict=True)
        closest = [min((abs(length - own), length) for length in lengths)[1] for own, lengths in rows]
        return words, np.array(closest, np.int64)

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """The brevity penalty of each caption, less 1."""
        return brevity_penalty(*self.lengths(candidates)) - 1.0

    def aggregate(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> float:
        """The brevity penalty of all captions together, less 1."""
        words, reference_words = self.lengths(candidates)
        return float(brevity_penalty(words.sum(keepdims=True), reference_words.sum(keepdims=True))[0] - 1.0)

    def resampled(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> Resampled:
        """The brevity penalty of resamples, less 1, from the same lengths."""
        words, reference_words = self.lengths(candidates)

        def penalties(times: Float64[np.ndarray, "captions resamples"]) -> Float64[np.ndarray, " resamples"]:
            # Products of floats are fast, and exact below 2^53.
            totals = [
                np.rint(lengths.astype(np.float64) @ times).astype(np.int64) for lengths in (words, reference_words)
            ]
            return brevity_penalty(*totals) - 1.0

        return penalties


def _lengths(captions: Sequence[str]) -> Int64[np.ndarray, " captions"]:
    return np.array([len(tokens.split()) for tokens in ptb_tokenize(captions)], np.int64)


def _reference_lengths(references: Sequence[tuple[str, ...]]) -> list[tuple[int, ...]]:
    return [tuple(len(tokens.split()) for tokens in captions) for captions in tokenize_groups(references)]


# --- repetition


class Repetition(Reward):
    """Minus the share of a caption's n-grams that are repeated.

    Args:
        order: words of an n-gram. Single words repeat in good captions, too (``a man and a dog``).
        adjacent: count an n-gram that holds a word twice in a row as repeated, too: the two words of ``man man``.
    """

    def __init__(self, order: int = 2, adjacent: bool = True) -> None:
        if order < 1:
            raise RewardError(f"an n-gram has 1 word or more, got order {order}")
        self.order, self.adjacent = order, adjacent

    @property
    def signature(self) -> Signature:
        """Order, treatment of words twice in a row, and tokenisation."""
        adjacent = "yes" if self.adjacent else "no"
        return Signature("Repetition", {"order": str(self.order), "adjacent": adjacent, "tok": "ptb"})

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """Minus the share of repeated n-grams of each caption."""
        captions = map(str.split, ptb_tokenize(candidates.captions))
        shares = np.array([repetition(words, self.order, self.adjacent) for words in captions], np.float64)
        return 0.0 - shares


# --- endings


class BadEnding(Reward):
    """-1 for a caption that stops at a word that needs another, such as ``with a``, or that is empty.

    Args:
        count_cut: also -1 for one that was cut at the length limit, whatever its last word.
    """

    def __init__(self, count_cut: bool = True) -> None:
        self.count_cut = count_cut

    @property
    def signature(self) -> Signature:
        """Treatment of captions cut at the limit, and tokenisation."""
        return Signature("BadEnding", {"cut": "yes" if self.count_cut else "no", "tok": "ptb"})

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """-1 or 0 for each caption."""
        bad = np.array([bad_ending(caption) for caption in ptb_tokenize(candidates.captions)], bool)
        if self.count_cut and candidates.ended is not None:
            bad |= ~np.array(candidates.ended, bool)
        return 0.0 - bad


# --- words that should not occur


def read_phrases(path: str) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        RewardError: if the file is missing, unreadable or holds none.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise RewardError(f"there is no file {path}: check the path, or give the words inline") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RewardError(f"cannot read words from {path} ({error}): give a text file in UTF-8") from error
    phrases = [line.strip() for line in lines if line.strip()]
    if not phrases:
        raise RewardError(f"{path} holds no words: write one word or phrase per line")
    return phrases


class ForbiddenWords(Reward):
    """Minus the number of times that forbidden words or phrases occur.

    Whole words in upper or lower case; a hyphen separates words; of phrases that overlap the longest counts, once.

    Args:
        words: words and phrases, such as ``[photo, close up]``.
        file: a text file of more, one per line.
        once: -1 for a caption with any of them, however many.
    """

    def __init__(self, words: list[str] | None = None, file: str | None = None, once: bool = False) -> None:
        phrases = [*(words or []), *(read_phrases(file) if file is not None else [])]
        if not phrases:
            raise RewardError("no words are forbidden: give words, or a file with one word or phrase per line")
        self.lexicon = Phrases({phrases[0]: phrases[1:]}, inflected=False)
        self.once = once

    @property
    def signature(self) -> Signature:
        """How many phrases there are, which (a digest of the list), and how they count."""
        phrases = sorted(" ".join(words) for words in self.lexicon.meanings)
        digest = hashlib.blake2b("\n".join(phrases).encode(), digest_size=4).hexdigest()
        count = "once" if self.once else "all"
        return Signature("ForbiddenWords", {"words": f"{len(phrases)}@{digest}", "count": count, "tok": "ptb"})

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """Minus the number of forbidden words of each caption."""
        counts = np.array([len(self.lexicon.find(words)) for words in words_of(candidates.captions)], np.float64)
        return 0.0 - (np.minimum(counts, 1.0) if self.once else counts)


# --- sameness


def self_bleu(captions: Sequence[str], groups: Iterable[str], order: int) -> Float64[np.ndarray, " captions"]:
    """BLEU of each tokenised caption against the others of its group; 0 for one that is alone. Zhu et al. 2018."""
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    rows = [row for own in members.values() if len(own) > 1 for row in own]
    others = [[captions[other] for other in own if other != row] for own in members.values() for row in own]
    scores = np.zeros(len(captions))
    if rows:
        maxima = reference_maxima([own for own in others if own])
        scores[rows] = sentence_bleu(bleu_statistics([captions[row] for row in rows], maxima))[:, order - 1]
    return scores


class SelfBleu(Reward):
    """Minus the BLEU of a caption against the other captions of its image in the batch: -1 for equal captions.

    A caption alone with its image scores 0: those of evaluation, and a greedy baseline that is scored apart from
    the samples, which it flatters. Take it with a baseline made of the samples themselves.

    Args:
        order: the longest n-gram counted, 1 to 4.
    """

    independent = False

    def __init__(self, order: int = 4) -> None:
        if order not in range(1, ORDERS + 1):
            raise RewardError(f"BLEU has orders 1 to {ORDERS}, got {order}")
        self.order = order

    @property
    def signature(self) -> Signature:
        """Order and tokenisation."""
        return Signature(f"-SelfBLEU-{self.order}", {"length": "closest", "tok": "ptb"})

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """Minus the BLEU of each caption against the others of its image."""
        if candidates.image_ids is None:
            raise RewardError("SelfBleu compares captions of one image, and Candidates.image_ids is None: give them")
        return 0.0 - self_bleu(ptb_tokenize(candidates.captions), candidates.image_ids, self.order)
