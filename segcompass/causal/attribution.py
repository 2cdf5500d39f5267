"""Which concepts carry a slot: gradient times activation of the slot's heat map, per concept (design section 9).

Shape letters: N samples, T tokens, F concepts, K slots, m side of low-resolution maps.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segcompass.joint.inference import Segmenting, Thoughts


def slot_score(heat: Tensor, mask_logits: Tensor, valid: Tensor) -> Tensor:
    """How far a heat map stands out inside its own predicted mask: mean logit inside minus mean logit outside, per slot [n].

    No truth is used. A slot whose mask is empty, or fills the image, scores its mean logit inside or outside alone.

    Args:
        heat: logits [n, m, m].
        mask_logits: [n, m, m].
        valid: bool [m, m], or [n, m, m].
    """
    inside = (mask_logits > 0) & valid
    outside = ~inside & valid
    return _mean(heat, inside) - _mean(heat, outside)


def dense_codes(thoughts: Thoughts) -> Tensor:
    """The thoughts' codes [N, T, F]."""
    codes = thoughts.reading.codes
    assert isinstance(codes, Tensor)
    return codes


def contributions(segmenting: Segmenting, thoughts: Thoughts, slots: Sequence[Sequence[int]]) -> Tensor:
    """Contribution [N, F] of each concept, over all tokens of a sample, to the scores of the sample's given slots."""
    codes = dense_codes(thoughts).clone().requires_grad_(True)
    with torch.enable_grad():
        output = segmenting.segment(thoughts, codes)
        scores = [
            slot_score(output.heat[i, list(chosen)], output.mask_logits[i, list(chosen)].detach(), thoughts.valid[i]).sum()
            for i, chosen in enumerate(slots)
        ]
        (gradient,) = torch.autograd.grad(torch.stack(scores).sum(), codes)
    return (gradient * codes.detach()).sum(1)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum((1, 2)) / where.sum((1, 2)).clamp(min=1)
