"""METEOR: words of caption and reference aligned by form, stem, synonym and paraphrase. Denkowski & Lavie 2014.

The alignment is made by the original program (version 1.5, LGPL), as pycocoevalcap carries it; the score is computed
here, from the counts it answers, by the formula of the paper.
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Pending, Resampled, Reward, Signature
from rewards.failures import ScoringError
from rewards.java.programs import ANY_LOCALE, JavaProcesses, Known, of_pycocoevalcap
from rewards.java.worker import Program
from rewards.ngrams import Memory, tokenize_groups
from rewards.tokenize import ptb_tokenize

# Tuned on human ranking of English translations: Denkowski & Lavie 2014, table 1; exact, stem, synonym, paraphrase.
RECALL_WEIGHT, FRAGMENTATION_POWER, FRAGMENTATION_WEIGHT, CONTENT_WEIGHT = 0.85, 0.2, 0.6, 0.75
MATCHER_WEIGHTS = (1.0, 0.6, 0.8, 0.6)

# What the program answers: words and function words of caption and reference; for each of the four matchers the matched
# content words of caption and reference, then the function words; chunks; all matched words of caption and reference.
FIELDS = 23
WORDS, REFERENCE_WORDS, FUNCTION_WORDS, REFERENCE_FUNCTION_WORDS, MATCHES = 0, 1, 2, 3, 4
CHUNKS, MATCHED, REFERENCE_MATCHED = 20, 21, 22
BETWEEN = " ||| "

_ONE_AT_A_TIME = threading.Lock()  # remembering is not made for several threads


def meteor(statistics: Float64[np.ndarray, "captions 23"]) -> Float64[np.ndarray, " captions"]:
    """METEOR of each row of counts; a sum of rows gives that of their captions together. Eq. 1-4 of the paper.

    Equal to what the original computes, but for the last bit of a float64 now and then.
    """
    columns = statistics.T

    def weighted(matches: int, words: int, function_words: int) -> Float64[np.ndarray, " captions"]:
        total = np.zeros(len(statistics))
        for matcher, weight in enumerate(MATCHER_WEIGHTS):
            content, function = columns[MATCHES + 4 * matcher + matches], columns[MATCHES + 4 * matcher + 2 + matches]
            total += content * weight * CONTENT_WEIGHT
            total += function * weight * (1 - CONTENT_WEIGHT)
        length = CONTENT_WEIGHT * (columns[words] - columns[function_words])
        return _quotient(total, length + (1 - CONTENT_WEIGHT) * columns[function_words])

    precision = weighted(0, WORDS, FUNCTION_WORDS)
    recall = weighted(1, REFERENCE_WORDS, REFERENCE_FUNCTION_WORDS)
    both = (precision > 0) & (recall > 0)
    inverse = _quotient(np.where(both, 1 - RECALL_WEIGHT, 0.0), precision) + _quotient(both * RECALL_WEIGHT, recall)
    fragmentation = _quotient(columns[CHUNKS], (columns[MATCHED] + columns[REFERENCE_MATCHED]) / 2)
    kept: Float64[np.ndarray, " captions"] = 1 - FRAGMENTATION_WEIGHT * fragmentation**FRAGMENTATION_POWER
    scores: Float64[np.ndarray, " captions"] = _quotient(both * 1.0, inverse) * kept
    return scores


def _quotient(
    above: Float64[np.ndarray, " captions"], below: Float64[np.ndarray, " captions"]
) -> Float64[np.ndarray, " captions"]:
    """The quotient, 0 where it divides by 0."""
    quotient: Float64[np.ndarray, " captions"] = np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
    return quotient


def statistics_of(answer: str) -> Float64[np.ndarray, " 23"]:
    """The counts in a line of the program.

    A caption that matches a whole reference in one chunk is not fragmented at all: its chunk is not counted.
    """
    try:
        counts = np.array(answer.split(), np.float64)
    except ValueError:
        counts = np.zeros(0)
    if len(counts) != FIELDS:
        raise ScoringError(f"METEOR answered {answer[:200]!r} instead of {FIELDS} numbers")
    whole = counts[MATCHED] == counts[WORDS] and counts[REFERENCE_MATCHED] == counts[REFERENCE_WORDS]
    if whole and counts[CHUNKS] == 1:
        counts[CHUNKS] = 0
    return counts


def request(caption: str, references: str) -> str:
    """The line that asks for the counts of a tokenised caption against references that ``joined`` made."""
    return f"SCORE{BETWEEN}{references}{BETWEEN}{_one_field(caption)}"


def joined(references: Sequence[str]) -> str:
    """Tokenised references as they stand in a line."""
    return BETWEEN.join(map(_one_field, references))


def _one_field(text: str) -> str:
    """The text without what ends a field or a line of the program; pycocoevalcap removes the former alike."""
    return text.replace("\n", " ").replace("\r", " ").replace("|||", "").replace("  ", " ")


class Meteor(Reward):
    """METEOR 1.5, as pycocoevalcap computes it, by its program in child processes.

    They take 5 to 15 s to start, which ``prepare`` has them do in the background, and 0.6 GB of memory each. Against
    five references one scores about two thousand captions in a second of processor time.

    Args:
        processes: how many processes share the work.
        memory: the most memory each may take for its data, as Java writes it.
        remembered: how many scored captions are kept between calls, about 1 kB each.
        remembered_images: how many images' tokenised references are kept between calls, about 1 kB each.
        timeout: seconds without an answer after which a process is ended, and started again.
    """

    needs_references = True
    background = True

    def __init__(
        self,
        processes: int = 1,
        memory: str = "1G",
        remembered: int = 65536,
        remembered_images: int = 32768,
        timeout: float = 300.0,
    ) -> None:
        # Not bound methods, which would make a cycle: the processes end when the last reference to this reward does.
        self._processes = JavaProcesses(partial(_program, memory, timeout), processes)
        self._known: Known[Float64[np.ndarray, " 23"]] = Known(partial(_ask, self._processes), remembered)
        self._references: Memory[tuple[str, ...], str] = Memory(_tokenized_and_joined, remembered_images)

    @property
    def signature(self) -> Signature:
        """Version of the program and tokenisation."""
        return Signature("METEOR", {"program": "1.5", "tok": "ptb"})

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Start the processes, without waiting for them."""
        self._processes.start()

    def begin(self, candidates: Candidates) -> Pending:
        """Send the captions that are not known to the processes; what comes back waits for all scores."""
        pending = self.begin_statistics(candidates)
        return lambda: meteor(pending())

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """METEOR of each caption."""
        return self.begin(candidates)()

    def begin_statistics(self, candidates: Candidates) -> Callable[[], Float64[np.ndarray, "captions 23"]]:
        """Start counting; what comes back waits for the counts of each caption, which add up over captions."""
        with _ONE_AT_A_TIME:
            references = self._references(candidates.reference_tuples())
        captions = ptb_tokenize(candidates.captions)
        pending = self._known.begin(list(map(request, captions, references)))
        return lambda: np.array(pending(), np.float64).reshape(-1, FIELDS)

    def aggregate(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> float:
        """METEOR of all captions together: of the sum of their counts."""
        return float(meteor(self.begin_statistics(candidates)().sum(axis=0, keepdims=True))[0])

    def resampled(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> Resampled:
        """METEOR of resamples, from the same counts."""
        statistics = self.begin_statistics(candidates)()
        return lambda times: meteor(times.T @ statistics)

    def close(self) -> None:
        self._processes.close()


def _program(memory: str, timeout: float) -> Program:
    jar = of_pycocoevalcap("meteor", "meteor-1.5.jar")
    # The serial collector halves the memory; one process is busy with one thread anyway.
    options = (f"-Xmx{memory}", "-XX:+UseSerialGC", *ANY_LOCALE)
    return Program(
        "METEOR",
        (*options, "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"),
        timeout,
        f"it was allowed memory={memory!r}; it needs 700m, and as much free",
        lines_at_once=64,
    )


def _ask(processes: JavaProcesses, requests: list[str]) -> Callable[[], list[Float64[np.ndarray, " 23"]]]:
    pending = processes.begin(requests)
    return lambda: list(map(statistics_of, pending()))


def _tokenized_and_joined(references: Sequence[tuple[str, ...]]) -> list[str]:
    return [joined(captions) for captions in tokenize_groups(references)]
