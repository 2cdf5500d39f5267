"""Edits of codes, and the choice of the concepts that they touch (design section 9).

Shape letters: N samples, T tokens, F concepts.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

CANDIDATES = 5
"""A control concept is drawn from this many nearest ones in frequency and activation."""


def zeroed(codes: Tensor, concepts: Sequence[Sequence[int]]) -> Tensor:
    """Codes [N, T, F] with each sample's given concepts zero on all tokens; none given is the identity, the sham edit."""
    edited = codes.clone()
    for index, chosen in enumerate(concepts):
        edited[index, :, torch.tensor(list(chosen), dtype=torch.long)] = 0.0
    return edited


def top_concepts(contribution: Tensor, count: int) -> list[int]:
    """The `count` concepts that contribute most [F], strongest first; fewer if fewer contribute at all."""
    order = torch.argsort(contribution, descending=True, stable=True)[:count]
    return [int(concept) for concept in order if contribution[concept] > 0]


def matched_random(codes: Tensor, chosen: Sequence[int], generator: np.random.Generator) -> list[int]:
    """One control a chosen concept: active in the same sample, not chosen, alike in frequency and activation.

    Args:
        codes: [T, F] of the sample.
        chosen: concepts to be matched.
        generator: draws among the `CANDIDATES` nearest concepts.

    Returns:
        At most one distinct concept a chosen one; fewer where the sample has no more active concepts.
    """
    active = (codes != 0).sum(0).double().cpu().numpy()
    strength = codes.abs().sum(0).double().cpu().numpy() / active.clip(1)
    free = [int(concept) for concept in np.flatnonzero(active) if concept not in set(chosen)]
    controls = []
    for concept in chosen:
        if not free:
            break
        distance = np.abs(np.log(active[free] / active[concept])) + np.abs(np.log(strength[free] / strength[concept]))
        nearest = np.argsort(distance, kind="stable")[:CANDIDATES]
        controls.append(free.pop(int(generator.choice(nearest))))
    return controls
