"""The instruction set that the tests run under."""

import os
from typing import get_args

from segcompass.instruction_set import PINNED, InstructionSet
from segcompass.provenance.processor import lacks_avx2

VARIABLE = "SEGCOMPASS_TEST_INSTRUCTIONS"


def instructions_under_test() -> InstructionSet:
    """What the environment names; else what committed studies are pinned to, or on a processor without it whatever that has."""
    name = os.environ.get(VARIABLE, "native" if lacks_avx2() else PINNED)
    if name not in get_args(InstructionSet):
        raise ValueError(f"{VARIABLE} is `{name}`; choose from {', '.join(get_args(InstructionSet))}")
    return name
