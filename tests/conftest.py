"""One thread and one instruction set for every test, so that results do not depend on the machine.

Set before torch and NumPy are imported, here alone: worker processes of pytest and commands that tests run inherit it.
`SEGCOMPASS_TEST_INSTRUCTIONS` names another set than the pinned one (`make numerical`).
"""

import os

from segcompass.instruction_set import pin
from tests.instructions import instructions_under_test

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
pin(instructions_under_test())
