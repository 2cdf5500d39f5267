"""Concept quality against mask accuracy across runs: checkpoints of one dictionary's training, or variants.

Each run gives one point, the means of both over its expressions. A coefficient is the mean over seeds of that over the variants of one
seed, so that luck that a seed's runs share is no correlation; its null twin exchanges the accuracies among the variants of a seed, in each
seed by itself.

Shape letters: S seeds, V variants, B permutations.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from segcompass.concepts.accuracy import PAIRS

COLUMNS = ("across", "quality", "accuracy", "variants", "seeds")


def across_rows(
    points: pd.DataFrame, name: str, variants: Sequence[str], permutations: int, level: float, seed: int
) -> list[dict[str, Any]]:
    """One row a quality: `COLUMNS`, `pearson` and `spearman`, each with `_p` and the range `_null_low`, `_null_high` of its null twin.

    Args:
        points: of `accuracy_points`, of all runs.
        name: of the set of variants.
        variants: V of them, at least three; seeds that not all of them have are left out.
        permutations: B.
        level: of the range of the null twin.
        seed: of the permutations.
    """
    rows = []
    for quality, accuracy, _ in PAIRS:
        means = (
            points[points["variant"].isin(variants)].groupby(["seed", "variant"])[[quality, accuracy]].mean().unstack("variant").dropna()
        )
        x, y = (means[column][list(variants)].to_numpy() for column in (quality, accuracy))
        row: dict[str, Any] = dict(zip(COLUMNS, (name, quality, accuracy, len(variants), len(means)), strict=True))
        for coefficient, kept in (("pearson", x), ("spearman", rankdata(x, axis=1))):
            other = y if coefficient == "pearson" else rankdata(y, axis=1)
            row |= _with_null(coefficient, kept, other, permutations, level, seed)
        rows.append(row)
    return rows


def _with_null(name: str, x: np.ndarray, y: np.ndarray, permutations: int, level: float, seed: int) -> dict[str, float]:
    """The mean coefficient of the rows of x and y [S, V], and where the columns of y are permuted in each row."""
    places = np.random.default_rng(seed).permuted(np.broadcast_to(np.arange(x.shape[1]), (permutations, *x.shape)), axis=-1)
    value, drawn = _coefficient(x, y), _coefficient(x, np.take_along_axis(np.broadcast_to(y, places.shape), places, -1))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    p = (1 + int((np.abs(drawn) >= abs(value) - 1e-12).sum())) / (1 + permutations)
    return {name: float(value), f"{name}_p": p, f"{name}_null_low": float(low), f"{name}_null_high": float(high)}


def _coefficient(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    a, b = (values - values.mean(-1, keepdims=True) for values in (x, y))
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.asarray(np.divide((a * b).sum(-1), lengths, out=np.zeros_like(lengths), where=lengths > 0).mean(-1))
