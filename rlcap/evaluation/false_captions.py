"""Captions of a split that are false of its images: references of other images, and references made wrong.

Which, of an image, follows from its id and the split alone.
"""

from collections.abc import Mapping, Sequence

from rlcap.data.base import Record
from rlcap.data.caption_words import plain
from rlcap.data.negatives import LINGUISTIC, SEMANTIC, Corruptor
from rlcap.data.replacements import Vocabulary
from rlcap.errors import UserError
from rlcap.functional.sampling import image_generator

KINDS = (*SEMANTIC, *LINGUISTIC)


class FalseCaptions:
    """Captions of a split that are false of its images, each made once.

    Args:
        records: the images of the split.
        synonyms: groups of words that mean the same in the data set, of which none makes a caption false for another.
    """

    def __init__(self, records: Sequence[Record], synonyms: Sequence[Sequence[str]]) -> None:
        self.firsts = [(record.image_id, record.references[0]) for record in records if record.references]
        references = [reference for record in records for reference in record.references]
        vocabulary = _vocabulary(references, synonyms)
        self.corruptors = {kind: Corruptor(vocabulary, (kind,)) for kind in KINDS}
        self.made: dict[str, dict[str, Sequence[str]]] = {}

    def other(self, image_id: str, references: Sequence[str]) -> Sequence[str]:
        """The first reference of another image, unless all are references of this one as well."""
        own = {plain(reference) for reference in references}
        count = len(self.firsts)
        start = int(image_generator(image_id, (0,)).integers(max(1, count)))
        for turn in range(count if references else 0):
            other, caption = self.firsts[(start + turn) % count]
            if other != image_id and plain(caption) not in own:
                return (caption,)
        return ()

    def corrupted(self, image_id: str, references: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """The first reference made wrong in each way that applies."""
        if image_id not in self.made:
            rng = image_generator(image_id, (1,))
            self.made[image_id] = {
                kind: [one.text for one in make(references[0], rng, 1, references[1:])] if references else []
                for kind, make in self.corruptors.items()
            }
        return self.made[image_id]


def _vocabulary(references: Sequence[str], synonyms: Sequence[Sequence[str]]) -> Vocabulary:
    """The words of the references; none where they name nothing that is known, such as in another language."""
    try:
        return Vocabulary.of(references, synonyms=synonyms)
    except UserError:
        return Vocabulary({}, {}, {}, {})
