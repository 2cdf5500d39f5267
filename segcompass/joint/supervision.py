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
from segcompass.joint.model import Segmentation
from segcompass.study.joint import SegmentationSettings

Pair = tuple[int, int, int]
"""Sequence, slot, object."""


def matched_pairs(mask_probabilities: Tensor, preference: Tensor, targets: Sequence[Tensor]) -> list[Pair]:
    """Hungarian pairs of slots and objects.

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
    return pairs


def segmentation_losses(
    output: Segmentation, targets: Sequence[Tensor], valid: Tensor, settings: SegmentationSettings
) -> dict[str, Tensor]:
    """Weighted losses by name, lambda_s and lambda_c included; their sum is minimised.

    Args:
        output: of N sequences.
        targets: N tensors [G, m, m].
        valid: bool [N, m, m].
        settings: weights.
    """
    seen = valid.to(output.heat.dtype)
    preference = settings.match_confidence * output.confidence.detach()
    pairs = matched_pairs(output.mask_logits.detach().sigmoid() * seen[:, None], preference, targets)
    matched = torch.zeros_like(output.confidence_logits)
    for index, slot, _ in pairs:
        matched[index, slot] = 1.0
    losses = {"confidence": settings.confidence * functional.binary_cross_entropy_with_logits(output.confidence_logits, matched)}
    if pairs:
        rows = torch.tensor([[index, slot] for index, slot, _ in pairs], device=seen.device)
        heat, mask = (logits[rows[:, 0], rows[:, 1]] for logits in (output.heat, output.mask_logits))
        truth, where = torch.stack([targets[index][item] for index, _, item in pairs]), seen[rows[:, 0]]
        losses |= {
            "heat_bce": settings.heat_bce * masked_bce(heat, truth, where),
            "heat_dice": settings.heat_dice * dice(heat, truth, where),
            "mask_dice": settings.mask_dice * dice(mask, truth, where),
            "mask_focal": settings.mask_focal * focal(mask, truth, where),
        }
    return {name: loss if name == "confidence" else settings.weight * loss for name, loss in losses.items()}
