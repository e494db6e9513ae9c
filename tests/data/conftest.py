"""Captions that several tests of what captions say read."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def captions(real_data: Path) -> Sequence[Sequence[str]]:
    """Captions of 60 photos of Flickr8k."""
    with gzip.open(real_data / "flickr8k" / "dataset_flickr8k.json.gz") as file:
        images = json.load(file)["images"][:60]
    return [[sentence["raw"].strip() for sentence in image["sentences"]] for image in images]
