"""Percentile bootstrap that resamples clusters (images): expressions of one image are not independent."""

from collections.abc import Sequence
from typing import Any

import numpy as np

DRAWS_AT_ONCE = 2_000_000
"""Bound on the drawn cluster numbers held in memory."""


def ratio_interval(
    numerator: np.ndarray, denominator: np.ndarray, clusters: Sequence[Any] | np.ndarray, samples: int, level: float, seed: int
) -> tuple[float, float]:
    """Interval of sum(numerator) / sum(denominator).

    Args:
        numerator: [n].
        denominator: [n]; ones for a mean.
        clusters: [n] labels; whole clusters are drawn with replacement.
        samples: bootstrap draws.
        level: 0.95 for a 95 % interval.
        seed: of the draws.

    Returns:
        (low, high); NaN where nothing counts.
    """
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    top = np.bincount(index, np.asarray(numerator, float))
    bottom = np.bincount(index, np.asarray(denominator, float))
    if not bottom.any():
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    rows = max(1, DRAWS_AT_ONCE // len(top))
    ratios = []
    for start in range(0, samples, rows):
        drawn = generator.integers(0, len(top), (min(rows, samples - start), len(top)))
        below = bottom[drawn].sum(1)
        ratios.append(top[drawn].sum(1)[below > 0] / below[below > 0])
    return percentile_interval(np.concatenate(ratios), level)


def percentile_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """(low, high): the middle `level` of the draws."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
