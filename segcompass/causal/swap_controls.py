"""Controls of a swap: other concepts that are exchanged, and other concepts that are changed by as much.

The mass that an exchange of concept f moves is the sum over corresponding tokens of |z_f - z'_f|, times the length of f's row in the
codebook, which is how the interface weighs it; its frequency is on how many tokens the codes differ.

* `matched_in_mass`: as many other concepts that differ between the two sides; for each exchanged concept one of the `CANDIDATES` nearest in
  mass is drawn. Found by how much they differ, an attribute's concepts move more than others, so random ones are added while that brings
  the masses nearer together. What is exchanged is real, but can be matched in mass alone: it takes many concepts that differ little to
  weigh as much as a few that differ much.
* `changed_elsewhere`: each exchanged concept f has a random stand-in g, which changes on the same tokens by as much as the interface
  weighs: z'_g = z_g - |z_f - z'_f| l_f / l_g where z_f falls and z_g is large enough to, else z_g plus it. Frequency and mass are
  matched by construction; what is put there belongs to no other picture.

Shape letters: T tokens, F concepts, l_f the length of f's row in the codebook.
"""

from dataclasses import dataclass

import numpy as np
import torch
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
        mine, theirs = _dense(own), _dense(other)
        mass = (mine - theirs).abs().sum(0) * row_lengths
        active, frequency = ((mine != 0) | (theirs != 0)).any(0), (mine != theirs).sum(0)
        return cls(active.cpu().numpy(), mass.double().cpu().numpy(), frequency.cpu().numpy())

    @property
    def moved(self) -> list[int]:
        """The concepts that differ, those of the greatest mass first."""
        order = np.argsort(-self.mass, kind="stable")
        return [int(concept) for concept in order if self.frequency[concept] > 0]

    def ratios(self, chosen: np.ndarray, control: np.ndarray, done: "PairDifference | None" = None) -> dict[str, float]:
        """Frequency and mass that the exchange of chosen concepts moves over those of a control's; NaN where either moves nothing.

        Args:
            chosen: int [n].
            control: int [m].
            done: what the control's edit did, where it is no exchange.
        """
        found = {}
        by = done or self
        for quantity, each, control_each in (("frequency", self.frequency, by.frequency), ("mass", self.mass, by.mass)):
            moved, matched = float(each[chosen].sum()), float(control_each[control].sum())
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


def changed_elsewhere(own: Codes, other: Codes, chosen: np.ndarray, row_lengths: Tensor, generator: np.random.Generator) -> Codes:
    """Own codes, in the form that they have, in which other concepts change by as much as an exchange would change the chosen ones.

    Stand-ins are drawn without replacement from the concepts that are not chosen and that the interface reads (l_g > 0): from those that
    are active on either side, and where these are too few from all of them. Where F has too few, the weakest chosen concepts have none.

    Args:
        own: codes of one pair's own tokens, [T, F].
        other: those in their place.
        chosen: bool [F].
        row_lengths: [F].
        generator: draws stand-ins.
    """
    mine, theirs = _dense(own), _dense(other)
    change = (theirs - mine) * row_lengths
    moved = np.flatnonzero((change != 0).any(0).cpu().numpy() & chosen)
    free = (row_lengths > 0).cpu().numpy() & ~chosen
    active = ((mine != 0) | (theirs != 0)).any(0).cpu().numpy() & free
    drawn = np.concatenate([generator.permutation(np.flatnonzero(active)), generator.permutation(np.flatnonzero(free & ~active))])
    strongest = moved[np.argsort(-change[:, moved].abs().sum(0).cpu().numpy(), kind="stable")][: len(drawn)]
    concepts, stand_ins = (torch.from_numpy(each).to(mine.device) for each in (strongest, drawn[: len(strongest)]))
    change = change[:, concepts] / row_lengths[stand_ins]
    before = mine[:, stand_ins]
    edited = mine.clone()
    edited[:, stand_ins] = before + torch.where(before + change < 0, change.abs(), change)
    return SparseTokens.of(edited) if isinstance(own, SparseTokens) else edited


def _dense(codes: Codes) -> Tensor:
    return codes.dense() if isinstance(codes, SparseTokens) else codes
