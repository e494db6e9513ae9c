"""Shared by all tests: where the optional real data lies, and a cache of their own."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data named by RLCAP_TEST_DATA; a test that asks for it is skipped where there is none."""
    folder = os.environ.get("RLCAP_TEST_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("RLCAP_TEST_DATA names no folder of real data")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what tests cache, such as document frequencies, out of the user's cache."""
    os.environ.setdefault("RLCAP_CACHE", str(tmp_path_factory.mktemp("cache")))
