"""What every captioner must offer, and what they all share: decoding from an encoding, scoring captions against it."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList

from rlcap.functional.masking import unpack, until_eos
from rlcap.functional.sampling import gather_logprobs, image_uniforms, log_distribution
from rlcap.models import Model, ProcessImages, load_model, model_folder
from rlcap.policies.choosing import RowChooser, Suppress
from rlcap.types import Batch, Captions, Encoded, Sampling, UserError

__all__ = ["Decoding", "Policy", "Prediction", "ProcessImages", "load_policy", "policy_folder"]


@dataclass(frozen=True)
class Prediction:
    """What a policy foresees at every position of some captions.

    Attributes:
        log_probabilities: of every next token, under the sampling distribution. One row per token inside the captions,
            caption by caption: what follows their end, often half of a batch, is not computed.
        hidden: the decoder's last hidden state at every position, for value heads.
    """

    log_probabilities: Float[Tensor, "tokens vocabulary"]
    hidden: Float[Tensor, "captions length width"]


@dataclass(frozen=True)
class Decoding:
    """How captions are decoded for people: the most probable word at a time, by beam search, or by drawing words.

    Attributes:
        beams: 1 is greedy; more search for the most probable caption.
        max_length: the most tokens of a caption, the closing EOS included.
        length_penalty: exponent of the length that a beam's log-probability is divided by.
        temperature: above 0 captions are drawn, at this temperature: such as people are to compare.
        seed: of the draws.
    """

    beams: int = 1
    max_length: int = 20
    length_penalty: float = 1.0
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.beams < 1 or self.max_length < 1:
            raise UserError(f"beams and max_length must be at least 1, got {self.beams} and {self.max_length}")
        if self.temperature < 0 or (self.temperature and self.beams > 1):
            raise UserError(
                f"temperature must be 0 (off) or more, and 0 with beams, got {self.temperature} with {self.beams} beams"
            )
        if self.seed < 0:
            raise UserError(f"seed must be 0 or more, got {self.seed}")

    def __str__(self) -> str:
        if self.temperature:
            return f"sampled at temperature {self.temperature:g}, seed {self.seed}"
        return "greedy" if self.beams == 1 else f"beam {self.beams}"


class Policy(Model):
    """A captioner: images in, captions out, with the log-probability of any caption.

    A family implements the abstract methods; decoding and scoring are the same for all and live here.

    Attributes:
        eos_id: closes a caption; part of it.
        pad_id: fills rows after the end.
        suppressed: tokens that are never drawn.
    """

    kind: ClassVar[str] = "policy"
    eos_id: int
    pad_id: int
    suppressed: tuple[int, ...] = ()

    # --- what a family implements

    @abstractmethod
    def encode(self, batch: Batch) -> Encoded:
        """The images' encodings, from their pixels or from features computed earlier; with gradients if it learns."""

    @abstractmethod
    def tokenize(self, captions: Sequence[str], max_length: int) -> Captions:
        """Captions as tokens, each closed by EOS, cut at ``max_length`` tokens (then without EOS), on the CPU."""

    @abstractmethod
    def detokenize(self, captions: Captions) -> list[str]:
        """Captions as text, without special tokens."""

    @abstractmethod
    def score_tokens(
        self, encoded: Encoded, captions: Captions
    ) -> tuple[Float[Tensor, "tokens vocabulary"], Float[Tensor, "captions length width"]]:
        """Logits where the mask is True, and last hidden states everywhere.

        Each position sees the start token and the tokens before it (``Captions.inputs``).
        """

    @abstractmethod
    def generate_tokens(
        self, encoded: Encoded, config: GenerationConfig, processors: LogitsProcessorList
    ) -> Int[Tensor, "captions length"]:
        """One run of transformers' ``generate`` from the encodings; the start token left out."""

    def encode_grid(
        self, pixel_values: Float[Tensor, "images channels height width"]
    ) -> tuple[Encoded, tuple[int, int]]:
        """The images' encodings with the encoder's graph, even of a frozen one, and the rows and columns of their grid.

        Regions that are no part of the grid, such as a class token, come first. Captions are explained by them.
        """
        raise UserError(f"{type(self).__name__} does not say where its regions lie in an image: give it an encode_grid")

    @property
    def hidden_width(self) -> int:
        """Width of the decoder's hidden states, which value heads read."""
        raise UserError(f"{type(self).__name__} does not say how wide its hidden states are: give it a hidden_width")

    def without_adapters(self) -> AbstractContextManager[None]:
        """Inside it the policy is what it was before its adapters learned; only of policies that are ``adapted``."""
        return nullcontext()

    def merge(self) -> "Policy":
        """The policy without adapters, what these have learned in its weights; of policies that are ``adapted``."""
        return self

    # --- what all families share

    @torch.no_grad()
    def generate(
        self,
        encoded: Encoded,
        image_ids: tuple[str, ...],
        *,
        samples: int,
        greedy: bool,
        key: tuple[int, ...],
        sampling: Sampling,
        max_length: int,
    ) -> Captions:
        """Sampled captions, and the greedy one, of each image in one decode.

        The rows are image-major; with ``greedy`` the first row of each image is its greedy caption, and the log-
        probabilities there are of the unprocessed distribution.

        Args:
            encoded: one row per image.
            image_ids: one per image; the draws depend on it and on ``key``, not on the batch.
            samples: sampled captions per image.
            greedy: also decode the greedy caption.
            key: what the draws depend on besides, such as run seed and step.
            sampling: the distribution of the samples.
            max_length: the most tokens of a caption, EOS included; a caption cut there has no EOS.
        """
        uniforms = image_uniforms(image_ids, key, samples, max_length)
        chooser = RowChooser(
            uniforms.to(encoded.states.device), len(encoded), samples, greedy, sampling, self.suppressed
        )
        rows = encoded.detach().repeat(samples + int(greedy))
        token_ids = self.generate_tokens(rows, self._generation_config(max_length), LogitsProcessorList([chooser]))
        mask = until_eos(token_ids, self.eos_id)
        logprobs = torch.stack(chooser.logprobs, dim=1)[:, : token_ids.shape[1]]  # on mps one step runs beyond the end
        return Captions(token_ids.masked_fill(~mask, self.pad_id), mask, logprobs.masked_fill(~mask, 0.0))

    def decode(self, encoded: Encoded, image_ids: tuple[str, ...], decoding: Decoding) -> Captions:
        """One caption of each image, decoded as asked for; draws depend on the image's id, not on the batch."""
        if not decoding.temperature:
            return self.caption(encoded, decoding)
        return self.generate(
            encoded,
            image_ids,
            samples=1,
            greedy=False,
            key=(decoding.seed,),
            sampling=Sampling(decoding.temperature),
            max_length=decoding.max_length,
        )

    @torch.no_grad()
    def caption(self, encoded: Encoded, decoding: Decoding, each: int = 1) -> Captions:
        """The best caption of each image, greedy or by beam search; of a beam search the best ``each``, image-major."""
        if each > decoding.beams:
            raise UserError(f"{decoding.beams} beams give at most as many captions of an image, not {each}")
        config = self._generation_config(decoding.max_length)
        if decoding.beams > 1:
            config.num_beams = decoding.beams
            config.length_penalty = decoding.length_penalty
            config.early_stopping = False
            config.num_return_sequences = each
        processors = LogitsProcessorList([Suppress(self.suppressed)])
        token_ids = self.generate_tokens(encoded, config, processors)
        mask = until_eos(token_ids, self.eos_id)
        return Captions(token_ids.masked_fill(~mask, self.pad_id), mask)

    def predict(self, encoded: Encoded, captions: Captions, sampling: Sampling | None = None) -> Prediction:
        """The distribution at every position of the given captions, in one parallel forward.

        Args:
            encoded: one row per caption.
            captions: sampled or reference captions.
            sampling: the distribution they were drawn from; None is the policy's own, with no token suppressed, as
                likelihood training needs it.
        """
        logits, hidden = self.score_tokens(encoded, captions)
        if sampling is None:
            return Prediction(logits.float().log_softmax(dim=-1), hidden)
        keep = captions.token_ids[captions.mask]
        return Prediction(log_distribution(logits, sampling, self.suppressed, keep), hidden)

    def logprobs(
        self, encoded: Encoded, captions: Captions, sampling: Sampling | None = None
    ) -> Float[Tensor, "captions length"]:
        """Log-probability of each token of the given captions; 0 after their end."""
        log_probabilities = self.predict(encoded, captions, sampling).log_probabilities
        return unpack(gather_logprobs(log_probabilities, captions.token_ids[captions.mask]), captions.mask)

    def _generation_config(self, max_length: int) -> GenerationConfig:
        return GenerationConfig(
            max_new_tokens=max_length,
            do_sample=False,
            num_beams=1,
            eos_token_id=self.eos_id,
            pad_token_id=self.eos_id,  # fed to finished rows; models would warn of padding, which is written afterwards
            use_cache=True,
        )


def load_policy(directory: str) -> Policy:
    """The policy saved in a directory: a saved policy, a checkpoint, or a run folder (its best checkpoint).

    In a configuration: ``policy: {class_path: rlcap.policies.load_policy, init_args: {directory: runs/mine}}``.

    Raises:
        UserError: if the directory holds no policy.
    """
    return load_model(directory, Policy)


def policy_folder(directory: Path) -> Path:
    """The folder of the policy's files, given them, a checkpoint that holds them, or a run folder.

    Of a run folder it is the best checkpoint's, or the latest's where none was measured.
    """
    return model_folder(directory, Policy)
