"""How far two masks agree, in plain arrays, so that reports form it as the battery does."""

import numpy as np


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Of two masks, bool [height, width]; 1 where both are empty."""
    union = np.logical_or(a, b).sum()
    return float(np.logical_and(a, b).sum() / union) if union else 1.0
