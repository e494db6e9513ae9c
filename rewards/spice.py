"""SPICE: do caption and references say the same things? F-score over objects, attributes, relations. Anderson 2016.

The original program (version 1.0, AGPL) does it all, as pycocoevalcap carries it; ``SpiceServer.java`` beside this file
keeps it alive. Its parser, Stanford CoreNLP 3.6.0, must be fetched once: ``rlcap fetch spice``.
"""

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Pending, Resampled, Reward, RewardError, Signature
from rewards.document_frequencies import cache_folder
from rewards.failures import ScoringError
from rewards.java.programs import ANY_LOCALE, JavaProcesses, Known, of_pycocoevalcap
from rewards.java.worker import Program
from rewards.ngrams import tokenize_groups
from rewards.tokenize import ptb_tokenize

Category = Literal["All", "Object", "Attribute", "Relation", "Color", "Cardinality", "Size"]

CORENLP = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
VARIABLE = "RLCAP_SPICE"
FETCH = "run `rlcap fetch spice`"
# What libraries of 2016 reach into, and Java 17 keeps closed.
OPENED = tuple(
    f"--add-opens=java.base/java.{package}=ALL-UNNAMED"
    for package in ("lang", "math", "util", "util.concurrent", "net", "text")
)
TIMEOUT = 600.0  # seconds; the parser takes half a minute to load, and a request may hold hundreds of long sentences
CAPTIONS_AT_ONCE = 64  # parsed together, by several threads
REFERENCE_GRAPHS = 8192  # images whose references' graphs the program keeps in memory


@dataclass(frozen=True)
class SpiceScore:
    """Precision, recall and their harmonic mean; NaN where neither caption nor references say anything of the kind."""

    precision: float
    recall: float
    f: float


def places_of_corenlp(cache: Path | None = None) -> list[Path]:
    """Where CoreNLP is looked for, in this order."""
    named = os.environ.get(VARIABLE)
    return [*([Path(named)] if named else []), of_pycocoevalcap("spice", "lib"), fetched(cache)]


def fetched(cache: Path | None = None) -> Path:
    """Where ``rlcap fetch spice`` puts CoreNLP."""
    return (cache or cache_folder()) / "spice"


def corenlp(jars: Path | None = None, cache: Path | None = None) -> list[Path]:
    """CoreNLP's two jars, from this folder or else the first place that has both.

    Raises:
        RewardError: if there is none.
    """
    places = places_of_corenlp(cache) if jars is None else [jars]
    for place in places:
        if all((place / jar).is_file() for jar in CORENLP):
            return [place / jar for jar in CORENLP]
    raise RewardError(
        f"SPICE needs {' and '.join(CORENLP)}, not found in {' or '.join(map(str, places))}: {FETCH}, or name their "
        f"folder in {VARIABLE}"
    )


