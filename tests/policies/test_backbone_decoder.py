"""What is particular to a policy over a vision backbone."""

import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

from rlcap.policies.backbone_decoder import BackboneDecoder, DecoderSettings
from rlcap.policies.base import load_policy
from rlcap.types import Batch

SETTINGS = DecoderSettings(width=8, layers=1, heads=2, dropout=0.0, min_count=1)


class Mine(BackboneDecoder):
    """A subclass of a user's own."""


def build_clip(place, dtype=torch.float32):
    size = {"image_size": 32, "patch_size": 16, "hidden_size": 8, "intermediate_size": 8}
    CLIPVisionModel(CLIPVisionConfig(num_hidden_layers=1, num_attention_heads=2, **size)).to(dtype).save_pretrained(
        place
    )
    CLIPImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False).save_pretrained(place)
    return str(place)


def test_every_weight_that_learns_gets_a_gradient(tmp_path):
    policy = BackboneDecoder(build_clip(tmp_path / "clip"), freeze=False, decoder=SETTINGS)
    policy.prepare([["a red cat"]])
    batch = Batch(("x",), (("a red cat",),), pixel_values=torch.randn(1, 3, 32, 32))
    policy.logprobs(policy.encode(batch), policy.tokenize(["a red cat"], 8)).sum().backward()
    silent = [name for name, weight in policy.named_parameters() if weight.requires_grad and weight.grad is None]
    assert silent == []
    assert any(name.startswith("encoder") for name, weight in policy.named_parameters() if weight.requires_grad)


def test_a_backbone_stored_in_half_precision_works_in_single(tmp_path):
    policy = BackboneDecoder(build_clip(tmp_path / "clip", torch.float16), decoder=SETTINGS)
    assert {parameter.dtype for parameter in policy.parameters()} == {torch.float32}


def test_a_subclass_loads_as_itself(tmp_path):
    policy = Mine(build_clip(tmp_path / "clip"), decoder=SETTINGS)
    policy.prepare([["a red cat"]])
    policy.save_files(tmp_path)
    assert type(Mine.load_files(tmp_path)) is Mine
    policy = BackboneDecoder(build_clip(tmp_path / "clip"), decoder=SETTINGS)
    policy.prepare([["a red cat"]])
    policy.save(tmp_path / "saved")
    assert type(load_policy(str(tmp_path / "saved"))) is BackboneDecoder
