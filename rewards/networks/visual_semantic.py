"""A vision encoder and a text encoder whose embeddings lie in one space: a reward that learns. Faghri et al. 2018.

Its checkpoint is one of transformers: with a tokenizer and an image processor beside it, ``rewards.clip.ClipScore`` and
other rewards on dual encoders load it by the name of its directory.
"""

import math
from copy import deepcopy
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, initialization

from rewards.networks.vision import model_class, regions_of

LOGIT_SCALE = math.log(1 / 0.07)  # CLIP's at first; Radford et al. 2021, section 2.5


def masked_mean(
    states: Float[Tensor, "rows places width"], mask: Bool[Tensor, "rows places"]
) -> Float[Tensor, "rows width"]:
    """Mean over the places where the mask is True; 0 for a row without any."""
    weights = mask.to(states.dtype)[:, :, None]
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)  # over places


def masked_max(
    states: Float[Tensor, "rows places width"], mask: Bool[Tensor, "rows places"]
) -> Float[Tensor, "rows width"]:
    """Largest value of each component over the places where the mask is True; 0 for a row without any."""
    largest = states.masked_fill(~mask[:, :, None], torch.finfo(states.dtype).min).amax(dim=1)  # over places
    return largest.masked_fill(~mask.any(dim=1, keepdim=True), 0.0)


class Pooled(nn.Module):
    """One embedding of many places: a projection of their mean, and of what two layers make of each.

    The layers' results are pooled by their mean and by their maximum. The linear path beside them learns sooner than
    they do.

    Args:
        inputs: width of a place.
        hidden: width of the layers.
        width: of the embedding.
        dropout: between the layers.
    """

    def __init__(self, inputs: int, hidden: int, width: int, dropout: float) -> None:
        super().__init__()
        self.each = nn.Sequential(
            nn.LayerNorm(inputs), nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, hidden)
        )
        self.of_each = nn.Linear(2 * hidden, width)
        self.of_mean = nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, width))

    def forward(
        self, states: Float[Tensor, "rows places inputs"], mask: Bool[Tensor, "rows places"]
    ) -> Float[Tensor, "rows width"]:
        """The embedding of each row's places where the mask is True."""
        each = self.each(states)
        pooled = torch.cat([masked_mean(each, mask), masked_max(each, mask)], dim=1)
        embedding: Tensor = self.of_each(pooled) + self.of_mean(masked_mean(states, mask))
        return embedding


class VisualSemanticConfig(PreTrainedConfig):  # type: ignore[misc] # transformers carries no types
    """The shape of a ``VisualSemantic``.

    Attributes:
        vision_config: of the vision encoder, whose last hidden state is a sequence or a grid of regions.
        text_config: of the text encoder.
        vision_width: width of a region.
        width: of the space that images and texts share.
        hidden: width of the layers between an encoder and that space.
        dropout: in those layers, while learning.
        logit_scale: logarithm of the factor of cosines, at first.
    """

    model_type = "rlcap-visual-semantic"
    sub_configs: ClassVar[dict[str, Any]] = {"vision_config": AutoConfig, "text_config": AutoConfig}
    __no_type_check__: ClassVar[bool] = True  # its base class takes any keywords, checks of fields in tests do not

    vision_config: dict[str, Any] | PreTrainedConfig | None = None
    text_config: dict[str, Any] | PreTrainedConfig | None = None
    vision_width: int = 768
    width: int = 512
    hidden: int = 512
    dropout: float = 0.1
    logit_scale: float = LOGIT_SCALE

    def __post_init__(self, **kwargs: Any) -> None:
        """Make configurations of what a file holds as dictionaries."""
        self.vision_config = _config(self.vision_config, "vit")
        self.text_config = _config(self.text_config, "bert")
        super().__post_init__(**kwargs)


