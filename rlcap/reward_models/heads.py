"""What reward models with a scalar head share: the head, and its weights on disk."""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rlcap.errors import UserError

HEAD_FILE = "head.safetensors"


class ScalarHead(nn.Module):
    """One number of a vector: normalised, perhaps through a layer, then a weighted sum.

    It computes in float32 whatever the rest does: differences of scores are what counts, and half precision rounds
    them away.

    Args:
        width: of the vector.
        hidden: width of the layer between; 0 is none.
        dropout: on what each layer reads, while learning.
        zero: start with 0 for every vector; else with numbers of standard deviation 1, the weights drawn with
            1 / sqrt(width + 1) as in Stiennon et al. 2020, appendix B.1.
    """

    def __init__(self, width: int, hidden: int = 0, dropout: float = 0.0, zero: bool = False) -> None:
        super().__init__()
        between = [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout)] if hidden else []
        last = nn.Linear(hidden or width, 1)
        nn.init.normal_(last.weight, std=0.0 if zero else (last.in_features + 1) ** -0.5)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout), *between, last)

    def forward(self, vectors: Float[Tensor, "captions width"]) -> Float[Tensor, " captions"]:
        """The number of each vector."""
        with torch.autocast(vectors.device.type, enabled=False):
            numbers: Tensor = self.layers(vectors.float())
        return numbers[:, 0]


def save_own_weights(model: nn.Module, directory: Path, inner: str) -> None:
    """Write the weights and buffers of a model that are not those of its module ``inner``, which is saved apart."""
    state = {name: value for name, value in model.state_dict().items() if not name.startswith(f"{inner}.")}
    save_file({name: value.detach().contiguous() for name, value in state.items()}, directory / HEAD_FILE)


def load_own_weights(model: nn.Module, directory: Path, inner: str) -> None:
    """Take the weights that ``save_own_weights`` wrote.

    Raises:
        UserError: if they are of another model.
    """
    found = model.load_state_dict(load_file(directory / HEAD_FILE), strict=False)
    wrong = [*found.unexpected_keys, *(name for name in found.missing_keys if not name.startswith(f"{inner}."))]
    if wrong:
        raise UserError(f"{directory / HEAD_FILE} is of another model: {wrong[0]} is missing or unknown")
