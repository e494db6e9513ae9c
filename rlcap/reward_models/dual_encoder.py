"""Image and caption each as one vector: the nearer they are, the better the caption. Radford et al. 2021.

What these models save is a checkpoint of transformers with its tokenizer and image processor, which rewards on dual
encoders load as well: ``rewards.clip.ClipScore`` scores by the same cosine.
"""

import json
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from rewards.base import RewardError
from rewards.networks.dual_encoder import TextReader, embeddings_of
from rewards.networks.pretrained import load, load_model
from rlcap.models import ProcessImages
from rlcap.policies.freezing import depended_on, freeze_unreached
from rlcap.policies.images import ImageProcessor
from rlcap.policies.pretrained import fingerprint_of, no_progress_bars
from rlcap.reward_models.base import RewardModel, readable
from rlcap.types import Batch, Captions, Encoded, UserError

SETTINGS_FILE = "settings.json"


def scaled_cosine(
    images: Float[Tensor, "captions width"], texts: Float[Tensor, "captions width"], logit_scale: Float[Tensor, ""]
) -> Float[Tensor, " captions"]:
    """Score of each caption, given its embedding and its image's: exp(logit_scale) cos(v, c), in float32.

    Of two captions it is the difference of log-odds by which InfoNCE tells an image's caption from another. Radford et
    al. 2021, figure 3.
    """
    return logit_scale.float().exp() * nn.functional.cosine_similarity(images.float(), texts.float(), dim=-1)


def load_dual_encoder(checkpoint: str) -> tuple[nn.Module, Any, ImageProcessor]:
    """A dual encoder of transformers, its tokenizer and its image processor, from the hub or a directory.

    Raises:
        UserError: if there is none.
    """
    try:
        model = load_model(AutoModel, checkpoint, "float32", whole=True)
        tokenizer = load(AutoTokenizer, checkpoint)
    except RewardError as error:
        raise UserError(str(error)) from error
    if not all(hasattr(model, name) for name in ("get_image_features", "get_text_features", "logit_scale")):
        raise UserError(
            f"{checkpoint} holds a {type(model).__name__}, which has no space that images and texts share: give a CLIP "
            "or SigLIP, such as openai/clip-vit-base-patch32"
        )
    return model, tokenizer, ImageProcessor.load(checkpoint)


