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
    x0, y0, x1, y1 = edges.T.clip(0, np.tile(mask.shape[::-1], 2)[:, None])
    before = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), int)  # of each corner: pixels above and left of it
    np.cumsum(np.cumsum(mask, 0, dtype=int), 1, out=before[1:, 1:])
    inside = np.where((x1 > x0) & (y1 > y0), before[y1, x1] - before[y0, x1] - before[y1, x0] + before[y0, x0], 0)
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
