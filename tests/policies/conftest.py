"""What the tests of policies share: policies of every family, images for them."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from families import FAMILIES, Family
from PIL import Image

from rlcap.policies.base import Policy
from rlcap.policies.pretrained import no_progress_bars
from rlcap.types import Batch


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The checkpoint of a family, built when first asked for."""
    root = tmp_path_factory.mktemp("checkpoints")

    def checkpoint(name: str) -> str:
        if not (root / name).is_dir():
            torch.manual_seed(1)
            with no_progress_bars():
                FAMILIES[name].build(root / name)
        return str(root / name)

    return checkpoint


@pytest.fixture(scope="session", params=list(FAMILIES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def family(name: str) -> Family:
    return FAMILIES[name]


@pytest.fixture
def load(name: str, family: Family, checkpoints: Callable[[str], str]) -> Callable[..., Policy]:
    """A new policy of the family, in evaluation mode."""

    def load(freeze: bool = False) -> Policy:
        torch.manual_seed(0)
        return family.load(checkpoints(name), freeze).eval()

    return load


@pytest.fixture(scope="session")
def policy(name: str, family: Family, checkpoints: Callable[[str], str]) -> Policy:
    """One policy of the family for all tests that only read it."""
    torch.manual_seed(0)
    return family.load(checkpoints(name), False).eval()


@pytest.fixture(scope="session")
def photos() -> Callable[[int], list[Image.Image]]:
    """Images that differ from one another in every region."""

    def photos(count: int) -> list[Image.Image]:
        rng = np.random.default_rng(0)
        return [Image.fromarray(rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)).resize((40, 40)) for _ in range(count)]

    return photos


@pytest.fixture(scope="session")
def batch_of(photos: Callable[[int], list[Image.Image]]) -> Callable[[Policy, int], Batch]:
    """The first images as a policy sees them."""

    def batch_of(policy: Policy, count: int) -> Batch:
        ids = tuple(f"image{index}" for index in range(count))
        return Batch(ids, ((),) * count, pixel_values=policy.process_images(photos(count)))

    return batch_of