class Spice(Reward):
    """SPICE 1.0, by its program in a child process.

    Alone it is a poor training reward, since it does not see grammar (its authors say so): ``rewards.spider.Spider``
    adds CIDEr-D. The program is verified on Java 17 from the parsed tuples on: its scores are those of its own command
    line on the same parses. The parser's models (0.4 GB) were not at hand, so neither the published number of a data
    set nor the speed of parsing is.

    Args:
        category: ``All``, or the kind of statement that counts.
        jars: folder of CoreNLP's jars; None looks into ``RLCAP_SPICE``, pycocoevalcap's ``spice/lib`` and where
            ``rlcap fetch spice`` put them.
        cache: folder where parses of references are kept between runs, and CoreNLP is looked for; None is
            ``RLCAP_CACHE``, else ``~/.cache/rlcap``.
        threads: how many sentences are parsed at once; 0 is one per processor.
        memory: the most memory the program may take for its data, as Java writes it.
        remembered: how many scored captions are kept between calls, about 2 kB each.
    """

    needs_references = True
    background = True

    def __init__(
        self,
        category: Category = "All",
        jars: Path | None = None,
        cache: Path | None = None,
        threads: int = 0,
        memory: str = "8G",
        remembered: int = 65536,
    ) -> None:
        if category not in get_args(Category):
            raise RewardError(f"SPICE has the categories {', '.join(get_args(Category))}, got {category!r}")
        if threads < 0:
            raise RewardError(f"threads must be 0 (one per processor) or more, got {threads}")
        self.category = category
        # Not bound methods, which would make a cycle: the process ends when the last reference to this reward does.
        self._processes = JavaProcesses(partial(spice_program, jars, cache, threads, memory))
        self._known: Known[dict[str, SpiceScore]] = Known(partial(_ask, self._processes), remembered)

    @property
    def signature(self) -> Signature:
        """Category, version of program and parser, tokenisation."""
        name = "SPICE" if self.category == "All" else f"SPICE-{self.category}"
        return Signature(name, {"program": "1.0", "parser": "corenlp-3.6.0", "tok": "ptb"})

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Start the process, without waiting for it."""
        self._processes.start()

    def begin(self, candidates: Candidates) -> Pending:
        """Send the captions that are not known to the process; what comes back waits for all scores."""
        pending = self.begin_categories(candidates)
        return lambda: np.nan_to_num(self._f(pending()))

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """F-score of each caption; 0 where neither it nor its references say anything of the category."""
        return self.begin(candidates)()

    def begin_categories(self, candidates: Candidates) -> Callable[[], list[dict[str, SpiceScore]]]:
        """Start scoring; what comes back waits for all categories of each caption, by their names."""
        captions, references = ptb_tokenize(candidates.captions), tokenize_groups(candidates.reference_tuples())
        pairs = zip(captions, references, strict=True)
        return self._known.begin([json.dumps([caption, own]) for caption, own in pairs])

    def aggregate(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> float:
        """Mean over the captions where the category occurs."""
        return float(self.resampled(candidates, scores)(np.ones((len(candidates), 1)))[0]) if len(candidates) else 0.0

    def resampled(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> Resampled:
        """The same mean of resamples."""
        f = self._f(self.begin_categories(candidates)())
        occurs = np.isfinite(f)
        return lambda times: np.nan_to_num(f) @ times / np.maximum(occurs @ times, 1.0)

    def close(self) -> None:
        self._processes.close()

    def _f(self, categories: list[dict[str, SpiceScore]]) -> Float64[np.ndarray, " captions"]:
        return np.array([scores[self.category].f for scores in categories], np.float64)


def spice_program(
    jars: Path | None, cache: Path | None, threads: int, memory: str, caption_parses: str = "-"
) -> Program:
    """How the program is started, kept alive by our server.

    Raises:
        RewardError: if a part is missing, or the cache cannot be written.
    """
    program, libraries = of_pycocoevalcap("spice", "spice-1.0.jar"), of_pycocoevalcap("spice", "lib")
    class_path = [program, *corenlp(jars, cache), libraries / "*"]
    parses = "-"
    if platform.machine().lower() in ("x86_64", "amd64"):  # the data base of parses is native code
        folder = fetched(cache) / "parses"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RewardError(f"cannot make {folder} ({error.strerror}): set RLCAP_CACHE to a folder") from error
        parses = str(folder)
    server = Path(__file__).with_name("java") / "SpiceServer.java"
    options = (f"-Xmx{memory}", "-XX:+ExitOnOutOfMemoryError", *ANY_LOCALE, *OPENED)
    arguments = (caption_parses, parses, str(threads), str(REFERENCE_GRAPHS))
    return Program(
        "SPICE",
        (*options, "-cp", os.pathsep.join(map(str, class_path)), str(server), *arguments),
        TIMEOUT,
        f"it needs a JDK of version 11 or newer, which has a compiler, and was allowed memory={memory!r}",
    )


def _ask(processes: JavaProcesses, pairs: list[str]) -> Callable[[], list[dict[str, SpiceScore]]]:
    """Send pairs of caption and references in JSON; what comes back waits for the scores of each."""
    parts = [pairs[start : start + CAPTIONS_AT_ONCE] for start in range(0, len(pairs), CAPTIONS_AT_ONCE)]
    pending = processes.begin([f"[{','.join(part)}]" for part in parts])

    def finish() -> list[dict[str, SpiceScore]]:
        return [scores for part, answer in zip(parts, pending(), strict=True) for scores in _scores(answer, len(part))]

    return finish


def _scores(answer: str, captions: int) -> list[dict[str, SpiceScore]]:
    try:
        content = json.loads(answer)
    except ValueError as error:
        raise ScoringError(f"SPICE answered {answer[:200]!r} instead of JSON") from error
    if isinstance(content, dict):
        said = content.get("error", answer)
        if "edu/stanford/nlp/" in said:  # a class or a model that is not in the jars
            raise RewardError(f"the parser of SPICE is incomplete ({said}): {FETCH}")
        raise ScoringError(f"SPICE failed: {said}")
    by_place = {item["image_id"]: item["scores"] for item in content}
    return [
        {category: _score(by_place[place][category]) for category in get_args(Category)} for place in range(captions)
    ]


def _score(values: dict[str, float | None]) -> SpiceScore:
    precision, recall, f = (np.nan if values[key] is None else float(values[key] or 0) for key in ("pr", "re", "f"))
    return SpiceScore(precision, recall, f)
