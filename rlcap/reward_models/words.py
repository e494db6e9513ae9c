"""A small text encoder over a data set's own words, for reward models that learn without a pretrained one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from rlcap.types import UserError

PAD, UNKNOWN, FIRST, LAST = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@dataclass(frozen=True)
class WordEncoder:
    """The shape of the encoder.

    Attributes:
        width: of its hidden states.
        layers: encoder blocks.
        heads: attention heads; must divide the width.
        dropout: on embeddings, attention and residuals, while learning.
        min_count: a word enters the vocabulary if the training captions hold it so often.
        positions: the longest text it reads, in words, two special tokens included.
    """

    width: int = 256
    layers: int = 2
    heads: int = 4
    dropout: float = 0.1
    min_count: int = 3
    positions: int = 64

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UserError(f"the text encoder's width {self.width} is no multiple of its {self.heads} heads")


def word_tokenizer(references: Sequence[Sequence[str]], min_count: int, positions: int) -> PreTrainedTokenizerFast:
    """A tokenizer of transformers whose tokens are the references' words, the most frequent first.

    Words are read in lower case and without accents. Punctuation parts words and is dropped: captioners of this package
    write none, so a reward should not depend on it.

    Args:
        references: captions, by image.
        min_count: rarer words are unknown.
        positions: texts of more tokens are cut.

    Raises:
        UserError: if no word is that frequent.
    """
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("removed")])
    texts = (normalizer.normalize_str(caption) for captions in references for caption in captions)
    counts = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    frequent = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
    if not frequent:
        raise UserError(
            f"no word occurs {min_count} times in the training captions, {len(counts)} words do less often: "
            "lower min_count"
        )
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *frequent))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{FIRST} $A {LAST}", special_tokens=[(token, vocabulary[token]) for token in (FIRST, LAST)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=FIRST,
        sep_token=LAST,
        model_max_length=positions,
    )


def word_encoder(shape: WordEncoder, vocabulary: int) -> BertModel:
    """A BERT with random weights, without its pooler.

    Args:
        shape: its layers.
        vocabulary: how many tokens there are.
    """
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.width,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
        max_position_embeddings=shape.positions,
        pad_token_id=SPECIAL.index(PAD),
    )
    return BertModel(config, add_pooling_layer=False)
