"""The pipeline's verbs: one command-line module a rule.

`python -m segcompass.stages.<stage>` imports this package before the stage's module, and so before torch and NumPy: the last moment at
which the environment can say which instructions they may use. A stage that other code imports finds that decided.

The stage's own imports are not searched for garbage: there is next to none, and the search takes a quarter of their time. `run_stage`
collects again.
"""

import gc
import sys

from segcompass.instruction_set import asked_by, pin

if sys.argv[0] == "-m":  # until the module that `python -m` names is found, when its path takes this place
    pin(asked_by(sys.argv[1:]))
    gc.disable()
