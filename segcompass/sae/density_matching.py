"""Thresholds under which random concepts are as active as a trained dictionary's on visual, on instruction and on thought tokens each.

A plain dictionary has one threshold a concept, whatever the token's type. But random directions differ in the types that they prefer, so
thresholds can still be chosen that match every type:
1. All concepts get the same density (share of the tokens on which they fire, types weighted alike). The type that a concept prefers is the
   one of whose activity it has the largest share there.
2. Concepts that prefer the same type keep one density, which is multiplied by wanted_k / L0_k until L0 is the wanted one for every type k.
With one type this is one density for all, as if no type were known.

Shape letters: n tokens, F concepts, K types.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

STEPS = 300
PATIENCE = 30
"""Steps without an improvement after which what is wanted counts as out of reach."""
TOLERANCE = 2e-3
"""Relative deviation of every type's L0 at which densities stop moving."""
HALVINGS = 40
"""Of the interval that holds a threshold."""
BLOCK = 1024
"""Concepts sorted at one time."""


def matched_thresholds(drives: Tensor, types: Tensor, wanted: Mapping[int, float]) -> Tensor:
    """Thresholds [F], none below zero, for pre-activations of tokens of known types.

    Args:
        drives: [n, F].
        types: uint8 [n].
        wanted: type -> active concepts a token; tokens of other types are left out.

    Returns:
        The thresholds that came nearest to the wanted numbers, as ratios: within `TOLERANCE`, unless random directions cannot reach them.
    """
    ranked = [_ranked(drives[types == kind]) for kind in sorted(wanted)]
    goal = torch.tensor([wanted[kind] for kind in sorted(wanted)], device=drives.device).clamp(min=1e-6)
    common = torch.full_like(goal, float(goal.mean()) / drives.shape[1])
    activity = _densities(ranked, _thresholds(ranked, common[:1].expand(drives.shape[1])))
    preferred = (activity / activity.sum(1, keepdim=True).clamp(min=1e-12)).argmax(0)
    densities, best, nearest, last = common, torch.zeros_like(preferred, dtype=goal.dtype), float("inf"), 0
    for step in range(STEPS):
        thresholds = _thresholds(ranked, densities[preferred])
        ratios = _densities(ranked, thresholds).sum(1).clamp(min=1e-6) / goal
        distance = float(ratios.log().abs().max())
        if distance < nearest:
            best, nearest, last = thresholds, distance, step
        if nearest < TOLERANCE or step - last == PATIENCE:
            break
        densities = (densities / ratios.clamp(0.1, 10.0)).clamp(max=1.0)
    return best


def _ranked(drives: Tensor) -> Tensor:
    """Each concept's pre-activations [F, n] in rising order."""
    return torch.cat([part.T.contiguous().sort(dim=1).values for part in drives.split(BLOCK, dim=1)])


def _densities(ranked: list[Tensor], thresholds: Tensor) -> Tensor:
    """Share of the tokens of each type that lie above each concept's threshold [K, F]."""
    at = thresholds[:, None].contiguous()
    return torch.stack([1 - torch.searchsorted(own, at, right=True)[:, 0] / own.shape[1] for own in ranked])


def _thresholds(ranked: list[Tensor], densities: Tensor) -> Tensor:
    """The lowest thresholds [F] from zero on above which no concept fires more often than its density [F], types weighted alike."""
    highest = torch.stack([own[:, -1] for own in ranked]).amax(0).clamp(min=0.0)
    low, high = torch.full_like(highest, -1e-6), highest
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        rare = _densities(ranked, middle.clamp(min=0.0)).mean(0) <= densities
        low, high = torch.where(rare, low, middle), torch.where(rare, middle, high)
    return high.clamp(min=0.0)
