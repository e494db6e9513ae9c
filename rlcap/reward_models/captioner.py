"""How good a caption of an image is, as a captioner's decoder sees it at the end. Stiennon et al. 2020, section 3.4."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from rlcap.errors import UserError
from rlcap.models import ProcessImages
from rlcap.policies.base import Policy, load_policy
from rlcap.policies.freezing import freeze_unreached
from rlcap.reward_models.base import RewardModel
from rlcap.reward_models.heads import ScalarHead, load_own_weights, save_own_weights
from rlcap.reward_models.text import last_place
from rlcap.types import Batch, Captions, Encoded

SETTINGS_FILE = "settings.json"
CAPTIONER_FOLDER = "captioner"  # any name but that of a kind: the folder holds a reward model, and no policy


class CaptionerScorer(RewardModel):
    """A captioner with a scalar head in place of its output layer.

    The head reads the decoder's hidden state where the closing EOS is foreseen: it has then read the image and every
    word. A caption that is cut is closed with EOS there.

    Args:
        policy: the captioner: ``rlcap.policies.load_policy`` of a run, or any class of captioners.
        hidden: width of a layer in the head; 0 is none.
        dropout: in the head, while learning.
    """

    head: ScalarHead | None

    def __init__(self, policy: Policy, hidden: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.policy = policy
        self.hidden, self.dropout = hidden, dropout
        self.head = None

    def prepare(self, references: Sequence[Sequence[str]]) -> None:
        """Prepare the captioner, then put the head on it, unless that was done."""
        self.policy.prepare(references)
        if self.head is not None:
            return
        policy = self.policy
        self.head = ScalarHead(policy.hidden_width, self.hidden, self.dropout)
        self.to(policy.device)
        pixel_values = policy.process_images([Image.new("RGB", (32, 32))]).to(policy.device)
        training = self.training
        self.train(False)
        with torch.enable_grad():
            encoded = self.encode(Batch(("probe",), ((),), pixel_values))
            score = self.score(encoded, self.tokenize(["a"], max_length=2).to(policy.device))
        freeze_unreached(score, policy)  # an output layer of its own
        self.train(training)

    def score(self, encoded: Encoded, captions: Captions) -> Float[Tensor, " captions"]:
        if self.head is None:
            raise UserError("the reward model has no head yet: call prepare with the training references first")
        places = torch.arange(captions.mask.shape[1], device=captions.mask.device)
        last = places == places.masked_fill(~captions.mask, 0).amax(dim=1, keepdim=True)  # over length
        # logits are computed where the mask is True: at one place of each caption, and those go unused
        _, states = self.policy.score_tokens(encoded, Captions(captions.token_ids, last))
        numbers: Tensor = self.head(last_place(states, last))
        return numbers

    def tokenize(self, captions: Sequence[str], max_length: int) -> Captions:
        tokens = self.policy.tokenize(captions, max_length)
        lengths = tokens.mask.sum(dim=1)  # over length
        rows = torch.arange(len(tokens))
        token_ids = tokens.token_ids.clone()
        token_ids[rows, lengths - 1] = self.policy.eos_id
        return Captions(token_ids, tokens.mask)

    # --- the captioner's own

    @property
    def process_images(self) -> ProcessImages:
        return self.policy.process_images

    @property
    def feature_shape(self) -> tuple[int, int] | None:
        return self.policy.feature_shape

    @property
    def fingerprint(self) -> str:
        return self.policy.fingerprint

    def features(self, pixel_values: Tensor) -> Float[Tensor, "images regions width"]:
        return self.policy.features(pixel_values)

    def encode(self, batch: Batch) -> Encoded:
        return self.policy.encode(batch)

    def fold_adapters(self) -> None:
        self.policy.fold_adapters()

    # --- on disk

    def save_files(self, directory: Path) -> None:
        self.policy.save(directory / CAPTIONER_FOLDER)
        save_own_weights(self, directory, "policy")
        settings = {"hidden": self.hidden, "dropout": self.dropout}
        (directory / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n")

    @classmethod
    def load_files(cls, directory: Path) -> "CaptionerScorer":
        settings = json.loads((directory / SETTINGS_FILE).read_text())
        model = cls(load_policy(str(directory / CAPTIONER_FOLDER)), **settings)
        model.prepare([])
        load_own_weights(model, directory, "policy")
        return model
