"""Concept quality of one sample: does the heat map lie on the target, do the thought's concepts mark the target's tokens (Figures 5 and 8).

Shape letters: t tokens, v visual tokens, F concepts, d hidden width, m side of low-resolution maps.
Departure from the paper: 1. visual tokens are ranked by how strongly they carry the concepts that are active on the thought's tokens, not
by total activation, which no instruction could change.
"""

import numpy as np
from torch import Tensor

from segcompass.backbone.interface import THOUGHT, VISUAL
from segcompass.sae.dictionary import Dictionary


def heat_iou(heat: Tensor, target: Tensor, valid: Tensor) -> float:
    """IoU of the heat map with the target; 1 where both are empty.

    Args:
        heat: logits [slots, m, m], joined by their maximum and cut at probability one half.
        target: fractions [m, m], cut at one half.
        valid: bool [m, m].
    """
    predicted, truth = (heat.amax(0) > 0) & valid, (target > 0.5) & valid
    union = (predicted | truth).sum()
    return float((predicted & truth).sum() / union) if union else 1.0


def reconstruction(dictionary: Dictionary, hidden: Tensor, codes: Tensor) -> tuple[float, float]:
    """(mean squared error per dimension, mean active concepts) over tokens: hidden [t, d], codes [t, F]."""
    error = (hidden - dictionary.decode(codes)).square().mean()
    return float(error), float((codes != 0).float().sum(-1).mean())


def thought_scores(codes: Tensor, token_types: Tensor) -> np.ndarray:
    """How strongly each visual token carries the thought's concepts [v]: inner product with the mean code of the thought's tokens.

    Args:
        codes: [t, F].
        token_types: uint8 [t].
    """
    thought = codes[token_types == THOUGHT]
    mean = thought.mean(0) if len(thought) else codes.new_zeros(codes.shape[1])
    return (codes[token_types == VISUAL] @ mean).double().cpu().numpy()
