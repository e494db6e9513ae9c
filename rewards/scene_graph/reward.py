"""How much of what a caption says the references say, and the reverse: an F-measure of statements. No Java.

A caption is parsed into a scene graph (:mod:`rewards.scene_graph.parser`), and what the graph states is compared with
what the references state (:mod:`rewards.scene_graph.match`), as in SPICE (Anderson et al. 2016). The numbers are not
SPICE's, whose parser is another, and bear their own name. The truth may also be a scene graph that the data set has.

It sees what is said and not how: neither fluency nor repetition changes the score, so as a reward it wants company.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from rewards.base import Candidates, Reward, RewardError, Signature
from rewards.ngrams import KnownScores, Memory
from rewards.scene_graph.match import (
    KINDS,
    ReferenceGraph,
    Score,
    reference_graph,
    scene_graph_f,
    sub_scores,
)
from rewards.scene_graph.parser import parse
from rewards.scene_graph.registers import SceneGraph

PARSER = 1  # counts the changes of the parser, its lexicon and the comparison that change scores


def graph_from(description: Mapping[str, Any]) -> SceneGraph:
    """The scene graph that a data set describes.

    Args:
        description: ``objects``, each a name or a mapping with its ``name`` (or ``shape``) and perhaps a list of
            ``attributes``, other texts of it being attributes too (``color: red``); perhaps ``attributes``, each
            ``[place of the object, attribute]``, and ``relations``, each ``[place, relation, place]``.

    Raises:
        RewardError: if it is not of that form.
    """
    names: list[str] = []
    attributes: list[tuple[int, str]] = []
    try:
        for place, item in enumerate(description["objects"]):
            if isinstance(item, str):
                names.append(item)
                continue
            key = "name" if "name" in item else "shape"
            names.append(item[key])
            texts = [value for other, value in item.items() if other != key and isinstance(value, str)]
            attributes += [(place, text) for text in [*texts, *item.get("attributes", ())]]
        attributes += [(place, text) for place, text in description.get("attributes", ())]
        relations = [(subject, relation, other) for subject, relation, other in description.get("relations", ())]
        ends = [place for subject, _, other in relations for place in (subject, other)]
        for place in [*ends, *(place for place, _ in attributes)]:
            if not 0 <= place < len(names):
                raise IndexError(f"there is no object {place}")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise RewardError(
            f"no scene graph ({type(error).__name__}: {error}): give objects, [{{name: dog, attributes: [brown]}}], "
            "and relations, [[0, on, 1]]"
        ) from error
    return SceneGraph(tuple(names), tuple(dict.fromkeys(attributes)), tuple(dict.fromkeys(relations)))


class SceneGraphF(Reward):
    """F-measure of what the caption states, against the references or against the true scene.

    Args:
        kinds: what an object counts of which the references have the next wider or narrower term; 0 to 1.
        synonyms: further words that are the same, in groups.
        truth: the entry of ``Candidates.metadata`` that holds the scene graph to compare with; None: the references.
        remembered_images: how many images' graphs are kept between calls, about 8 kB each.
    """

    def __init__(
        self,
        kinds: float = KINDS,
        synonyms: Sequence[Sequence[str]] = (),
        truth: str | None = None,
        remembered_images: int = 32768,
    ) -> None:
        if not 0 <= kinds <= 1:
            raise RewardError(f"kinds must be from 0 to 1, got {kinds:g}")
        self.kinds = kinds
        self.synonyms = {word: group[0] for group in synonyms for word in group}
        self.truth = truth
        self.needs_references = truth is None
        self._graphs: Memory[tuple[str, ...] | SceneGraph, ReferenceGraph] = Memory(self._build, remembered_images)
        self._known = KnownScores()

    @property
    def signature(self) -> Signature:
        """The lexicon, the parser, the credit for kinds, further synonyms and what is compared with."""
        pairs = "+".join(f"{word}={name}" for word, name in sorted(self.synonyms.items()) if word != name)
        settings = {"parser": str(PARSER), "wordnet": "3.0", "kinds": f"{self.kinds:g}", "synonyms": pairs or "no"}
        return Signature("SceneGraph-F", {**settings, "truth": self.truth or "references"})

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """F-measure of each caption."""
        against = candidates.reference_tuples() if self.truth is None else self._truths(candidates)

        def new(rows: list[int]) -> Float64[np.ndarray, " rows"]:
            return np.array([score.f for score in self.scores(candidates.select(rows))], np.float64)

        return self._known(list(zip(candidates.captions, against, strict=True)), new)

    def scores(self, candidates: Candidates) -> list[Score]:
        """F-measure, precision and recall of each caption."""
        pairs = zip(candidates.captions, self._references(candidates), strict=True)
        return [scene_graph_f(parse(caption), graph, self.kinds, self.synonyms) for caption, graph in pairs]

    def sub_scores(self, candidates: Candidates) -> list[dict[str, Score]]:
        """Those of objects, attributes, relations, colours, counts and sizes, of each caption."""
        pairs = zip(candidates.captions, self._references(candidates), strict=True)
        return [sub_scores(parse(caption), graph, self.kinds, self.synonyms) for caption, graph in pairs]

    def _references(self, candidates: Candidates) -> list[ReferenceGraph]:
        return self._graphs(candidates.reference_tuples() if self.truth is None else self._truths(candidates))

    def _truths(self, candidates: Candidates) -> list[SceneGraph]:
        """The graphs that the data set knows."""
        truth = self.truth or ""
        known = candidates.metadata if candidates.metadata is not None else [{}] * len(candidates)
        if any(truth not in metadata for metadata in known):
            raise RewardError(f"the images' metadata have no {truth!r} to compare with: leave truth out, or add it")
        return [graph_from(metadata[truth]) for metadata in known]

    def _build(self, keys: Sequence[tuple[str, ...] | SceneGraph]) -> list[ReferenceGraph]:
        graphs = [[key] if isinstance(key, SceneGraph) else [parse(caption) for caption in key] for key in keys]
        return [reference_graph(own, self.synonyms) for own in graphs]
