"""Correlation with its doubts: intervals clustered by image, rank-partial correlation, a shuffled null twin."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from segcompass.stats.bootstrap import cluster_draws


@dataclass(frozen=True)
class Estimate:
    """A coefficient with its percentile interval; NaN where a variable does not vary."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Null:
    """Spearman's coefficient after shuffling one variable over the samples."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided permutation p-value of the unshuffled coefficient."""


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r of [n] and [n]; NaN where one does not vary."""
    a, b = x - x.mean(), y - y.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 1e-12 * len(x) else float("nan")


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rho, ties by their mean rank."""
    return pearson(rankdata(x), rankdata(y))


def partial_spearman(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
    """Spearman's rho of what remains of the ranks of x and y after regressing on the ranks of `given` [n, c]."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    columns = [np.ones(len(x)), *(rankdata(column) for column in given.T)]
    design = np.stack(columns, 1)
    left, right = (ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0] for ranks in (rankdata(x), rankdata(y)))
    return pearson(left, right)


def estimates(
    x: np.ndarray, y: np.ndarray, given: np.ndarray, clusters: Sequence[Any] | np.ndarray, samples: int, level: float, seed: int
) -> dict[str, Estimate]:
    """`pearson`, `spearman` and `partial` (rank-partial given `given`) with intervals from the same cluster draws."""

    def all_three(rows: np.ndarray | slice) -> tuple[float, float, float]:
        return pearson(x[rows], y[rows]), spearman(x[rows], y[rows]), partial_spearman(x[rows], y[rows], given[rows])

    values = all_three(slice(None))
    drawn = np.array([all_three(rows) for rows in cluster_draws(clusters, samples, seed)])
    found = {}
    for index, name in enumerate(("pearson", "spearman", "partial")):
        column = drawn[:, index][~np.isnan(drawn[:, index])]
        low, high = np.quantile(column, [(1 - level) / 2, (1 + level) / 2]) if len(column) else (np.nan, np.nan)
        found[name] = Estimate(values[index], float(low), float(high))
    return found


def null_twin(x: np.ndarray, y: np.ndarray, shuffles: int, level: float, seed: int) -> Null:
    """Spearman's rho of x with shuffled y: what the same figures give where nothing is to be found."""
    generator = np.random.default_rng(seed)
    ranks_x, ranks_y = rankdata(x), rankdata(y)
    drawn = np.array([pearson(ranks_x, generator.permutation(ranks_y)) for _ in range(shuffles)])
    observed = pearson(ranks_x, ranks_y)
    if np.isnan(observed):
        return Null(*[float("nan")] * 4)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    p = (1 + int((np.abs(drawn) >= abs(observed)).sum())) / (1 + shuffles)
    return Null(float(drawn.mean()), float(low), float(high), p)
