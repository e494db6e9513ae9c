"""How good a caption of an image is, from the two embeddings of a dual encoder and a head that compares them."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor, nn

from rlcap.errors import UserError
from rlcap.models import ProcessImages
from rlcap.policies.freezing import freeze_unreached
from rlcap.policies.pretrained import fingerprint_of
from rlcap.reward_models.base import RewardModel, load_reward_model
from rlcap.reward_models.dual_encoder import DualEncoder
from rlcap.reward_models.heads import ScalarHead, load_own_weights, save_own_weights
from rlcap.types import Batch, Captions, Encoded

SETTINGS_FILE = "settings.json"
DUAL_ENCODER_FOLDER = "dual_encoder"
LONGEST = 1 << 20  # references are cut where the text model's positions end
PRIME, BASE = 16_777_213, 48_271  # the largest prime that float32 counts up to; a factor that spreads over it


def comparison(
    one: Float[Tensor, "captions width"], other: Float[Tensor, "captions width"]
) -> Float[Tensor, "captions twice_width"]:
    """[a * b, |a - b|] of unit vectors a and b, scaled so that components are near 1 whatever the width."""
    width = one.shape[-1]
    return torch.cat([width * one * other, width**0.5 * (one - other).abs()], dim=-1)


def nearest_other(
    cosines: Float[Tensor, "captions references"], same: Bool[Tensor, "captions references"]
) -> Int[Tensor, " captions"]:
    """Which reference is nearest to each caption, those that are the caption itself left out where there are others."""
    left_out = same & ~same.all(dim=1, keepdim=True)  # over references
    return cosines.masked_fill(left_out, -torch.inf).argmax(dim=1)


def token_digest(
    token_ids: Int[Tensor, "captions length"], mask: Bool[Tensor, "captions length"]
) -> Float[Tensor, " captions"]:
    """A whole number for each caption that float32 holds: equal captions have equal ones, others hardly ever."""
    places = (mask.long().cumsum(dim=1) - 1).clamp(min=0)  # over length: wherever the padding is
    powers = [1]
    for _ in range(1, token_ids.shape[1]):
        powers.append(powers[-1] * BASE % PRIME)
    factors = torch.tensor(powers, device=token_ids.device)[places]
    return (((token_ids + 1) * factors % PRIME).masked_fill(~mask, 0).sum(dim=1) % PRIME).float()


class PairScorer(RewardModel):
    """A dual encoder with a head over both embeddings: s cos(v, c) + MLP[v, c, v * c, |v - c|].

    v and c are the unit embeddings of image and caption. The MLP starts with 0 everywhere, and s as the dual encoder's
    own factor of cosines, so that the scores it starts with are the dual encoder's.

    With ``references`` the head sees besides the caption the nearest r of the image's references, as RefCLIPScore
    (Hessel et al. 2021, section 3) does: s_v cos(v, c) + s_r cos(r, c) + MLP[v, c, v * c, |v - c|, r, r * c, |r - c|],
    each factor half of the dual encoder's at first. A reference is never compared with itself where the image has
    others: it would be known by that alone.

    Args:
        dual_encoder: where the embeddings are from: a class of ``rlcap.reward_models.dual_encoder`` (one of which takes
            any CLIP), or ``rlcap.reward_models.load_reward_model`` of a saved one.
        freeze: keep the dual encoder as it is; images' embeddings are then computed once and kept.
        references: look at the image's references too.
        hidden: width of the MLP's layer.
        dropout: in the MLP, while learning.
    """

    dual_encoder: DualEncoder
    head: ScalarHead | None

    def __init__(
        self,
        dual_encoder: RewardModel,
        freeze: bool = False,
        references: bool = False,
        hidden: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not isinstance(dual_encoder, DualEncoder):
            raise UserError(
                f"{type(dual_encoder).__name__} does not embed images and captions apart: give a dual encoder"
            )
        self.dual_encoder = dual_encoder
        self.freeze = freeze
        self.needs_references = references
        self.hidden, self.dropout = hidden, dropout
        self.head = None

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Prepare the dual encoder, then build the head for its width, unless that was done."""
        self.dual_encoder.prepare(references)
        if self.head is not None:
            return
        dual = self.dual_encoder
        probe = Batch(("probe",), (("a",),), dual.process_images([Image.new("RGB", (32, 32))]).to(dual.device))
        with torch.no_grad():
            self.width = dual.embed_images(probe).shape[1]
        kinds = 2 if self.needs_references else 1
        self.head = ScalarHead((1 + 3 * kinds) * self.width, self.hidden, self.dropout, zero=True)
        self.log_scales = nn.Parameter((dual.logit_scale.detach().float() - torch.tensor(kinds).log()).repeat(kinds))
        self.to(dual.device)
        if self.freeze:
            dual.requires_grad_(False)
        training = self.training
        self.train(False)
        with torch.enable_grad():
            score = self.score(self.encode(probe), self.tokenize(["a"], LONGEST).to(self.device))
        freeze_unreached(score, dual)  # its own factor, which log_scales replaces
        self.train(training)

    # --- images and references

    @property
    def process_images(self) -> ProcessImages:
        return self.dual_encoder.process_images

    @property
    def feature_shape(self) -> tuple[int, int] | None:
        return (1, self.width) if self.freeze else self.dual_encoder.feature_shape

    @property
    def fingerprint(self) -> str:
        """Changes when what makes the features does: the frozen vision side, or the whole dual encoder if frozen."""
        dual = self.dual_encoder
        return fingerprint_of(dual, dual.processor) if self.freeze else dual.fingerprint

    @torch.no_grad()
    def features(self, pixel_values: Tensor) -> Float[Tensor, "images regions width"]:
        if not self.freeze:
            return self.dual_encoder.features(pixel_values)
        names = tuple(str(row) for row in range(len(pixel_values)))
        return self.dual_encoder.embed_images(Batch(names, ((),) * len(names), pixel_values))[:, None]

    def encode(self, batch: Batch) -> Encoded:
        """The image's embedding in the first row, those of its references in the others, each with its digest.

        Images with fewer references than others repeat some, which changes no maximum.

        Raises:
            UserError: if references are needed and an image has none.
        """
        if self.freeze and batch.features is not None:
            embeddings = batch.features[:, 0]
        else:
            embeddings = self.dual_encoder.embed_images(batch)
        states = nn.functional.normalize(embeddings.float(), dim=-1)
        states = torch.cat([states, states.new_full((len(batch), 1), -1.0)], dim=1)[:, None]
        if not self.needs_references:
            return Encoded(states)
        counts = [len(references) for references in batch.references]
        if 0 in counts:
            raise UserError(
                f"image {batch.image_ids[counts.index(0)]} has no references, which this reward model compares with: "
                "give some, or train one with references: false"
            )
        texts = [reference for references in batch.references for reference in references]
        captions = self.read(texts, LONGEST).to(states.device)
        vectors = torch.cat([self._texts(captions), token_digest(captions.token_ids, captions.mask)[:, None]], dim=1)
        firsts = [sum(counts[:image]) for image in range(len(counts))]
        rows = [
            [first + turn % count for turn in range(max(counts))] for first, count in zip(firsts, counts, strict=True)
        ]
        return Encoded(torch.cat([states, vectors[torch.tensor(rows, device=states.device)]], dim=1))

    # --- captions

    def tokenize(self, captions: Sequence[str], max_length: int) -> Captions:
        """With references never cut short of what the model reads: a caption would not be known for one of them."""
        return self.dual_encoder.tokenize(captions, LONGEST if self.needs_references else max_length)

    def _texts(self, captions: Captions) -> Float[Tensor, "captions width"]:
        """The unit embedding of each caption."""
        return nn.functional.normalize(self.dual_encoder.embed_texts(captions).float(), dim=-1)

    def score(self, encoded: Encoded, captions: Captions) -> Float[Tensor, " captions"]:
        if self.head is None:
            raise UserError("the reward model has no head yet: call prepare with the training references first")
        texts = self._texts(captions)
        images = encoded.states[:, 0, :-1]
        cosines = [(images * texts).sum(dim=-1)]  # over width; a matrix product would be of half precision in autocast
        seen = [self.width**0.5 * images, self.width**0.5 * texts, comparison(images, texts)]
        if self.needs_references:
            references, digests = encoded.states[:, 1:, :-1], encoded.states[:, 1:, -1]
            near = (references * texts[:, None]).sum(dim=-1)  # over width
            same = digests == token_digest(captions.token_ids, captions.mask)[:, None]
            nearest = nearest_other(near.detach(), same)
            rows = torch.arange(len(nearest), device=nearest.device)
            cosines.append(near[rows, nearest])
            chosen = references[rows, nearest]
            seen += [self.width**0.5 * chosen, comparison(chosen, texts)]
        similarity = (torch.stack(cosines, dim=1) * self.log_scales.exp()).sum(dim=1)  # over what it is compared with
        beyond: Tensor = self.head(torch.cat(seen, dim=1))
        return similarity + beyond

    # --- on disk

    def save_files(self, directory: Path) -> None:
        self.dual_encoder.save(directory / DUAL_ENCODER_FOLDER)
        save_own_weights(self, directory, "dual_encoder")
        settings = {
            "freeze": self.freeze,
            "references": self.needs_references,
            "hidden": self.hidden,
            "dropout": self.dropout,
        }
        (directory / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n")

    @classmethod
    def load_files(cls, directory: Path) -> "PairScorer":
        settings = json.loads((directory / SETTINGS_FILE).read_text())
        model = cls(load_reward_model(str(directory / DUAL_ENCODER_FOLDER)), **settings)
        model.prepare([])
        load_own_weights(model, directory, "dual_encoder")
        return model