class VisualSemantic(PreTrainedModel):  # type: ignore[misc] # transformers carries no types
    """Embeddings of images and texts in one space.

    Attributes:
        vision: the vision encoder.
        text: the text encoder.
        logit_scale: logarithm of the factor of cosines: minus that of the temperature.
    """

    config_class = VisualSemanticConfig
    base_model_prefix = "visual_semantic"
    main_input_name = "pixel_values"
    vision: Any
    text: Any

    def __init__(self, config: VisualSemanticConfig) -> None:
        super().__init__(config)
        self.vision = _encoder(config.vision_config)
        self.text = _encoder(config.text_config)
        self.image_head = Pooled(config.vision_width, config.hidden, config.width, config.dropout)
        self.text_head = Pooled(self.text.config.hidden_size, config.hidden, config.width, config.dropout)
        self.logit_scale = nn.Parameter(torch.tensor(config.logit_scale))
        self.post_init()

    @classmethod
    def joining(
        cls, vision: nn.Module, text: nn.Module, vision_width: int, width: int, hidden: int, dropout: float
    ) -> "VisualSemantic":
        """Two encoders as they are, with fresh layers between them and the space they are to share.

        Args:
            vision: a vision encoder without its pooler.
            text: a text encoder without its pooler.
            vision_width: width of a region.
            width: of the shared space.
            hidden: width of the layers before it.
            dropout: in those layers.
        """
        config = VisualSemanticConfig(
            vision_config=_unnamed(vision.config),
            text_config=_unnamed(text.config),
            vision_width=vision_width,
            width=width,
            hidden=hidden,
            dropout=dropout,
        )
        model = cls(config)
        model.vision.load_state_dict(vision.state_dict())
        model.text.load_state_dict(text.state_dict())
        return model

    def train(self, mode: bool = True) -> "VisualSemantic":
        """Switch dropout; every BatchNorm of the vision encoder keeps its statistics."""
        super().train(mode)
        for module in self.vision.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(False)
        return self

    def regions(self, pixel_values: Tensor) -> Float[Tensor, "images regions vision_width"]:
        """What the vision encoder sees."""
        return regions_of(self.vision, pixel_values)

    def image_features_of(self, regions: Float[Tensor, "images regions vision_width"]) -> Float[Tensor, "images width"]:
        """The embedding of each image, given what the vision encoder saw."""
        everywhere = torch.ones(regions.shape[:2], dtype=torch.bool, device=regions.device)
        embeddings: Tensor = self.image_head(regions, everywhere)
        return embeddings

    def get_image_features(self, pixel_values: Tensor) -> Float[Tensor, "images width"]:
        """The embedding of each image, not of length 1."""
        return self.image_features_of(self.regions(pixel_values))

    def get_text_features(
        self,
        input_ids: Int[Tensor, "texts tokens"],
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Float[Tensor, "texts width"]:
        """The embedding of each text, not of length 1.

        Args:
            input_ids: its tokens.
            attention_mask: which of them to read; None is all.
            token_type_ids: not read: what BERT's tokenizers give of a single text is what BERT assumes by itself.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.to(input_ids.dtype)
        states = self.text(input_ids=input_ids, attention_mask=mask).last_hidden_state
        embeddings: Tensor = self.text_head(states, mask.bool())
        return embeddings

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Draw the layers of the heads; encoders see to their own."""
        if isinstance(module, nn.Linear):
            initialization.xavier_uniform_(module.weight)
            initialization.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            initialization.ones_(module.weight)
            initialization.zeros_(module.bias)
        elif isinstance(module, VisualSemantic):
            initialization.constant_(module.logit_scale, self.config.logit_scale)


def _config(given: Any, model_type: str) -> PreTrainedConfig:
    if isinstance(given, PreTrainedConfig):
        return given
    settings = dict(given or {})
    config: PreTrainedConfig = CONFIG_MAPPING[settings.pop("model_type", model_type)](**settings)
    return config


def _unnamed(config: Any) -> PreTrainedConfig:
    """A copy of a configuration that does not tell where it was read from."""
    copied: PreTrainedConfig = deepcopy(config)
    copied.name_or_path = ""
    return copied


def _encoder(config: Any) -> nn.Module:
    kind, unpooled = model_class(config)
    encoder: nn.Module = kind._from_config(config, **unpooled)
    return encoder


AutoConfig.register(VisualSemanticConfig.model_type, VisualSemanticConfig)
AutoModel.register(VisualSemanticConfig, VisualSemantic)
