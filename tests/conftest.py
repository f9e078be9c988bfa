"""What every unit test stands on: no hub, and a cache of its own."""

import os
from pathlib import Path

import pytest

# Read once, when huggingface_hub is imported. `make test-weights` sets it to 0.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture
def tmp_cache(tmp_path: Path) -> Path:
    """An empty cache folder that this test alone sees; not yet created."""
    return tmp_path / "cache"
