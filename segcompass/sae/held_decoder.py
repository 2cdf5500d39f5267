"""Decoders that are held near their random start: what a frozen and a soft-frozen dictionary have in place of a trained decoder.

Korznikov et al., "Sanity checks for sparse autoencoders: do SAEs beat random baselines?" (2026, arXiv 2602.14111): dictionaries whose
decoder is frozen at its random start, or may turn away from it by no more than a cosine of 0.8, match trained ones in many metrics,
causal editing included. Encoder and biases are trained as usual. So they are stronger twins than an untrained dictionary.
"""

import torch
from torch import Tensor
from torch.nn import functional


@torch.no_grad()
def onto_cone(rows: Tensor, axes: Tensor, least_cosine: float) -> Tensor:
    """Rows [F, d] of the same norms, turned by no more than needed so that each has a cosine of at least c with its axis [F, d].

    With u the axis at unit norm, v the unit part of row w orthogonal to u, and c in (-1, 1):
        w                                  where u w >= c |w|
        |w| (c u + sqrt(1 - c^2) v)        elsewhere: the point of the cone's edge, at the same norm, that is nearest to w.
    A row that points away from its axis exactly has no v; it becomes |w| u.
    """
    units = functional.normalize(axes, dim=1)
    norms, along = rows.norm(dim=1, keepdim=True), (rows * units).sum(1, keepdim=True)
    across = rows - along * units
    beside = across.norm(dim=1, keepdim=True)
    edge = norms * (least_cosine * units + (1 - least_cosine**2) ** 0.5 * across / beside.clamp(min=1e-30))
    edge = torch.where(beside > 1e-6 * norms, edge, norms * units)
    return torch.where(along >= least_cosine * norms, rows, edge)


@torch.no_grad()
def cosines_to(rows: Tensor, axes: Tensor) -> Tensor:
    """Cosine of each row [F, d] with its axis [F, d]."""
    return functional.cosine_similarity(rows, axes, dim=1)
