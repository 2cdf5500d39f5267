"""Rewards of a rollout: format and mask (paper section 2), pure functions without gradient.

Departure from the paper: 1. the slots that count as prediction are the confident ones, as in evaluation; "padded to max(K, G)" is read with
K = number of confident slots, since K = all slots would punish a perfect answer for every slot it rightly leaves unused.
"""

import numpy as np
import torch
from torch import Tensor

from segcompass.joint.matching import match

SOFT_IOU, SOFT_DICE, HARD_IOU = 0.5, 0.2, 0.3
"""Weights of the one-object mask reward (paper section 2)."""
LEAST_SPREAD = 1e-6
"""Rewards of a group that differ by less are the same."""


def mask_reward(probabilities: Tensor, targets: Tensor) -> float:
    """Mask reward in 0 … 1.

    Args:
        probabilities: [P, m, m] of the confident slots, zero in the padding.
        targets: [G, m, m] fractions of the objects.
    """
    if not len(targets):
        return 0.0 if len(probabilities) else 1.0
    if not len(probabilities):
        return 0.0
    if len(targets) == 1:
        return _one_object(probabilities.amax(0), targets[0])
    iou = hard_iou(probabilities > 0.5, targets > 0.5).cpu().numpy()
    return float(sum(iou[pair] for pair in match(iou)) / max(iou.shape))


def hard_iou(predicted: Tensor, target: Tensor) -> Tensor:
    """IoU [P, G] of bool masks [P, m, m] and [G, m, m]; 0 where both are empty."""
    p, t = predicted.flatten(1).float(), target.flatten(1).float()
    intersection = p @ t.T
    return intersection / (p.sum(1)[:, None] + t.sum(1)[None] - intersection).clamp(min=1)


def _one_object(probability: Tensor, target: Tensor) -> float:
    overlap, total = (probability * target).sum(), probability.sum() + target.sum()
    soft_iou = overlap / (total - overlap).clamp(min=1e-6)
    soft_dice = 2 * overlap / total.clamp(min=1e-6)
    hard = hard_iou(probability[None] > 0.5, target[None] > 0.5)[0, 0]
    return float(SOFT_IOU * soft_iou + SOFT_DICE * soft_dice + HARD_IOU * hard)


def advantages(rewards: np.ndarray, scaled: bool) -> np.ndarray:
    """Advantages [B, G] of rewards [B, G]: centred within each group and, where `scaled`, divided by its standard deviation.

    Centred ones are those of Dr. GRPO (Liu et al., "Understanding R1-Zero-like training", 2025).
    """
    centred = rewards - rewards.mean(1, keepdims=True)
    if not scaled:
        return np.asarray(centred)
    deviation = rewards.std(1, ddof=1, keepdims=True) if rewards.shape[1] > 1 else np.zeros((len(rewards), 1))
    return np.where(deviation > LEAST_SPREAD, centred / (deviation + 1e-4), 0.0)


def live_groups(rewards: np.ndarray) -> np.ndarray:
    """Which groups of rewards [B, G] have any spread, bool [B]."""
    return np.asarray(np.ptp(rewards, axis=1) > LEAST_SPREAD)


def as_tensor(values: np.ndarray) -> Tensor:
    """float32 tensor of advantages, one a rollout, prompt-major."""
    return torch.from_numpy(values.reshape(-1).astype(np.float32))
