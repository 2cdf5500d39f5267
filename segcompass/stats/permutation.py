"""Permutation tests of correlations that keep what belongs to one image together.

Whole images are exchanged, y of one for y of another, among those with equally many expressions (whole-block exchangeability: Winkler et
al., 2015); the order within an image stays, and so do all dependences within it. A correlation with confounders follows Freedman and
Lane (1983): what remains of y is permuted, and the confounders are taken out of it once more. With several runs an image moves in all of
them together, and the statistic is the mean over runs of their coefficients. An image that is alone in its number of expressions stays
in place, which costs power and no validity. Where x and y both go with the number of expressions, permuted coefficients have a mean
other than 0; the test is of the distance from it.

Image i with the y of image j adds to a product what the two images alone determine. So a permutation costs I look-ups a product, however
many expressions and (without confounders) runs there are.

Shape letters: n expressions, I images, B permutations, c confounders.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segcompass.stats.correlation import Remainders

AT_ONCE = 1_000_000
"""Bound on the permuted images held in memory."""


@dataclass(frozen=True)
class Null:
    """A coefficient where images are exchanged at random; NaN where it does not exist."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided: (1 + permutations at least as far from the mean as the data) / (1 + B)."""


def null_twin(runs: Sequence[Remainders], images: Sequence[Any] | np.ndarray, count: int, level: float, seed: int) -> Null:
    """What the pooled coefficient of runs on the same n expressions is where nothing is to be found.

    Args:
        runs: S runs, all of one coefficient.
        images: [n].
        count: B.
        level: of the range low ... high of the permuted coefficients.
        seed: of the permutations.
    """
    observed = float(np.mean([run.value for run in runs]))
    if np.isnan(observed):
        return Null(*[float("nan")] * 4)
    drawn = permuted(runs, blocks(images), count, seed)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    mean = (observed + drawn.sum()) / (1 + count)
    p = (1 + int((np.abs(drawn - mean) >= abs(observed - mean) - 1e-12).sum())) / (1 + count)
    return Null(float(drawn.mean()), float(low), float(high), p)


def blocks(images: Sequence[Any] | np.ndarray) -> list[np.ndarray]:
    """Images that may be exchanged: the rows of their expressions, [m, size] for each size of which there are m."""
    _, index, sizes = np.unique(np.asarray(images), return_inverse=True, return_counts=True)
    order = np.argsort(index, kind="stable")
    starts = np.cumsum(sizes) - sizes
    return [order[starts[sizes == size, None] + np.arange(size)] for size in np.unique(sizes)]


def permuted(runs: Sequence[Remainders], exchanged: Sequence[np.ndarray], count: int, seed: int) -> np.ndarray:
    """Pooled coefficients of permuted runs [B]."""
    confounded = runs[0].confounders.shape[1] > 0
    groups = [[run] for run in runs] if confounded else [runs]  # without confounders only the sum over runs is needed
    tables = [[_tables(group, rows) for rows in exchanged] for group in groups]
    generator = np.random.default_rng(seed)
    most = max(1, AT_ONCE // sum(len(rows) for rows in exchanged))
    found = []
    for start in range(0, count, most):
        size = min(most, count - start)
        places = [_places(len(rows), size, generator) for rows in exchanged]
        total = np.zeros(size)
        for by_block in tables:
            products = [
                sum(by_block[block][column].take(place).sum(1) for block, place in enumerate(places)) for column in range(len(by_block[0]))
            ]
            left = 1 - sum((product**2 for product in products[1:]), np.zeros(size))
            total += products[0] / np.sqrt(np.maximum(left, 1e-300))
        found.append(total / len(runs))
    return np.concatenate(found)


def _tables(runs: Sequence[Remainders], rows: np.ndarray) -> list[np.ndarray]:
    """[m * m] each: what image i, with the y of image j, adds to the product of y with x, and with each confounder."""
    own = sum(run.x[rows] @ run.y[rows].T for run in runs)
    return [own.ravel(), *((column[rows] @ run.y[rows].T).ravel() for run in runs for column in run.confounders.T)]


def _places(images: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """Places in a table [m * m] of `count` permutations of m images: [count, m]."""
    order = np.tile(np.arange(images), (count, 1))
    return generator.permuted(order, axis=1, out=order) + images * np.arange(images)
