"""Hungarian matching of slots to objects on soft IoU (paper section 2, stage 2)."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor


def soft_iou(predicted: Tensor, target: Tensor) -> Tensor:
    """Soft IoU [.., K, G] of probabilities [.., K, m, m] with fractions [.., G, m, m]; 0 where both are empty."""
    p, t = predicted.flatten(-2), target.flatten(-2)
    intersection = p @ t.transpose(-1, -2)
    union = p.sum(-1)[..., :, None] + t.sum(-1)[..., None, :] - intersection
    return intersection / union.clamp(min=1e-6)


def match(scores: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (slot, object) that maximise the sum of `scores` [K, G]; min(K, G) of them, the other objects are misses."""
    slots, objects = linear_sum_assignment(-scores)
    return [(int(slot), int(item)) for slot, item in zip(slots, objects, strict=True)]
