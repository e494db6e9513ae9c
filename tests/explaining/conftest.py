"""Policies of every family, and an image."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from families import FAMILIES
from PIL import Image

from rlcap.policies.base import Policy
from rlcap.policies.pretrained import no_progress_bars

Load = Callable[..., Policy]


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """A new policy of a family, in evaluation mode; its checkpoint is built when first asked for."""
    root = tmp_path_factory.mktemp("checkpoints")

    def load(name: str, freeze: bool = False) -> Policy:
        torch.manual_seed(1)
        if not (root / name).is_dir():
            with no_progress_bars():
                FAMILIES[name].build(root / name)
        torch.manual_seed(0)
        return FAMILIES[name].load(str(root / name), freeze).eval()

    return load


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """An image that differs in every region."""
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)).resize((40, 40))
