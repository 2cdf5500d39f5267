"""Checkpoints that the tests of pretrained models share."""

from pathlib import Path

import pytest

from tests.checkpoints import SAVE


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> the folder of a checkpoint."""
    made = {family: tmp_path_factory.mktemp(family) for family in SAVE}
    for family, folder in made.items():
        SAVE[family](folder)
    return made
