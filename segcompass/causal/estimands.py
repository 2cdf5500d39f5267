"""What is formed from measurements, as functions of arrays alone, so that reports and claims need no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata


def faithfulness(score: np.ndarray, nothing: np.ndarray, everything: np.ndarray) -> np.ndarray:
    """f of mean scores, or of scores; NaN where all and none do not differ."""
    span = np.asarray(everything, float) - nothing
    return np.divide(score - nothing, span, out=np.full(np.broadcast(score, span).shape, np.nan), where=span != 0)


def areas(fractions: Sequence[float], f: Sequence[float]) -> tuple[float, float]:
    """(CPR, CMD): areas under f and under |1 - f| by trapezoids, between the first and the last of the ascending fractions."""
    x, y = np.asarray(fractions, float), np.asarray(f, float)
    return float(np.trapezoid(y, x)), float(np.trapezoid(abs(1 - y), x))


def monotone(scores: np.ndarray) -> np.ndarray:
    """1.0 or 0.0 [n] of scores [doses, n]: never falling, and at the end above the beginning."""
    return np.asarray((np.diff(scores, axis=0) >= 0).all(0) & (scores[-1] > scores[0]), float)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation, ties at their mean rank; NaN where one of both does not vary."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


@dataclass(frozen=True)
class Calibration:
    """How far observed changes are what was predicted."""

    slope: float
    """Of the line through the origin that predicts observed changes best; NaN where nothing was predicted."""
    r2: float
    """1 - sum (observed - predicted)^2 / sum (observed - mean)^2; NaN where observed changes do not vary."""
    share_within: float
    """Share of edits with |observed - predicted| within the tolerance, in units of the scale."""


def calibration(predicted: np.ndarray, observed: np.ndarray, scale: np.ndarray, tolerance: float) -> Calibration:
    """Of n edits; `scale` [n] are the scores before them."""
    error = observed - predicted
    variance = ((observed - observed.mean()) ** 2).sum()
    squares = (predicted**2).sum()
    return Calibration(
        float((predicted * observed).sum() / squares) if squares > 0 else float("nan"),
        float(1 - (error**2).sum() / variance) if variance > 0 else float("nan"),
        float((abs(error) <= tolerance * abs(scale)).mean()),
    )
