"""Estimates with their intervals, and shares, as the ledger's tables show them."""

import math

from segcompass.reporting.table import UNKNOWN

DIGITS = 3
"""Decimals of an effect."""


def ends(value: float | None, low: float | None, high: float | None) -> str:
    """Estimate and interval; the estimate alone where the interval is unknown, a dash where it is too."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return f"{value:z.{DIGITS}f}"
    return f"{value:z.{DIGITS}f} [{low:z.{DIGITS}f}, {high:z.{DIGITS}f}]"


def share(value: float | None) -> str:
    """Per cent; a dash where it is unknown."""
    return UNKNOWN if value is None or math.isnan(value) else f"{100 * value:.1f} %"
