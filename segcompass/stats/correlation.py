"""Correlation over expressions of images, pooled over seeds: Pearson's, Spearman's, and Spearman's with confounders held fixed.

Pooled means the mean over seeds of each run's own coefficient, so that differences of level between runs are no correlation. All three are
one: the correlation of what remains of x and y after regressing both on `given` and a constant. Its influence values are exact, the change
of the ranks themselves included (`influence`), so its interval comes from `segcompass.stats.crossed` without a resampling; it is formed
on Fisher's scale, atanh, and therefore stays within -1 ... 1.

Shape letters: S seeds, n expressions, c confounders, I images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import rankdata

from segcompass.stats.crossed import Crossed, Estimate, Grid

COEFFICIENTS = ("pearson", "spearman", "partial")


@dataclass(frozen=True)
class Remainders:
    """What a coefficient of one run is made of: x and y, or their ranks, less their regression on the confounders and a constant."""

    x: np.ndarray
    """[n], of length 1."""
    y: np.ndarray
    """[n], of length 1; the coefficient is their product."""
    confounders: np.ndarray
    """[n, c]: orthonormal basis of what the confounders hold beside a constant."""
    influence: np.ndarray
    """[n]: change of the coefficient per copy that is added of an expression."""

    @property
    def value(self) -> float:
        """The coefficient; NaN where nothing remains of a variable, or where one is not known throughout."""
        return float(self.x @ self.y)


def remainders(coefficient: str, x: np.ndarray, y: np.ndarray, given: np.ndarray) -> Remainders:
    """Prepares a coefficient of one run.

    Args:
        coefficient: one of `COEFFICIENTS`.
        x: [n].
        y: [n].
        given: [n, c]; read by `partial` alone.
    """
    columns = [x, y, *(given.T if coefficient == "partial" else [])]
    numbers = np.stack(columns if coefficient == "pearson" else [rankdata(column) for column in columns], 1).astype(float)
    if np.isnan(numbers).any():
        unknown = np.full(len(x), math.nan)
        return Remainders(unknown, unknown, np.zeros((len(x), 0)), unknown)
    design = np.column_stack([np.ones(len(x)), numbers[:, 2:]])
    slopes = np.linalg.lstsq(design, numbers[:, :2], rcond=None)[0]
    left = numbers[:, :2] - design @ slopes
    scale = np.linalg.norm(left, axis=0)
    varies = scale > 1e-9 * np.maximum(np.linalg.norm(numbers[:, :2], axis=0), 1e-300)
    scale = np.where(varies, scale, math.nan)
    a, b = (left / scale).T
    basis, triangle = np.linalg.qr(design)
    basis = basis[:, 1:][:, np.abs(np.diag(triangle))[1:] > 1e-9 * np.abs(triangle).max()]
    value = a @ b
    influence = a * b - value / 2 * (a**2 + b**2)
    if coefficient != "pearson":  # an added copy moves the ranks of all that is above it
        by_x, by_y = (b - value * a) / scale[0], (a - value * b) / scale[1]
        moved = [by_x, by_y, *(-slope_x * by_x - slope_y * by_y for slope_x, slope_y in slopes[1:])]
        influence = influence + sum(_above(column, pull) for column, pull in zip(columns, moved, strict=True))
    return Remainders(a, b, basis, influence)


def correlation(runs: Sequence[Remainders], images: Sequence[Any] | np.ndarray, level: float) -> Estimate:
    """The mean coefficient of S runs on the same n expressions, with its interval; its p-value comes from `permutation`, here NaN.

    With one run the interval is of that run, over images alone: what other seeds would give is unknown.
    """
    grid = Grid(images)
    values = np.array([run.value for run in runs])
    value = float(values.mean())
    influence = grid.sums(np.stack([run.influence for run in runs])) + (values - value)[:, None] / len(grid.names)
    if not abs(value) < 1:  # perfect, or unknown
        return Estimate(value, value, value, math.nan, len(runs), len(grid.names), len(runs[0].x))
    fisher = Crossed(math.atanh(value), {"runs": influence / (1 - value**2)}, len(runs[0].x))
    found = (fisher if len(runs) > 1 else fisher.of_these_runs()).estimate(level)
    return replace(found, value=value, low=math.tanh(found.low), high=math.tanh(found.high), p=math.nan)


def _above(numbers: np.ndarray, pull: np.ndarray) -> np.ndarray:
    """[n]: sum of `pull` over all larger numbers and half of it over equal ones."""
    _, index = np.unique(numbers, return_inverse=True)
    sums = np.bincount(index, pull)
    return (sums[::-1].cumsum()[::-1] - sums / 2)[index]
