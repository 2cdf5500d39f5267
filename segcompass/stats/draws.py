"""Statistics with all their bootstrap draws, so that differences, means and ratios of them have intervals too.

Every statistic of a study draws the same images: draw b holds image i `multiplicity[b, i]` times. A statistic that is a function of sums
over images costs one matrix product for all draws.

Shape letters: n tokens (or samples), m clusters (images), B draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segcompass.stats.bootstrap import percentile_interval


@dataclass(frozen=True)
class Measured:
    """A statistic and its draws [B]; NaN where it does not exist."""

    value: float
    draws: np.ndarray

    def __sub__(self, other: "Measured") -> "Measured":
        """The paired difference: both statistics of a draw are of the same images."""
        return Measured(self.value - other.value, self.draws - other.draws)

    def interval(self, level: float) -> tuple[float, float]:
        """(low, high) over the draws in which the statistic exists; NaN where it exists in none."""
        known = self.draws[~np.isnan(self.draws)]
        return percentile_interval(known, level) if len(known) else (float("nan"), float("nan"))


def mean_of(parts: Sequence[Measured]) -> Measured:
    """The mean of several statistics of the same draws; one that does not exist, at all or in a draw, is left out there."""
    return Measured(
        float(_known_mean(np.array([[part.value] for part in parts]))[0]), _known_mean(np.stack([part.draws for part in parts]))
    )


class ClusterDraws:
    """B bootstrap draws of m clusters with replacement."""

    def __init__(self, clusters: int, samples: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.clusters = clusters
        self.multiplicity = generator.multinomial(clusters, np.full(clusters, 1 / clusters), samples).astype(float)
        """[B, m]."""

    def ratio(self, numerator: np.ndarray, denominator: np.ndarray, cluster: np.ndarray) -> Measured:
        """sum(numerator) / sum(denominator) over n rows, each of a cluster 0 … m - 1."""
        top, bottom = (np.bincount(cluster, values, self.clusters) for values in (numerator, denominator))
        return _quotient(top.sum(), bottom.sum(), self.multiplicity @ top, self.multiplicity @ bottom)

    def mean(self, values: np.ndarray, cluster: np.ndarray) -> Measured:
        """Mean of values [n]."""
        return self.ratio(values, np.ones(len(values)), cluster)

    def auroc(self, scores: np.ndarray, positive: np.ndarray, cluster: np.ndarray) -> Measured:
        """Probability that a positive's score exceeds a negative's, ties counting one half; all pairs of a draw's tokens count.

        Args:
            scores: [n].
            positive: bool [n].
            cluster: [n].
        """
        wins = pair_wins(scores, positive, cluster, self.clusters)
        positives, negatives = (np.bincount(cluster[kept], minlength=self.clusters).astype(float) for kept in (positive, ~positive))
        w = self.multiplicity
        return _quotient(wins.sum(), positives.sum() * negatives.sum(), ((w @ wins) * w).sum(1), (w @ positives) * (w @ negatives))


def pair_wins(scores: np.ndarray, positive: np.ndarray, cluster: np.ndarray, clusters: int) -> np.ndarray:
    """[m, m]: pairs of a positive of cluster i and a negative of cluster k in which the positive scores higher, ties counting one half."""
    mine, owner = scores[positive], cluster[positive]
    wins = np.zeros((clusters, clusters))
    for k in range(clusters):
        others = np.sort(scores[~positive & (cluster == k)])
        below = (np.searchsorted(others, mine, "left") + np.searchsorted(others, mine, "right")) / 2
        wins[:, k] = np.bincount(owner, below, clusters)
    return wins


def _quotient(top: float, bottom: float, tops: np.ndarray, bottoms: np.ndarray) -> Measured:
    draws = np.divide(tops, bottoms, out=np.full(len(tops), np.nan), where=bottoms > 0)
    return Measured(float(top / bottom) if bottom > 0 else float("nan"), draws)


def _known_mean(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    return np.divide(np.where(known, values, 0).sum(0), known.sum(0), out=np.full(values.shape[1], np.nan), where=known.any(0))
