"""Segmentation losses of matched slots, one value a mask: pure functions of logits and fractions that leave the padding region out."""

import torch
from torch import Tensor
from torch.nn import functional

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
"""Lin et al., "Focal loss for dense object detection" (2017)."""


def masked_bce(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean binary cross-entropy over valid pixels: [n, m, m] each, `valid` 0/1 -> [n]."""
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * valid
    return loss.sum((1, 2)) / valid.sum((1, 2)).clamp(min=1)


def dice(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Dice loss 1 - (2 p t + 1) / (p + t + 1) over valid pixels: [n, m, m] each -> [n]."""
    probability = logits.sigmoid() * valid
    target = target * valid
    overlap = 2 * (probability * target).sum((1, 2)) + 1
    return 1 - overlap / (probability.sum((1, 2)) + target.sum((1, 2)) + 1)


def focal(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean focal loss over valid pixels, [n, m, m] each -> [n]; fractions are rounded to the nearer class."""
    truth = (target > 0.5).to(logits.dtype)
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    right = torch.exp(-cross_entropy)
    alpha = FOCAL_ALPHA * truth + (1 - FOCAL_ALPHA) * (1 - truth)
    loss = alpha * (1 - right) ** FOCAL_GAMMA * cross_entropy * valid
    return loss.sum((1, 2)) / valid.sum((1, 2)).clamp(min=1)
