"""The planted token cache as a fixture."""

from pathlib import Path

import pytest

from tests.sae.planted import write_cache


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return write_cache(tmp_path / "activations")
