"""Captioners of the hub against transformers' own decoding and loss, and what their checkpoints must name."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig

from rlcap.errors import UserError
from rlcap.policies import Policy, load_policy
from rlcap.policies.backbone_decoder import BackboneDecoder
from rlcap.policies.base import Decoding
from rlcap.policies.blip import Blip
from rlcap.policies.encoder_decoder import EncoderDecoder
from rlcap.policies.git import Git
from rlcap.policies.pretrained import PretrainedPolicy, first_token, no_progress_bars
from rlcap.types import Batch, Sampling

BatchOf = Callable[[Policy, int], Batch]
FAMILIES = {"vit-gpt2": EncoderDecoder, "vit-bert": EncoderDecoder, "blip": Blip, "git": Git}
LENGTH = 8


@pytest.fixture(params=FAMILIES)
def captioner(request: pytest.FixtureRequest, checkpoints: Callable[[str], str]) -> PretrainedPolicy:
    return FAMILIES[request.param](checkpoints(request.param)).eval()


def generate_with_transformers(policy: PretrainedPolicy, pixel_values: Tensor, config: GenerationConfig) -> Tensor:
    """The model's own captions from pixels, their prompt left out."""
    config.decoder_start_token_id = config.bos_token_id = policy.start_id
    if isinstance(policy, Blip):
        del config.eos_token_id, config.pad_token_id  # it passes its own
        return policy.model.generate(pixel_values, generation_config=config)[:, 1:]
    return policy.model.generate(pixel_values=pixel_values, generation_config=config)[:, 1:]


def loss_of_transformers(policy: PretrainedPolicy, pixel_values: Tensor, tokens: Tensor) -> Tensor:
    if isinstance(policy, EncoderDecoder):
        inputs = torch.cat([torch.full_like(tokens[:, :1], policy.start_id), tokens[:, :-1]], dim=1)
        mask = torch.ones_like(inputs)
        return policy.model(
            pixel_values=pixel_values, decoder_input_ids=inputs, decoder_attention_mask=mask, labels=tokens
        ).loss
    whole = torch.cat([torch.full_like(tokens[:, :1], policy.start_id), tokens], dim=1)
    return policy.model(pixel_values=pixel_values, input_ids=whole, labels=whole).loss


@pytest.mark.parametrize("beams", [1, 3])
def test_captions_are_those_of_transformers(captioner: PretrainedPolicy, batch_of: BatchOf, beams: int) -> None:
    batch = batch_of(captioner, 4)
    config = GenerationConfig(
        max_new_tokens=LENGTH,
        num_beams=beams,
        do_sample=False,
        eos_token_id=captioner.eos_id,
        pad_token_id=captioner.eos_id,
        suppress_tokens=list(captioner.suppressed) or None,
        renormalize_logits=True,
    )
    expected = generate_with_transformers(captioner, batch.pixel_values, config)
    captions = captioner.caption(captioner.encode(batch).detach(), Decoding(beams=beams, max_length=LENGTH))
    width = min(expected.shape[1], captions.token_ids.shape[1])
    mask = captions.mask[:, :width]
    assert torch.equal(captions.token_ids[:, :width][mask], expected[:, :width][mask])
    assert not captions.mask[:, width:].any()


def test_likelihood_is_that_of_transformers(captioner: PretrainedPolicy, batch_of: BatchOf) -> None:
    batch = batch_of(captioner, 3)
    captions = captioner.tokenize(["a red cat runs", "the blue dog sits", "the dog runs here"], 9)
    assert captions.mask.all()  # of one length, since transformers averages over padding in ways of its own
    with torch.no_grad():
        loss = loss_of_transformers(captioner, batch.pixel_values, captions.token_ids)
        logprobs = captioner.logprobs(captioner.encode(batch), captions)
    torch.testing.assert_close(-logprobs.mean(), loss, atol=1e-5, rtol=0)


def test_a_saved_policy_is_a_checkpoint_of_transformers(captioner: PretrainedPolicy, tmp_path: Path) -> None:
    captioner.save(tmp_path)
    with no_progress_bars():
        model = type(captioner).model_class.from_pretrained(tmp_path)
    saved = captioner.model.state_dict()
    assert model.state_dict().keys() == saved.keys()
    assert all(torch.equal(weight, saved[name]) for name, weight in model.state_dict().items())
    assert type(captioner)(str(tmp_path)).suppressed == captioner.suppressed


