"""CHAIR: objects that a caption mentions and that are not in the image. Rohrbach et al. 2018, arXiv 1809.02156.

CHAIRi is the share of mentioned objects that are hallucinated, CHAIRs the share of captions with any of them. The true
objects of an image are those that its metadata list and those that its references mention. A caption that mentions no
object hallucinates none: use it beside a reward that wants objects named. For COCO::

    hallucination: {weight: 1.0, reward: {class_path: rewards.hallucination.Chair}}

and for the synthetic scenes, by shape and colour::

    class_path: rewards.hallucination.Chair
    init_args:
      lexicon: {circle: [disc], square: [box], triangle: [], star: []}
      attributes: {color: {red: [], orange: [], yellow: [], green: [], blue: [], purple: []}}
      objects: scene.objects
      label: shape
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float64, Int64

from rewards.base import Candidates, Resampled, Reward, RewardError, Signature
from rewards.coco_objects import coco_lexicon
from rewards.ngrams import Memory
from rewards.phrases import Phrases, words_of

logger = logging.getLogger(__name__)

Thing = tuple[str, frozenset[tuple[str, str]]]
"""An object: its name, and what is known of its attributes, such as ``("circle", {("color", "red")})``."""


@dataclass(frozen=True)
class ChairCounts:
    """What CHAIR counts in each caption: objects mentioned, every mention counted, and those not in the image."""

    mentioned: Int64[np.ndarray, " captions"]
    hallucinated: Int64[np.ndarray, " captions"]


def chair_i(counts: ChairCounts) -> float:
    """Share of all mentions that are hallucinated; 0 without mentions."""
    return float(counts.hallucinated.sum() / max(1, counts.mentioned.sum()))


def chair_s(counts: ChairCounts) -> float:
    """Share of captions that hallucinate."""
    return float((counts.hallucinated > 0).mean()) if len(counts.hallucinated) else 0.0


def hallucinated(mentioned: Sequence[Thing], true: Iterable[Thing]) -> list[Thing]:
    """The mentioned objects that no true object is: of the same name, and with every attribute that is mentioned."""
    attributes: dict[str, list[frozenset[tuple[str, str]]]] = {}
    for name, known in true:
        attributes.setdefault(name, []).append(known)
    return [(name, said) for name, said in mentioned if not any(said <= known for known in attributes.get(name, ()))]


def things(words: Sequence[str], lexicon: Phrases, attributes: Mapping[str, Phrases]) -> list[Thing]:
    """The objects that these words mention, each with the attributes that directly precede its name, in any order."""
    found = []
    for mention in lexicon.find(words):
        said: dict[str, str] = {}
        place = mention.start
        while place > 0:
            values = {kind: values.meanings.get((words[place - 1],)) for kind, values in attributes.items()}
            spoken = {kind: value for kind, value in values.items() if value is not None}
            if not spoken:
                break
            said = spoken | said  # nearest the name wins
            place -= 1
        found.append((mention.name, frozenset(said.items())))
    return found


def read_lexicon(path: str) -> dict[str, list[str]]:
    """Names and their synonyms from a YAML file: ``circle: [disc]``, one name per line.

    Raises:
        RewardError: if the file is missing or holds something else.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RewardError(f"there is no lexicon {path}: check the path, or give the names inline") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise RewardError(f"cannot read the lexicon {path} ({reason}): write lines such as `circle: [disc]`") from error
    if not isinstance(content, dict) or not content:
        raise RewardError(f"the lexicon {path} holds no names: write lines such as `circle: [disc]`")
    lexicon = {}
    for name, synonyms in content.items():
        listed = [] if synonyms is None else synonyms
        if not isinstance(listed, list) or not all(isinstance(word, str) for word in [name, *listed]):
            raise RewardError(f"the lexicon {path} has {name!r}: {synonyms!r}: write text, such as `circle: [disc]`")
        lexicon[name] = listed
    return lexicon


