"""A data set's own words as tokens, for decoders trained from scratch."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from rewards.tokenize import ptb_tokenize
from rlcap.functional.masking import until_eos
from rlcap.types import Captions, UserError

PAD, START, EOS, UNKNOWN = SPECIAL = ("<pad>", "<start>", "<eos>", "<unk>")


class Vocabulary:
    """Words of the training references, as the metrics tokenise them (Penn Treebank, lower case, no punctuation).

    Args:
        tokenizer: a word-level tokenizer whose first four tokens are padding, start, EOS and unknown.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    @classmethod
    def of(cls, references: Iterable[Sequence[str]], min_count: int) -> "Vocabulary":
        """The words that occur at least ``min_count`` times, the most frequent first.

        Raises:
            UserError: if no word is that frequent.
        """
        counts = Counter(word for caption in _tokenized(references) for word in caption.split())
        frequent = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
        if not frequent:
            raise UserError(
                f"no word occurs {min_count} times in the training captions, {len(counts)} words do less often: "
                "lower min_count"
            )
        words = [*SPECIAL, *(word for word in frequent if word not in SPECIAL)]
        tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=UNKNOWN))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return cls(tokenizer)

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """The vocabulary that ``save`` wrote."""
        return cls(Tokenizer.from_file(str(path)))

    def save(self, path: Path) -> None:
        """Write it as a tokenizers JSON file."""
        self.tokenizer.save(str(path))

    def __len__(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    def id(self, token: str) -> int:
        """The id of a token; that of unknown for a word that is not in the vocabulary."""
        found: int | None = self.tokenizer.token_to_id(token)
        return self.id(UNKNOWN) if found is None else found

    def tokenize(self, captions: Sequence[str], max_length: int) -> Captions:
        """Captions as tokens, closed by EOS, cut at ``max_length`` (then without EOS)."""
        eos, pad = self.id(EOS), self.id(PAD)
        encodings = self.tokenizer.encode_batch(ptb_tokenize(captions), add_special_tokens=False)
        rows = [[*encoding.ids, eos][:max_length] for encoding in encodings]
        length = max(map(len, rows), default=0)
        token_ids = torch.tensor([row + [pad] * (length - len(row)) for row in rows], dtype=torch.long).reshape(
            len(rows), length
        )
        mask = until_eos(token_ids, eos) & (token_ids != pad)
        return Captions(token_ids, mask)

    def detokenize(self, captions: Captions) -> list[str]:
        """Captions as space-separated words, without special tokens other than unknown."""
        hidden = {self.id(token) for token in (PAD, START, EOS)}
        words = [self.tokenizer.id_to_token(index) for index in range(len(self))]
        rows = captions.token_ids.masked_fill(~captions.mask, self.id(PAD)).tolist()
        return [" ".join(words[token] for token in row if token not in hidden) for row in rows]


def _tokenized(references: Iterable[Sequence[str]]) -> list[str]:
    return ptb_tokenize([caption for captions in references for caption in captions])
