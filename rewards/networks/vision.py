"""How a vision encoder is run, whichever transformers one it is, and how it is built without what goes unused."""

import inspect
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from transformers import MODEL_MAPPING


def last_hidden_state(encoder: nn.Module, pixel_values: Tensor) -> Float[Tensor, "images ..."]:
    """What a vision encoder sees, its positions interpolated for images of another size than it was trained with."""
    size = getattr(encoder.config, "image_size", None)
    native = (size, size) if isinstance(size, int) else size
    options: dict[str, bool] = {}
    resized = native is not None and tuple(native) != tuple(pixel_values.shape[-2:])
    if resized and "interpolate_pos_encoding" in inspect.signature(encoder.forward).parameters:
        options["interpolate_pos_encoding"] = True
    states: Tensor = encoder(pixel_values=pixel_values, **options).last_hidden_state
    return states


def regions_of(encoder: nn.Module, pixel_values: Tensor) -> Float[Tensor, "images regions width"]:
    """What a vision encoder sees as a sequence of regions, a grid row by row."""
    states = last_hidden_state(encoder, pixel_values)
    return states.flatten(2).transpose(1, 2) if states.ndim == 4 else states


def model_class(config: Any) -> tuple[Any, dict[str, bool]]:
    """The transformers model of a configuration, and the setting that builds it without a pooler, if it has one.

    A pooler reads the last hidden state, which is taken as it is here: its weights would never learn.
    """
    kind = MODEL_MAPPING[type(config)]
    pooled = "add_pooling_layer" in inspect.signature(kind).parameters
    return kind, {"add_pooling_layer": False} if pooled else {}
