"""One metric of a trained dictionary beside the same metric of its untrained twin and under shuffled labels.

Many concept metrics are as high for random directions, or for labels that mean nothing: such a metric is reported as one that tells
nothing, not left out.
"""

import math
from typing import Any

from segcompass.stats.draws import Measured

COLUMNS = (
    *(f"{name}{end}" for name in ("trained", "random", "shuffled") for end in ("", "_low", "_high")),
    *("difference", "difference_low", "difference_high", "tells_trained_from_random"),
    *("shuffled_difference", "shuffled_difference_low", "shuffled_difference_high", "tells_truth_from_shuffled"),
)


def contrast(trained: Measured, random: Measured, shuffled: Measured | None, level: float) -> dict[str, Any]:
    """Values with intervals, the paired differences trained - random and trained - shuffled, and whether their intervals exclude zero.

    Args:
        trained: of the trained dictionary.
        random: of its untrained twin, over the same draws.
        shuffled: of the trained dictionary under shuffled labels; None for a metric without labels.
        level: of the intervals.
    """
    nothing = dict.fromkeys(COLUMNS, math.nan)
    row = nothing | _shown("trained", trained, level) | _shown("random", random, level) | _shown("difference", trained - random, level)
    row["tells_trained_from_random"] = excludes_zero(row["difference_low"], row["difference_high"])
    if shuffled is not None:
        row |= _shown("shuffled", shuffled, level) | _shown("shuffled_difference", trained - shuffled, level)
        row["tells_truth_from_shuffled"] = excludes_zero(row["shuffled_difference_low"], row["shuffled_difference_high"])
    return row


def excludes_zero(low: float, high: float) -> bool:
    """Whether an interval lies on one side of zero; one that does not exist does not."""
    return low > 0 or high < 0


def _shown(name: str, measured: Measured, level: float) -> dict[str, float]:
    low, high = measured.interval(level)
    return {name: measured.value, f"{name}_low": low, f"{name}_high": high}
