"""One thread and one instruction set for every test, so that results do not depend on the machine.

Set before torch and NumPy are imported, here alone: worker processes of pytest and commands that tests run inherit it.
`SEGCOMPASS_TEST_INSTRUCTIONS` names another set than the pinned one (`make numerical`).
"""

import os
from pathlib import Path

import pytest

from segcompass.instruction_set import pin
from tests.instructions import instructions_under_test

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
pin(instructions_under_test())

WHOLE_STUDIES = Path(__file__).parent / "workflow"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run Snakemake and whole studies come first: they take longest, and workers that end with short ones end together."""
    long = {item.path for item in items if item.path.is_relative_to(WHOLE_STUDIES) or item.get_closest_marker("study")}
    items.sort(key=lambda item: item.path not in long)