class DualEncoder(RewardModel):
    """A reward model that embeds images and captions apart.

    Attributes:
        model: a model of transformers with ``get_image_features``, ``get_text_features`` and ``logit_scale``.
        tokenizer: its tokenizer.
        processor: its image processor.
        freeze_vision: whether its vision side stays as it is.
    """

    model: Any
    tokenizer: Any
    processor: ImageProcessor
    freeze_vision: bool

    # --- what a family says

    @abstractmethod
    def regions(self, pixel_values: Tensor) -> Float[Tensor, "images regions width"]:
        """What a frozen vision side makes of the images."""

    @abstractmethod
    def embed_regions(self, regions: Float[Tensor, "images regions inputs"]) -> Float[Tensor, "images width"]:
        """The images' embeddings, given what a vision side that may be frozen made of them."""

    @abstractmethod
    def frozen(self) -> Iterable[nn.Parameter]:
        """The parameters that are to stay as they are."""

    # --- what contrastive learning uses

    @property
    def logit_scale(self) -> Float[Tensor, ""]:
        """Logarithm of the factor of cosines: minus that of the temperature. It learns."""
        scale: Tensor = self.model.logit_scale
        return scale.reshape(())

    def embed_images(self, batch: Batch) -> Float[Tensor, "images width"]:
        """The embedding of each image, not of length 1."""
        if batch.features is not None:
            regions = batch.features.to(self.model.dtype)
        elif batch.pixel_values is None:
            raise UserError("a batch must hold pixel_values or features")
        elif self.freeze_vision:
            regions = self.features(batch.pixel_values)
        else:
            regions = self.regions(batch.pixel_values)
        return self.embed_regions(regions)

    def embed_texts(self, captions: Captions) -> Float[Tensor, "captions width"]:
        """The embedding of each caption, not of length 1."""
        mask = {} if self._reader.padded else {"attention_mask": captions.mask.to(captions.token_ids.dtype)}
        return embeddings_of(self.model.get_text_features(input_ids=captions.token_ids, **mask))

    # --- what a reward model offers

    def encode(self, batch: Batch) -> Encoded:
        return Encoded(self.embed_images(batch)[:, None])

    def score(self, encoded: Encoded, captions: Captions) -> Float[Tensor, " captions"]:
        return scaled_cosine(encoded.states[:, 0], self.embed_texts(captions), self.logit_scale)

    def tokenize(self, captions: Sequence[str], max_length: int) -> Captions:
        if not captions:
            return Captions(torch.zeros(0, 0, dtype=torch.long), torch.zeros(0, 0, dtype=torch.bool))
        tokens = self._reader(captions, max_length)
        mask = tokens.get("attention_mask", torch.ones_like(tokens["input_ids"]))
        return readable(Captions(tokens["input_ids"].long(), mask.bool()), self.tokenizer.pad_token_id)

    @property
    def process_images(self) -> ProcessImages:
        return self.processor

    @property
    def feature_shape(self) -> tuple[int, int] | None:
        return self._feature_shape if self.freeze_vision else None

    @torch.no_grad()
    def features(self, pixel_values: Tensor) -> Float[Tensor, "images regions width"]:
        return self.regions(pixel_values)

    @property
    def vision_side(self) -> nn.Module:
        """All of the model that ``regions`` depend on."""
        parts = [getattr(self.model, name) for name in self._vision_parts]
        return parts[0] if len(parts) == 1 else nn.ModuleList(parts)

    @property
    def fingerprint(self) -> str:
        """Changes when the frozen vision side or its image processor does: the key of features kept on disk."""
        return fingerprint_of(self.vision_side, self.processor)

    def train(self, mode: bool = True) -> "DualEncoder":
        """Switch dropout; what does not learn, and every BatchNorm, stays in evaluation mode."""
        super().train(mode)
        for module in () if self.model is None else self.model.modules():
            learns = [parameter.requires_grad for parameter in module.parameters()]
            if (learns and not any(learns)) or isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(False)
        return self

    def save_files(self, directory: Path) -> None:
        with no_progress_bars():
            self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        self.processor.save(directory)
        settings = {**self._settings(), "shift": float(self.shift)}
        (directory / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n")

    def _settings(self) -> dict[str, Any]:
        return {"freeze_vision": self.freeze_vision}

    def _assemble(self, model: nn.Module, tokenizer: Any, processor: ImageProcessor) -> None:
        """Take a model in, and let all that its scores depend on learn, but for what is to stay frozen."""
        if tokenizer.pad_token is None:
            raise UserError(f"{tokenizer.name_or_path} has no padding token: set pad_token in its tokenizer")
        self.model, self.tokenizer, self.processor = model.requires_grad_(True).eval(), tokenizer, processor
        self._reader = TextReader.of(tokenizer, model.config)
        probe = processor([Image.new("RGB", (32, 32))])
        with torch.enable_grad():
            regions = self.regions(probe)
            encoded = Encoded(self.embed_regions(regions)[:, None])
            score = self.score(encoded, self.tokenize(["a"], self._reader.longest))
        _, count, width = regions.shape
        self._feature_shape = (count, width)
        seen = depended_on(regions, model)
        self._vision_parts = tuple(
            name
            for name, part in model.named_children()
            if any(id(parameter) in seen for parameter in part.parameters())
        )
        freeze_unreached(score, model)  # such as a pooler
        for parameter in self.frozen():
            parameter.requires_grad_(False)
        self.model.to(self.shift.device)
        self.train()


class PretrainedDualEncoder(DualEncoder):
    """A CLIP, a SigLIP or their like, to learn on.

    Args:
        checkpoint: hub name or directory of a dual encoder of transformers, its tokenizer and its image processor.
        freeze_vision: keep the vision side as it is, its projection too, and teach the text side alone (locked-image
            tuning, Zhai et al. 2022); images' embeddings are then computed once and kept.
    """

    def __init__(self, checkpoint: str = "openai/clip-vit-base-patch32", freeze_vision: bool = False) -> None:
        super().__init__()
        self.freeze_vision = freeze_vision
        self._assemble(*load_dual_encoder(checkpoint))

    def regions(self, pixel_values: Tensor) -> Float[Tensor, "images 1 width"]:
        """The images' embeddings, as regions of which there is one."""
        return embeddings_of(self.model.get_image_features(pixel_values=pixel_values))[:, None]

    def embed_regions(self, regions: Float[Tensor, "images 1 width"]) -> Float[Tensor, "images width"]:
        return regions[:, 0]

    def frozen(self) -> Iterable[nn.Parameter]:
        return self.vision_side.parameters() if self.freeze_vision else ()

    @classmethod
    def load_files(cls, directory: Path) -> "PretrainedDualEncoder":
        settings = json.loads((directory / SETTINGS_FILE).read_text())
        model = cls(str(directory), settings["freeze_vision"])
        model.shift.fill_(settings["shift"])
        return model
