"""Random concepts for a swap: as many as the attribute's concepts that are active in a pair, matched in what their exchange moves.

The mass that an exchange of concept f moves is the sum over corresponding tokens of |z_f - z'_f|, times the length of f's row in the
codebook, which is how the interface weighs it; its frequency is on how many tokens the codes differ. For each exchanged concept one of the
`CANDIDATES` nearest in mass is drawn. Found by how much they differ, an attribute's concepts move more than others, so random ones are
added while that brings the masses nearer together: a control may have more concepts, and should have no less mass.

Shape letters: F concepts.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from segcompass.joint.reading import Codes
from segcompass.sae.sparse_tokens import SparseTokens

CANDIDATES = 5
"""A control is drawn from this many nearest concepts."""


@dataclass(frozen=True)
class PairDifference:
    """What an exchange of each concept would do to one pair's tokens."""

    active: np.ndarray
    """bool [F], on either side."""
    mass: np.ndarray
    """float [F]."""
    frequency: np.ndarray
    """int [F]."""

    @classmethod
    def of(cls, own: Codes, other: Codes, row_lengths: Tensor) -> "PairDifference":
        """Of codes of the pair's own tokens and of those in their place; row_lengths [F]."""
        mine, theirs = (codes.dense() if isinstance(codes, SparseTokens) else codes for codes in (own, other))
        mass = (mine - theirs).abs().sum(0) * row_lengths
        active, frequency = ((mine != 0) | (theirs != 0)).any(0), (mine != theirs).sum(0)
        return cls(active.cpu().numpy(), mass.double().cpu().numpy(), frequency.cpu().numpy())

    @property
    def moved(self) -> list[int]:
        """The concepts that differ, those of the greatest mass first."""
        order = np.argsort(-self.mass, kind="stable")
        return [int(concept) for concept in order if self.frequency[concept] > 0]

    def ratios(self, chosen: np.ndarray, control: np.ndarray) -> dict[str, float]:
        """Frequency and mass that the exchange of chosen concepts moves over those of a control's; NaN where either moves nothing."""
        found = {}
        for quantity, each in (("frequency", self.frequency), ("mass", self.mass)):
            moved, matched = float(each[chosen].sum()), float(each[control].sum())
            found[quantity] = moved / matched if moved > 0 and matched > 0 else float("nan")
        return found


def matched_in_mass(difference: PairDifference, chosen: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Control concepts, int [n], none of them chosen; fewer than the chosen ones that are active where a pair has no more.

    Args:
        difference: of the pair.
        chosen: bool [F].
        generator: draws them.
    """
    wanted = np.flatnonzero(difference.active & chosen)
    free = list(np.flatnonzero(difference.active & ~chosen))
    mass = difference.mass
    least = max(float(mass.max(initial=0.0)) * 1e-6, np.finfo(float).tiny)
    found: list[int] = []
    for concept in wanted[np.argsort(-mass[wanted], kind="stable")]:
        if not free:
            break
        distance = np.abs(np.log(np.maximum(mass[free], least) / max(mass[concept], least)))
        nearest = np.argsort(distance, kind="stable")[:CANDIDATES]
        found.append(int(free.pop(int(generator.choice(nearest)))))
    goal, total = float(mass[wanted].sum()), float(mass[found].sum())
    for concept in generator.permutation(free):
        if abs(goal - total - mass[concept]) < abs(goal - total):
            found.append(int(concept))
            total += float(mass[concept])
    return np.array(found, dtype=np.int64)
