"""A captioner small enough to learn on a CPU in minutes: a fresh ViT and a fresh decoder."""

from torch import nn
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from rlcap.policies.backbone_decoder import BackboneDecoder, DecoderSettings
from rlcap.policies.images import ImageProcessor

# Where things are is half of what a caption says. Positions start as loud as the content, in the encoder and between it
# and the decoder, not 20 times fainter: else relations between objects are learned long after the objects.
POSITIONS = 0.5
TINY_DECODER = DecoderSettings(width=64, layers=2, heads=4, dropout=0.0, min_count=1, region_positions=POSITIONS)


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
        config = ViTConfig(
            image_size=image_size,
            patch_size=patch,
            hidden_size=encoder_width,
            num_hidden_layers=encoder_layers,
            num_attention_heads=heads,
            intermediate_size=4 * encoder_width,
        )
        size = {"height": image_size, "width": image_size}
        processor = ImageProcessor(ViTImageProcessor(size=size))
        encoder = ViTModel(config, add_pooling_layer=False)
        nn.init.normal_(encoder.embeddings.position_embeddings, std=POSITIONS)
        self._assemble(encoder, processor, freeze=False, settings=decoder)
