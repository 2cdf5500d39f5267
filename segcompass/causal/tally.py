"""Counts what edits touch against what their controls touch, for `balance.csv`."""

from collections.abc import Iterator, Sequence

import numpy as np

from segcompass.causal.controls import Weighed
from segcompass.causal.edits import KINDS, Edit
from segcompass.causal.measurements import Balance, geometric_mean

GREATEST = 100.0
"""The ratio to a control that touches nothing."""


class Tally:
    """Ratios of edits and controls, over all samples of a run."""

    def __init__(self, intervention: str) -> None:
        self.intervention = intervention
        self._ratios: dict[tuple[str, str, str, str], list[float]] = {}

    def add(self, arm: str, at: str, rows: Sequence[Weighed], edits: Sequence[Edit], controls: Sequence[Edit]) -> None:
        """Counts one edit and its control in each row, of whose sample the concepts weigh what `rows` says."""
        for own, edit, control in zip(rows, edits, controls, strict=True):
            touched, other = own.of(edit), own.of(control)
            for quantity in ("frequency", "mass"):
                for kind, one, two in zip(KINDS, getattr(touched, quantity), getattr(other, quantity), strict=True):
                    if one > 0:  # in a type that the edit does not touch there is nothing to match
                        self._ratios.setdefault((arm, at, quantity, kind), []).append(one / max(two, one / GREATEST))

    def balances(self) -> Iterator[Balance]:
        """One row an arm, size, quantity and token type."""
        for (arm, at, quantity, kind), ratios in self._ratios.items():
            yield Balance(self.intervention, arm, at, quantity, kind, geometric_mean(np.array(ratios)))