class Chair(Reward):
    """Minus CHAIRi: minus the share of a caption's objects that are hallucinated, 0 for a caption without objects.

    The value of all captions together is minus the paper's: over all mentions, not the mean of captions.

    Args:
        lexicon: for each object name its synonyms, or a YAML file of them; plurals need no mention. None is COCO's 80
            categories.
        ignored: phrases that name no object though a part of them does, such as ``train station``.
        attributes: for each attribute the words of its values and their synonyms. An object is then hallucinated, too,
            when it is said to be red and nothing red of its name is known to be there.
        objects: where the metadata list an image's objects, dots between nested keys. They are names, or mappings that
            hold a name and attributes.
        label: the key of the name in such mappings.
        use_references: whether what references mention is in the image, too. Where the metadata list no objects, they
            are all that is known.
        remembered_images: for how many images what the references mention is kept between calls.
    """

    def __init__(
        self,
        lexicon: dict[str, list[str]] | str | None = None,
        ignored: list[str] | None = None,
        attributes: dict[str, dict[str, list[str]]] | None = None,
        objects: str = "objects",
        label: str = "name",
        use_references: bool = True,
        remembered_images: int = 32768,
    ) -> None:
        if lexicon is None:
            self.lexicon = coco_lexicon(ignored or ())
        else:
            self.lexicon = Phrases(read_lexicon(lexicon) if isinstance(lexicon, str) else lexicon, ignored or ())
        self.attributes = {kind: Phrases(values, inflected=False) for kind, values in (attributes or {}).items()}
        for kind, values in self.attributes.items():
            if long := next((words for words in values.meanings if len(words) > 1), None):
                raise RewardError(
                    f"value {' '.join(long)!r} of attribute {kind!r} is more than one word: give one word"
                )
        self.objects, self.label, self.use_references = objects, label, use_references
        self.needs_references = use_references
        self._memory: Memory[tuple[str, ...], frozenset[Thing]] = Memory(self._of_references, remembered_images)
        self._resolved: dict[str, str | None] = {}
        self._asked = False  # whether a first batch has shown that the lexicon is of its objects

    @property
    def signature(self) -> Signature:
        """A digest of the words, and what is true."""
        return Signature(self.called, {"lexicon": self._digest(), "truth": self._truth_name(), "tok": "ptb"})

    called = "-CHAIRi"

    def _digest(self) -> str:
        meanings = {kind: sorted(map(repr, own.meanings.items())) for kind, own in self.attributes.items()}
        text = json.dumps([sorted(map(repr, self.lexicon.meanings.items())), sorted(meanings.items())])
        return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()

    def _truth_name(self) -> str:
        return f"{self.objects}+references" if self.use_references else self.objects

    # --- counting

    def counts(self, candidates: Candidates) -> ChairCounts:
        """Mentioned and hallucinated objects of each caption."""
        rows = self.found(candidates)
        mentioned = np.array([len(own) for own, _ in rows], np.int64)
        return ChairCounts(mentioned, np.array([len(wrong) for _, wrong in rows], np.int64))

    def found(self, candidates: Candidates) -> list[tuple[list[Thing], list[Thing]]]:
        """The objects that each caption mentions, and those of them that are hallucinated."""
        truths = self.truths(candidates)
        captions = [things(words, self.lexicon, self.attributes) for words in words_of(candidates.captions)]
        return [(own, hallucinated(own, true)) for own, true in zip(captions, truths, strict=True)]

    def truths(self, candidates: Candidates) -> list[frozenset[Thing]]:
        """The objects of each caption's image, as far as metadata and references tell; warns where no image has any."""
        truths = self._truths(candidates)
        if truths and not self._asked:
            self._asked = True
            if not any(truths):
                name = next(iter(self.lexicon.names.values()), "none")
                logger.warning(
                    "%s: of the first %d captions no image has an object that the lexicon knows (%d names, such as "
                    "%s), in metadata under %r or in references: give your objects' names as lexicon, such as "
                    "{circle: [disc]}",
                    *(type(self).__name__, len(truths), len(self.lexicon.names), name, self.objects),
                )
        return truths

    def _truths(self, candidates: Candidates) -> list[frozenset[Thing]]:
        listed = [self._listed(row) for row in candidates.metadata or [{}] * len(candidates)]
        if self.use_references and (candidates.references is not None or None in listed):
            said = self._memory(candidates.reference_tuples())
            return [own | (known or frozenset()) for own, known in zip(said, listed, strict=True)]
        if None in listed:
            caption = candidates.captions[listed.index(None)]
            raise RewardError(
                f"the metadata of caption {caption!r} list no objects under {self.objects!r}: name the key in objects, "
                "or set use_references"
            )
        return [known or frozenset() for known in listed]

    def _of_references(self, references: Sequence[tuple[str, ...]]) -> list[frozenset[Thing]]:
        return [
            frozenset(thing for words in words_of(own) for thing in things(words, self.lexicon, self.attributes))
            for own in references
        ]

    def _listed(self, metadata: Mapping[str, Any]) -> frozenset[Thing] | None:
        """The objects in one image's metadata; None if there is no such key."""
        value: Any = metadata
        for key in self.objects.split("."):
            if not isinstance(value, Mapping) or key not in value:
                return None
            value = value[key]
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise RewardError(f"metadata have {value!r} under {self.objects!r}: give a list of objects")
        known = [self._thing(item) for item in value]
        return frozenset(thing for thing in known if thing is not None)

    def _thing(self, item: object) -> Thing | None:
        """One object of the metadata; None if the lexicon has no such name, so that no caption could mention it."""
        label = item.get(self.label) if isinstance(item, Mapping) else item
        if not isinstance(label, str):
            raise RewardError(
                f"metadata have object {item!r}: give a name, or a mapping with its name as {self.label!r}"
            )
        if label not in self._resolved:
            self._resolved[label] = self.lexicon.resolve(label)
        name = self._resolved[label]
        if name is None:
            return None
        given = item if isinstance(item, Mapping) else {}
        values = {
            kind: own.resolve(given[kind]) for kind, own in self.attributes.items() if isinstance(given.get(kind), str)
        }
        return name, frozenset((kind, value) for kind, value in values.items() if value is not None)

    # --- the numbers

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """Minus the share of hallucinated objects of each caption."""
        counts = self.counts(candidates)
        shares: Float64[np.ndarray, " captions"] = counts.hallucinated / np.maximum(counts.mentioned, 1)
        return 0.0 - shares

    def aggregate(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> float:
        """Minus CHAIRi over all mentions."""
        return 0.0 - chair_i(self.counts(candidates))

    def resampled(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> Resampled:
        """Minus CHAIRi of resamples, from the same counts."""
        counts = self.counts(candidates)
        return lambda times: 0.0 - (counts.hallucinated @ times) / np.maximum(counts.mentioned @ times, 1)


class ChairS(Chair):
    """Minus CHAIRs: -1 for a caption that mentions any object that is not in the image, 0 otherwise.

    It takes what ``Chair`` takes. The value of all captions together is minus the share of them that hallucinate.
    """

    called = "-CHAIRs"

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """-1 or 0 for each caption."""
        return 0.0 - (self.counts(candidates).hallucinated > 0)

    def aggregate(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> float:
        """Minus CHAIRs: the mean."""
        return 0.0 - chair_s(self.counts(candidates))

    def resampled(self, candidates: Candidates, scores: Float64[np.ndarray, " captions"]) -> Resampled:
        """Minus CHAIRs of resamples: their means."""
        return lambda times: scores @ times / times.sum(axis=0)