@pytest.mark.parametrize("name", [*FAMILIES, "vit"])
def test_images_may_have_another_size(
    name: str, checkpoints: Callable[[str], str], batch_of: BatchOf, tmp_path: Path
) -> None:
    policy = FAMILIES.get(name, BackboneDecoder)(checkpoints(name), image_size=48)
    policy.prepare([["a red cat"] * 5])
    policy.eval()
    batch = batch_of(policy, 2)
    assert batch.pixel_values is not None
    assert batch.pixel_values.shape == (2, 3, 48, 48)
    encoded = policy.encode(batch).detach()
    assert encoded.states.shape[1] == 10  # 3 x 3 patches and the class token
    captions = policy.generate(
        encoded, batch.image_ids, samples=3, greedy=False, key=(1,), sampling=Sampling(), max_length=LENGTH
    )
    with torch.no_grad():
        scored = policy.logprobs(encoded.repeat(3), captions, Sampling())
    torch.testing.assert_close(scored, captions.logprobs, atol=1e-5, rtol=0)
    policy.save(tmp_path)
    loaded = load_policy(str(tmp_path)).eval()
    assert torch.equal(loaded.encode(batch_of(loaded, 2)).states, encoded.states)


def test_special_tokens_come_from_where_checkpoints_name_them(checkpoints: Callable[[str], str]) -> None:
    gpt2 = EncoderDecoder(checkpoints("vit-gpt2"))
    assert (gpt2.start_id, gpt2.eos_id, gpt2.pad_id, gpt2.suppressed) == (0, 0, 0, ())
    bert = EncoderDecoder(checkpoints("vit-bert"))
    assert (bert.start_id, bert.eos_id, bert.pad_id, bert.suppressed) == (2, 3, 0, (0, 1, 2, 4))
    blip = Blip(checkpoints("blip"))  # its last two embeddings have no token
    assert (blip.start_id, blip.eos_id, blip.pad_id, blip.suppressed) == (14, 3, 0, (0, 1, 2, 4, 14, 15))
    git = Git(checkpoints("git"))
    assert (git.start_id, git.eos_id, git.pad_id, git.suppressed) == (2, 3, 0, (0, 1, 2, 4))


def test_first_token_skips_what_is_none() -> None:
    assert first_token("EOS", 10, None, 50256, [], [7, 8]) == 7
    with pytest.raises(UserError, match="no EOS token within its 10 tokens"):
        first_token("EOS", 10, None, 10)


def test_padding_that_is_eos_still_ends_captions(checkpoints: Callable[[str], str]) -> None:
    policy = EncoderDecoder(checkpoints("vit-gpt2"))
    captions = policy.tokenize(["a red cat", "a"], 9)
    assert captions.token_ids.tolist() == [[1, 3, 5, 0], [1, 0, 0, 0]]
    assert captions.mask.tolist() == [[True, True, True, True], [True, True, False, False]]
    assert policy.tokenize([], 9).token_ids.shape == (0, 0)


def test_fingerprints_tell_encoders_apart(checkpoints: Callable[[str], str]) -> None:
    policy = Git(checkpoints("git"), freeze_encoder=True)
    again = Git(checkpoints("git"), freeze_encoder=True)
    assert policy.fingerprint == again.fingerprint
    with torch.no_grad():
        next(again.encoder.parameters()).add_(1e-3)
    assert policy.fingerprint != again.fingerprint
    assert policy.fingerprint != Git(checkpoints("git"), image_size=48, freeze_encoder=True).fingerprint


def test_what_is_no_such_captioner_is_named(checkpoints: Callable[[str], str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model of type blip; this policy needs vision-encoder-decoder"):
        EncoderDecoder(checkpoints("blip"))
    with pytest.raises(UserError, match="no image processor in"):
        Git(str(tmp_path))


def test_regions_are_projected_to_the_decoder_once(checkpoints: Callable[[str], str], batch_of: BatchOf) -> None:
    policy = EncoderDecoder(checkpoints("vit-bert"))
    states = policy.encode(batch_of(policy, 2)).states
    assert states.shape[2] == 16  # the decoder's width
    assert policy.model.enc_to_dec_proj(states) is states
