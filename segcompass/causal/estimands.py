"""What is formed from a sample's measurements, as functions of arrays alone."""

import numpy as np


def monotone(scores: np.ndarray) -> np.ndarray:
    """1.0 or 0.0 [n] of scores [doses, n]: never falling, and at the end above the beginning."""
    return np.asarray((np.diff(scores, axis=0) >= 0).all(0) & (scores[-1] > scores[0]), float)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation, ties at their mean rank; NaN where one of both does not vary."""
    from scipy.stats import rankdata  # takes a second to import, which most processes would spend in vain

    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
