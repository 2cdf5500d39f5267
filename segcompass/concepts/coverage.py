"""Figure 5: how much of the target lies under the best visual tokens, against as many random ones.

Where "random" tokens stand beside them, their coverage is the exact expectation; so is the order of tokens that score the same.

Shape letters: v visual tokens, q shares of the tokens.
"""

from collections.abc import Sequence

import numpy as np


def pixels_under(boxes: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(pixels of the mask, all pixels) [v] under tokens with pixel boxes (x0, y0, x1, y1) [v, 4]; none under a token in the padding.

    Args:
        boxes: as `VisionLanguageModel.token_boxes` gives them.
        mask: bool [height, width].
    """
    edges = boxes.round().astype(int)
    inside = np.array([int(mask[y0:y1, x0:x1].sum()) for x0, y0, x1, y1 in edges], dtype=int)
    return inside, (edges[:, 2] - edges[:, 0]).clip(0) * (edges[:, 3] - edges[:, 1]).clip(0)


def covered_shares(scores: np.ndarray, pixels: np.ndarray, area: np.ndarray, fractions: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Share of the target's pixels under the best tokens [q], and its expectation under as many random tokens [q].

    Args:
        scores: [v], of the visual tokens.
        pixels: target pixels under each token [v], not all zero.
        area: pixels under each token [v]; tokens in the padding have none and take no part.
        fractions: shares of the tokens that lie in the image.
    """
    kept = area > 0
    _, rank = np.unique(-scores[kept], return_inverse=True)
    tied = np.bincount(rank, pixels[kept]) / np.bincount(rank)
    covered = np.cumsum(tied[np.sort(rank)]) / pixels.sum()
    counts = np.maximum(1, np.round(np.asarray(fractions) * len(rank)).astype(int))
    return covered[counts - 1], counts / len(rank)


def coverage(scores: np.ndarray, boxes: np.ndarray, target: np.ndarray, fraction: float) -> tuple[float, float]:
    """Share of the target's pixels under the best tokens, and its expectation under as many random tokens.

    Args:
        scores: [v], of the visual tokens.
        boxes: pixel boxes (x0, y0, x1, y1) [v, 4] of the tokens; tokens in the padding have empty ones.
        target: bool [height, width], not empty.
        fraction: share of the tokens that lie in the image.
    """
    covered, expected = covered_shares(scores, *pixels_under(boxes, target), (fraction,))
    return float(covered[0]), float(expected[0])
