"""VQAScore: how probable a chat model finds "yes" when asked whether the image shows the caption. Lin et al. 2024.

arXiv 2404.01291. Any chat model of transformers that takes images will do.
"""

import inspect
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from rewards.base import Candidates, RewardError, Signature
from rewards.networks.pretrained import ModelReward, Precision, load, load_image_processor, load_model

TEMPLATE = 'Does this figure show "{caption}"? Please answer yes or no.'
SPACE_MARKS = "▁Ġ "  # how tokenizers write the space before a word


def answer_tokens(vocabulary: dict[str, int], answer: str) -> list[int]:
    """The tokens that are this answer, but for case and a space before it: ``Yes``, ``yes``, ``▁Yes``, ``ĠYES``."""
    spelled = re.compile(f"[{SPACE_MARKS}]?{re.escape(answer)}", re.IGNORECASE)
    return sorted(token for word, token in vocabulary.items() if spelled.fullmatch(word))


def answer_probability(
    logits: Float[Tensor, "captions vocabulary"], yes: Sequence[int], no: Sequence[int] = ()
) -> Float[Tensor, " captions"]:
    """Probability that the next token is one of ``yes``; where ``no`` is given, among those of both."""
    logprobs = logits.log_softmax(dim=-1)
    accepted = logprobs[:, list(yes)].logsumexp(dim=-1)
    if no:
        accepted = accepted - logprobs[:, [*yes, *no]].logsumexp(dim=-1)
    return accepted.exp()


def without_control(text: str, control_tokens: Sequence[str]) -> str:
    """The text with a space inside every control token, such as ``<image>``, so that it is read as plain characters."""
    for token in control_tokens:
        text = text.replace(token, f"{token[:1]} {token[1:]}")
    return text


class VqaScore(ModelReward):
    """Probability that the chat model's answer begins with yes.

    The tokens that count as yes are all those of the vocabulary that spell "yes" in any case, with or without the mark
    of a space before it; likewise no. The model's own control tokens, such as ``<image>``, are broken by a space where
    a caption holds them. Every caption is asked about with its image anew: the image is encoded once per caption.

    Args:
        checkpoint: hub name or directory of an image-text-to-text model and its processor with a chat template.
        template: the question, with ``{caption}`` in it.
        normalized: take the probability of yes among yes and no, instead of among all tokens as the paper does.
        precision: of the model's weights.
        batch_size: how many questions run together.
    """

    needs_images = True

    def __init__(
        self,
        checkpoint: str = "llava-hf/llava-1.5-7b-hf",
        template: str = TEMPLATE,
        normalized: bool = False,
        precision: Precision = "bfloat16",
        batch_size: int = 8,
    ) -> None:
        if "{caption}" not in template:
            raise RewardError(f"the template {template!r} has no {{caption}} in it: say where the caption goes")
        model = load_model(AutoModelForImageTextToText, checkpoint, precision, whole=True)
        self._processor = load(AutoProcessor, checkpoint)
        self._processor.image_processor = load_image_processor(checkpoint)
        if not getattr(self._processor, "chat_template", None):
            raise RewardError(f"{checkpoint!r} has no chat template, so it cannot be asked: give a chat model")
        super().__init__(checkpoint, model, batch_size, self._processor.image_processor.to_dict())
        vocabulary = self._processor.tokenizer.get_vocab()
        self.yes, self.no = answer_tokens(vocabulary, "yes"), answer_tokens(vocabulary, "no")
        if not self.yes or (normalized and not self.no):
            raise RewardError(f"{checkpoint!r} has no token for {'no' if self.yes else 'yes'}: give another chat model")
        self._control = _control_tokens(self._processor)
        self.template = template
        self.normalized = normalized
        self._picks_logits = "logits_to_keep" in inspect.signature(model.forward).parameters

    @property
    def signature(self) -> Signature:
        """Model, question, normalisation and precision."""
        return Signature(
            "VQAScore",
            {
                "model": self.called,
                "question": self.template,
                "among": "yes,no" if self.normalized else "all",
                "precision": self.precision,
            },
        )

    def __call__(self, candidates: Candidates) -> Float64[np.ndarray, " captions"]:
        """Probability of yes for each caption and its image."""
        images = candidates.images
        if images is None:
            raise RewardError("this reward looks at images, and Candidates.images is None: give one for each caption")
        scores = np.zeros(len(candidates))
        no = self.no if self.normalized else ()
        for start in range(0, len(candidates), self.batch_size):
            rows = slice(start, min(start + self.batch_size, len(candidates)))
            inputs = self.ask(candidates.captions[rows], [images[row] for row in range(rows.start, rows.stop)])
            with self.judging():
                scores[rows] = answer_probability(self._next_token(inputs), self.yes, no).cpu().double().numpy()
        return scores

    def ask(self, captions: Sequence[str], images: Sequence[Image.Image]) -> dict[str, Any]:
        """The questions as the model's inputs, padded after their end: positions then count from the first token."""
        plains = [without_control(caption, self._control) for caption in captions]
        conversations = [
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": image},
                        {"type": "text", "text": self.template.replace("{caption}", plain)},
                    ],
                }
            ]
            for plain, image in zip(plains, images, strict=True)
        ]
        return self.inputs(
            self._processor.apply_chat_template(
                conversations,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True, "padding_side": "right"},
            )
        )

    def _next_token(self, inputs: dict[str, Any]) -> Float[Tensor, "captions vocabulary"]:
        """The logits of what follows each question."""
        last = inputs["attention_mask"].sum(dim=1) - 1
        if not self._picks_logits:
            logits: Tensor = self.model(**inputs, use_cache=False).logits
            return logits[torch.arange(len(last), device=last.device), last].float()
        kept, place = last.unique(return_inverse=True)  # all logits of all tokens might not fit into memory
        logits = self.model(**inputs, use_cache=False, logits_to_keep=kept).logits
        return logits[torch.arange(len(last), device=last.device), place].float()


def _control_tokens(processor: Any) -> list[str]:
    tokenizer = processor.tokenizer
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    own = [str(getattr(processor, name, "")) for name in ("image_token", "boi_token", "video_token")]
    tokens = {*added, *tokenizer.all_special_tokens, *own}
    return sorted((token for token in tokens if len(token) > 1), key=len, reverse=True)
