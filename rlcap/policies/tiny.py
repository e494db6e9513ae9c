"""A captioner small enough to learn on a CPU in minutes: a fresh ViT and a fresh decoder."""

from torch import nn
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from rlcap.policies.backbone_decoder import BackboneDecoder, DecoderSettings
from rlcap.policies.images import ImageProcessor

# Where things are is half of what a caption says. Positions start as loud as the content, in the encoder and between it
# and the decoder, not 20 times fainter: else relations between objects are learned long after the objects.
POSITIONS = 0.5
TINY_DECODER = DecoderSettings(width=64, layers=2, heads=4, dropout=0.0, min_count=1, region_positions=POSITIONS)


def fresh_vit(image_size: int, patch: int, width: int, layers: int, heads: int) -> ViTModel:
    """A ViT with random weights, without its pooler; arguments as in ``TinyViT``."""
    config = ViTConfig(
        image_size=image_size,
        patch_size=patch,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
    )
    encoder = ViTModel(config, add_pooling_layer=False)
    nn.init.normal_(encoder.embeddings.position_embeddings, std=POSITIONS)
    return encoder


def fresh_processor(image_size: int) -> ImageProcessor:
    """The image processor of a ``fresh_vit``."""
    return ImageProcessor(ViTImageProcessor(size={"height": image_size, "width": image_size}))


class TinyViT(BackboneDecoder):
    """A randomly initialised ViT encoder with a causal decoder over the data's own words; all of it learns.

    Args:
        image_size: side of the images in pixels.
        patch: side of a patch in pixels.
        encoder_width: of the encoder's hidden states.
        encoder_layers: encoder blocks.
        heads: attention heads of the encoder.
        decoder: the shape of the decoder.
    """

    def __init__(
        self,
        image_size: int = 64,
        patch: int = 16,
        encoder_width: int = 64,
        encoder_layers: int = 3,
        heads: int = 4,
        decoder: DecoderSettings = TINY_DECODER,
    ) -> None:
        encoder = fresh_vit(image_size, patch, encoder_width, encoder_layers, heads)
        self._assemble(encoder, fresh_processor(image_size), freeze=False, settings=decoder)
