"""The segmentation objective of a batch: slots are matched to objects, matched slots learn masks, all slots learn confidence.

Paper section 2, stage 2: heat-map BCE and Dice, mask Dice and focal over matched pairs, BCE of the confidence to "matched".
Departure from the paper: 1. a slot's own confidence is added to soft IoU in matching. Slots begin alike, so with soft IoU alone chance
decides which one is matched, every confidence stays at objects / slots, and no threshold separates them. Measured on the embedded
backbone, one run each: the confidence loss stayed at the entropy of 1/4 for 275 steps; with a weight of 0.2 it fell to 40 % of that and
rose again; with a weight of 1 it fell to 13 % within 150 steps, and the mask reward was the highest of the three.
Objects beyond the number of slots stay unmatched: they count as misses in reward and evaluation, and give no gradient here.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from segcompass.joint.losses import dice, focal, masked_bce
from segcompass.joint.matching import match, soft_iou
from segcompass.study.interface import SegmentationSettings


def matched_pairs(mask_probabilities: Tensor, preference: Tensor, targets: Sequence[Tensor]) -> Tensor:
    """Hungarian pairs, int64 [n, 3]: sequence, slot, object.

    Args:
        mask_probabilities: [N, K, m, m], zero in the padding.
        preference: [N, K], added to each slot's soft IoU with every object.
        targets: each sequence's objects [G, m, m].
    """
    pairs = []
    for index, objects in enumerate(targets):
        if len(objects):
            scores = (soft_iou(mask_probabilities[index], objects) + preference[index][:, None]).double().cpu().numpy()
            pairs += [(index, slot, item) for slot, item in match(np.nan_to_num(scores))]
    return torch.tensor(pairs, dtype=torch.long, device=mask_probabilities.device).view(-1, 3)


def confidence_loss(confidence_logits: Tensor, pairs: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of the confidences [N, K] to "matched", a mean that counts sequence i `weights[i]` times."""
    matched = torch.zeros_like(confidence_logits)
    matched[pairs[:, 0], pairs[:, 1]] = 1.0
    each = functional.binary_cross_entropy_with_logits(confidence_logits, matched, reduction="none")
    return weighted_mean(each.mean(1), weights)


def heat_losses(heat: Tensor, truth: Tensor, valid: Tensor, weights: Tensor, settings: SegmentationSettings) -> dict[str, Tensor]:
    """Weighted losses of n matched slots' heat maps by name, lambda_s included; none where n is 0.

    Args:
        heat: heat-map logits [n, m, m].
        truth: fractions of the matched objects [n, m, m].
        valid: bool [n, m, m].
        weights: [n]; means count slot i `weights[i]` times.
        settings: weights of the losses.
    """
    if not len(heat):
        return {}
    seen = valid.to(heat.dtype)
    each = {"heat_bce": settings.heat_bce * masked_bce(heat, truth, seen), "heat_dice": settings.heat_dice * dice(heat, truth, seen)}
    return {name: settings.weight * weighted_mean(loss, weights) for name, loss in each.items()}


def mask_losses(mask: Tensor, truth: Tensor, valid: Tensor, weights: Tensor, settings: SegmentationSettings) -> dict[str, Tensor]:
    """The same of mask logits [n, m, m]."""
    if not len(mask):
        return {}
    seen = valid.to(mask.dtype)
    each = {"mask_dice": settings.mask_dice * dice(mask, truth, seen), "mask_focal": settings.mask_focal * focal(mask, truth, seen)}
    return {name: settings.weight * weighted_mean(loss, weights) for name, loss in each.items()}


def objects_at(targets: Sequence[Tensor], pairs: Tensor) -> Tensor:
    """The matched objects' fractions [n, m, m] of pairs [n, 3], of which there is at least one."""
    return torch.stack([targets[index][item] for index, _, item in pairs.tolist()])


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of values [n] that counts value i `weights[i]` times."""
    return (values * weights).sum() / weights.sum()
